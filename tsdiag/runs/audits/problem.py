"""What the parts of an audit share: windows of bounded number, and what naive floors leave of them.

Bounds keep the whole below the cost of one ridge floor: the latest windows of train, at most so
many that are not neighbours, the validation windows of the study, some of many outputs and
channels, and as many recent rows as fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float64, Int64

from tsdiag.data.dataset import Dataset
from tsdiag.data.windows import Windows
from tsdiag.diagnostics.states import NAIVE
from tsdiag.models.floors import FittedFloor, measure_floors
from tsdiag.models.ridge import scaled_targets
from tsdiag.runs.audits.regression import Outputs, Regression, regress
from tsdiag.runs.levels import overlap_of
from tsdiag.statistics import block_length, block_variance

MOST_INPUTS = 2048  # numbers of a window: 62 rows of 33 channels
MOST_TRAIN, MOST_VALIDATION = 65_536, 4096  # windows
MOST_RUNS = 2048  # stretches of neighbouring windows: each costs as much as a hundred more windows
MOST_OUTPUTS = 8
FEW_ROWS = 12  # that are looked at however few windows there are
MOST_CHANNELS = MOST_INPUTS // 2
# Targets are float32: smaller errors, relative to them, are rounding.
EXACT = 1e-6
# Fewer windows than this do not even fill the blocks that a spread needs.
LEAST_TRAIN, LEAST_VALIDATION = 100, 40


@dataclass(frozen=True, eq=False)
class Problem:
    """The windows of an audit, and what the best naive floor leaves of their targets."""

    dataset: Dataset
    train: Windows
    validation: Windows
    chosen: Int64[np.ndarray, " output"]  # numbers of the outputs looked at
    channels: tuple[int, ...]  # columns of the inputs looked at
    naive: str  # name of the best naive floor
    squares: Outputs  # its squared errors on the validation windows
    targets: tuple[Outputs, Outputs]  # what ridge is fitted to, of train and validation
    main: Regression  # the last rows of all channels against ``targets``

    @property
    def ends(self) -> tuple[Int64[np.ndarray, " window"], Int64[np.ndarray, " window"]]:
        """End rows of the windows of train and validation."""
        return self.train.ends.numpy(), self.validation.ends.numpy()

    @property
    def names(self) -> list[str]:
        """Names of the channels looked at."""
        return [self.dataset.series.channels[number] for number in self.channels]

    @property
    def own(self) -> list[bool]:
        """Say of each channel whether it is a target's own past, under whatever name."""
        series, rows = self.dataset.series, self.dataset.split.train.stop
        levels, offset = series.target_values[:rows].T, self.dataset.config.offset
        return [
            name in series.targets
            or bool((levels == series.values[:rows, number] + offset).all(axis=1).any())
            for name, number in zip(self.names, self.channels, strict=True)
        ]

    @property
    def overlap(self) -> int:
        """Validation windows, of those looked at, that share a target row."""
        return overlap_of(self.validation)

    def skill(self, errors: Outputs) -> float:
        """Return 1 - loss / the naive floor's."""
        return float(1 - errors.mean() / self.squares.mean())

    def error(self, errors: Outputs) -> float:
        """Return the standard error of a skill, from blocks of neighbouring windows."""
        return skill_error(errors, self.squares, self.overlap)


def skill_error(errors: Outputs, naive: Outputs, overlap: int) -> float:
    """Return the standard error of 1 - mean error / mean naive error (the ratio linearised)."""
    ratio = errors.mean() / naive.mean()
    series = (errors - ratio * naive).mean(axis=1) / naive.mean()
    return float(np.sqrt(block_variance(series, block_length(series, overlap))))


def pose(
    dataset: Dataset, floors: Mapping[str, FittedFloor] | None, validation_windows: int
) -> Problem | str:
    """Return the problem, or the reason why there is none, such as too few windows."""
    train = latest(dataset.train)
    most = min(validation_windows or MOST_VALIDATION, MOST_VALIDATION)
    validation = dataset.validation.every(most)
    if len(train) < LEAST_TRAIN or len(validation) < LEAST_VALIDATION:
        return (
            f"{len(train)} train and {len(validation)} validation windows; at least {LEAST_TRAIN} "
            f"and {LEAST_VALIDATION} are needed"
        )
    chosen = evenly(train.n_targets * train.prediction_length, MOST_OUTPUTS)
    spans = (train, validation)
    truth = [_outputs(scaled_targets(windows), chosen) for windows in spans]
    best = _best_naive(dataset, floors, validation)
    if best is None:
        return "no naive floor was measured"
    name, naive = best
    guesses = [_outputs(naive.predict(windows), chosen) for windows in spans]
    squares = np.square(truth[1] - guesses[1])
    if np.sqrt(squares.max()) <= EXACT * np.abs(truth[1]).max():
        return f"{name.replace('_', ' ')} predicts every validation window exactly"
    # A level is best explained as what the naive floor leaves of it. A change is so as it is:
    # subtracting the last one would leave that one's noise behind.
    if train.transform == "none":
        truth = [own - guess for own, guess in zip(truth, guesses, strict=True)]
    channels = _channels(dataset)
    enough = max(FEW_ROWS, len(train) // (2 * len(channels)))  # two windows for each input
    length = min(train.context_length, enough, max(1, MOST_INPUTS // len(channels)))
    given = train.inputs.numpy()[:, channels].astype(np.float64)
    # Ridge is indifferent to where inputs lie, but sums of squares far from zero round away what
    # varies; a row inside of a window has no missing cell.
    rows = given - given[int(train.ends[0])]
    targets = (truth[0], truth[1])
    main = regress(rows, length, (train.ends.numpy(), validation.ends.numpy()), targets)
    return Problem(dataset, train, validation, chosen, channels, name, squares, targets, main)


def _best_naive(
    dataset: Dataset, floors: Mapping[str, FittedFloor] | None, validation: Windows
) -> tuple[str, FittedFloor] | None:
    """Return the naive floor with the least validation loss; None where all of them failed."""
    known = measure_floors(dataset) if floors is None else floors
    truth = scaled_targets(validation)
    naive = [name for name in NAIVE if name in known and not known[name].reason]
    if not naive:
        return None
    losses = {n: float(np.square(known[n].predict(validation) - truth).mean()) for n in naive}
    best = min(losses, key=losses.__getitem__)
    return best, known[best]


def latest(windows: Windows) -> Windows:
    """Return the latest windows, bounded in number and in stretches of neighbours."""
    breaks = torch.nonzero(windows.ends.diff() != 1).flatten()
    first = int(breaks[-MOST_RUNS]) + 1 if len(breaks) >= MOST_RUNS else 0
    return replace(windows, ends=windows.ends[max(first, len(windows) - MOST_TRAIN) :])


def evenly(count: int, most: int) -> Int64[np.ndarray, " chosen"]:
    """Return at most ``most`` of the numbers below ``count``, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _outputs(
    values: Float64[np.ndarray, "window horizon target"], chosen: Int64[np.ndarray, " output"]
) -> Outputs:
    return np.asarray(values.reshape(len(values), -1)[:, chosen], dtype=np.float64)


def _channels(dataset: Dataset) -> tuple[int, ...]:
    """Return all channels, or the targets and others evenly spaced where there are too many."""
    names = dataset.series.channels
    own = [number for number, name in enumerate(names) if name in dataset.series.targets]
    some = evenly(len(names), MOST_CHANNELS)
    return tuple(sorted({*own[:MOST_OUTPUTS], *some.tolist()}))
