"""Predictions and mean squared error over windows, independent of how they are batched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tsdiag.config import Precision
from tsdiag.data.windows import Windows
from tsdiag.training.precision import in_precision

# Only a matter of memory and cache: losses are summed in float64 over windows, not over batches.
# Of 16 to 512, 128 and 256 were fastest for the default models, more for a tiny one alone.
EVALUATION_BATCH = 256

# Called between two batches; what it raises ends the evaluation, which then has no result.
Pause = Callable[[], object]


@dataclass(frozen=True)
class Evaluation:
    """Mean squared error with all predictions and targets, standardised and on the CPU."""

    loss: float
    predictions: Tensor  # "window horizon target"
    targets: Tensor


def go_on() -> None:
    """Let an evaluation go on."""


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


def predict(
    model: nn.Module,
    windows: Windows,
    batch_size: int = EVALUATION_BATCH,
    precision: Precision = "float32",
    pause: Pause = go_on,
) -> Tensor:
    """Return predictions "window horizon target" in standardised units, on the CPU."""
    with evaluating(model):
        forward = in_precision(model, precision)
        parts = [
            forward(windows.inputs_at(index)).cpu()
            for index in _batches(windows, batch_size, pause)
        ]
    return torch.cat(parts)


def evaluate(
    model: nn.Module,
    windows: Windows,
    batch_size: int = EVALUATION_BATCH,
    precision: Precision = "float32",
    pause: Pause = go_on,
) -> Evaluation:
    """Predict all windows and measure the mean squared error, in standardised units."""
    predictions = predict(model, windows, batch_size, precision, pause)
    parts, total = [], 0.0
    with torch.inference_mode():
        for index, found in zip(
            _batches(windows, batch_size), torch.split(predictions, batch_size), strict=True
        ):
            parts.append(windows.targets_at(index).cpu())
            total += float((found - parts[-1]).double().square().sum())
    targets = torch.cat(parts)
    return Evaluation(total / targets.numel(), predictions, targets)


def _batches(windows: Windows, size: int, pause: Pause = go_on) -> Iterator[Tensor]:
    every = torch.arange(len(windows), device=windows.ends.device)
    for number, index in enumerate(torch.split(every, size)):
        if number > 0:
            pause()
        yield index
