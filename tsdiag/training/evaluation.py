"""Predictions and mean squared error over windows, independent of how they are batched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tsdiag.data.windows import Windows

# Only a matter of memory and cache: losses are summed in float64 over windows, not over batches.
EVALUATION_BATCH = 256


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch to evaluation without gradients, and back to the mode the model was in."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)


def predict(model: nn.Module, windows: Windows, batch_size: int = EVALUATION_BATCH) -> Tensor:
    """Return predictions "window horizon target" in standardised units, on the CPU."""
    with evaluating(model):
        parts = [model(windows.inputs_at(index)).cpu() for index in _batches(windows, batch_size)]
    return torch.cat(parts)


def evaluate(model: nn.Module, windows: Windows, batch_size: int = EVALUATION_BATCH) -> float:
    """Return the mean squared error over all windows, in standardised units."""
    total, count = 0.0, 0
    with evaluating(model):
        for index in _batches(windows, batch_size):
            inputs, targets = windows.batch(index)
            errors = (model(inputs) - targets).double().square()
            total += float(errors.sum())
            count += errors.numel()
    return total / count


def _batches(windows: Windows, size: int) -> list[Tensor]:
    return list(torch.split(torch.arange(len(windows), device=windows.ends.device), size))
