"""What the target looks like to a model, and how far the validation span lies from train's."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float64

from tsdiag.data.dataset import Dataset
from tsdiag.data.targets import change
from tsdiag.data.windows import Windows
from tsdiag.diagnostics.audit import TargetFacts
from tsdiag.models.ridge import scaled_targets

DIGITS = 9  # changes of stored decimals differ by rounding: equal to so many digits is the same


def measure_target(dataset: Dataset) -> TargetFacts | str:
    """Look at the targets of all train and validation windows, and at the inputs of both spans."""
    train, validation = (scaled_targets(w) for w in (dataset.train, dataset.validation))
    own, other = (some.reshape(-1, some.shape[-1]) for some in (train, validation))
    spread = own.std(axis=0)
    if not spread.all():
        still = dataset.series.targets[int(spread.argmin())]
        return f'target "{still}" is the same in all train windows once in 32-bit floats'
    shifts = np.abs(other.mean(axis=0) - own.mean(axis=0)) / spread
    worst = int(shifts.argmax())
    name, shift = _input_shift(dataset)
    return TargetFacts(
        standard_deviation=float(spread[worst]),
        mean=float(own.mean(axis=0)[worst]),
        most_frequent_share=_most_frequent(dataset.train),
        validation_mean_shift=float(shifts[worst]),
        validation_std_ratio=float(other.std(axis=0)[worst] / spread[worst]),
        input_shift=shift,
        input_shift_channel=name,
    )


def _most_frequent(windows: Windows) -> float:
    """Return the share of the most frequent value of the first step, largest over the targets."""
    every = torch.arange(len(windows))
    found = change(windows.future(every)[:, 0], windows.last_values(every)[:, 0], windows.transform)
    return max(_share(column) for column in found.double().numpy().T)


def _share(column: Float64[np.ndarray, " window"]) -> float:
    rounded = np.round(column / (np.abs(column).max() or 1.0), DIGITS)
    _, counts = np.unique(rounded, return_counts=True)
    return float(counts.max() / len(column))


def _input_shift(dataset: Dataset) -> tuple[str | None, float]:
    """Return the channel whose mean moves farthest between the spans, and how far [train std]."""
    split, values = dataset.split, dataset.series.values
    train = values[: split.train.stop]
    validation = values[split.validation.start : split.validation.stop]
    spread = np.nanstd(train, axis=0)
    known = (spread > 0) & ~np.isnan(validation).all(axis=0)
    if not known.any():
        return None, 0.0
    means = [np.nanmean(some[:, known], axis=0) for some in (train, validation)]
    shifts = np.abs(means[1] - means[0]) / spread[known]
    place = int(shifts.argmax())
    return dataset.series.channels[int(np.flatnonzero(known)[place])], float(shifts[place])
