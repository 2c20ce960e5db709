"""Scores of a model's or floor's predictions on windows: from tensors to metrics."""

from __future__ import annotations

import torch
from torch import Tensor

from tsdiag.compare.metrics import Scores, score
from tsdiag.data.targets import moves, still_level
from tsdiag.data.windows import Windows

# Scaled predictions pass through float32, which keeps seven digits.
_ROUNDING = 1e-6


def score_windows(windows: Windows, predictions: Tensor) -> Scores:
    """Score predictions "window horizon target" in standardised units on all windows."""
    index = torch.arange(len(windows))
    return score(
        predictions.numpy(),
        windows.targets_at(index).numpy(),
        _predicted_moves(windows, predictions, index).numpy(),
        windows.moves(index).numpy(),
    )


def _predicted_moves(windows: Windows, predictions: Tensor, index: Tensor) -> Tensor:
    """Return predicted directions; what float32 cannot tell from standing still is none."""
    last, found = windows.last_values(index), windows.restore(predictions)
    still = (found - still_level(windows.transform, last)).abs() <= _ROUNDING * windows.target_std
    return moves(found, last, windows.transform).masked_fill(still, 0)
