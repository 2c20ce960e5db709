"""NLinear in closed form: one linear map from a target's own past, relative to its last value.

Zeng et al. 2023 train it by gradient descent; with squared error it is a ridge regression. The
map is shared by all target columns. Past and future are measured as the target is: as a change
from the window's last value, in units of the target's standard deviation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from tsdiag.config import Transform
from tsdiag.data.targets import change, still_level
from tsdiag.data.windows import Windows
from tsdiag.models.gram import Moments, centre
from tsdiag.models.ridge import MOST_INPUTS, PENALTIES, Linear, Predictions, choose, solve

AT_ONCE = 1024  # windows


@dataclass(frozen=True, eq=False)
class NLinearFloor:
    """A fitted NLinear on the last ``length`` rows of the targets."""

    linear: Linear
    length: int

    def predict(self, windows: Windows) -> Predictions:
        """Return standardised targets."""
        return np.concatenate([self._predict(windows, ends) for ends in _parts(windows)])

    def _predict(self, windows: Windows, ends: Int64[np.ndarray, " window"]) -> Predictions:
        past = _past(windows, ends, self.length)
        relative = past @ self.linear.weights + self.linear.intercept
        return np.asarray(relative.transpose(0, 2, 1) + _still(windows, ends)[:, None])

    @property
    def detail(self) -> str:
        """What was chosen, in words."""
        return f"penalty {self.linear.penalty:g}, last {self.length} rows"


def fit_nlinear(
    train: Windows, validation: Windows, penalties: Iterable[float] = PENALTIES
) -> NLinearFloor:
    """Fit on the train windows; the validation windows choose the penalty."""
    length = min(train.context_length, MOST_INPUTS)
    moments = _moments(train, length)
    candidates = (NLinearFloor(linear, length) for linear in solve(moments, penalties))
    return choose(candidates, NLinearFloor.predict, validation)


def _moments(windows: Windows, length: int) -> Moments:
    features, outputs = length - 1, windows.prediction_length
    gram, cross = np.zeros((features, features)), np.zeros((features, outputs))
    sums, targets = np.zeros(features), []
    for ends in _parts(windows):
        past = _past(windows, ends, length).reshape(-1, features)
        future = _future(windows, ends).reshape(-1, outputs)
        gram += past.T @ past
        cross += past.T @ future
        sums += past.sum(axis=0)
        targets.append(future)
    return centre(gram, cross, sums, np.concatenate(targets))


def _parts(windows: Windows) -> Iterator[Int64[np.ndarray, " window"]]:
    ends = windows.ends.numpy()
    for low in range(0, len(ends), AT_ONCE):
        yield ends[low : low + AT_ONCE]


def _past(
    windows: Windows, ends: Int64[np.ndarray, " window"], length: int
) -> Float64[np.ndarray, "window target feature"]:
    """Return the earlier values of every target column as changes from its last one."""
    return _relative(windows, ends, np.arange(1 - length, 0))


def _future(
    windows: Windows, ends: Int64[np.ndarray, " window"]
) -> Float64[np.ndarray, "window target horizon"]:
    return _relative(windows, ends, np.arange(1, windows.prediction_length + 1))


def _relative(
    windows: Windows, ends: Int64[np.ndarray, " window"], away: Int64[np.ndarray, " step"]
) -> Float64[np.ndarray, "window target step"]:
    levels = windows.levels.numpy()
    moved = change(levels[ends[:, None] + away], levels[ends][:, None], _measure(windows.transform))
    return np.asarray((moved / windows.target_std.numpy()).transpose(0, 2, 1))


def _still(
    windows: Windows, ends: Int64[np.ndarray, " window"]
) -> Float64[np.ndarray, "window target"]:
    """Return the standardised target that says "no change"."""
    still = still_level(windows.transform, windows.levels.numpy()[ends])
    return np.asarray((still - windows.target_mean.numpy()) / windows.target_std.numpy())


def _measure(transform: Transform) -> Transform:
    return "difference" if transform == "none" else transform
