"""Validation losses by blocks of neighbouring windows: what intervals on states are made of."""

from __future__ import annotations

import torch
from torch import Tensor

from tsdiag.data.windows import Windows
from tsdiag.statistics import even_blocks


def block_losses(windows: Windows, predictions: Tensor) -> list[float]:
    """Return the mean squared error of each block of windows [target variance].

    Two predictions of the same windows have the same blocks, so they can be compared pair by pair.
    """
    truth = windows.targets_at(torch.arange(len(windows), device=windows.ends.device)).cpu()
    errors = (predictions.cpu().double() - truth).square().flatten(1).mean(dim=1).numpy()
    return [float(f"{block:.7g}") for block in even_blocks(errors, overlap_of(windows))]


def overlap_of(windows: Windows) -> int:
    """Return how many neighbouring windows, of those that were kept, share a target row."""
    spacing = max(1.0, float(windows.ends.diff().double().mean())) if len(windows) > 1 else 1.0
    return -(-windows.prediction_length // round(spacing))
