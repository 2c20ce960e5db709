"""Scores of a model's or floor's predictions on windows: from tensors to metrics."""

from __future__ import annotations

import torch
from torch import Tensor

from tsdiag.compare.metrics import Scores, score
from tsdiag.data.targets import moves
from tsdiag.data.windows import Windows


def score_windows(windows: Windows, predictions: Tensor) -> Scores:
    """Score predictions "window horizon target" in standardised units on all windows."""
    index = torch.arange(len(windows))
    predicted = moves(windows.restore(predictions), windows.last_values(index), windows.transform)
    return score(
        predictions.numpy(),
        windows.targets_at(index).numpy(),
        predicted.numpy(),
        windows.moves(index).numpy(),
    )
