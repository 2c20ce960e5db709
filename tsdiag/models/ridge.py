"""Linear least squares with a penalty, in closed form, and the ridge floor on flattened windows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float64

from tsdiag.data.windows import Windows
from tsdiag.models.gram import Moments, mirror_upper, window_moments

Floor = TypeVar("Floor")
Predictions = Float64[np.ndarray, "window horizon target"]

# Shares of the inputs' mean variance, strongest first. Rows of one series are nearly collinear:
# beijing33 and the generated series both choose the second.
PENALTIES = (1.0, 1e-1, 1e-2, 1e-3)
MOST_INPUTS = 8192  # features; their products then take 0.5 GiB and seconds to factorise
AT_ONCE = 4096  # windows whose targets are computed together


@dataclass(frozen=True, eq=False)
class Linear:
    """Weights and intercept of a linear map, and the penalty that gave them."""

    weights: Float64[np.ndarray, "feature output"]
    intercept: Float64[np.ndarray, " output"]
    penalty: float


@dataclass(frozen=True, eq=False)
class RidgeFloor:
    """A fitted ridge on the last ``length`` rows of a window."""

    linear: Linear
    length: int

    def predict(self, windows: Windows) -> Predictions:
        """Return standardised targets, adding up one context row of all windows at a time."""
        rows, starts = windows.inputs.numpy(), windows.ends.numpy() - self.length + 1
        per_row = self.linear.weights.reshape(self.length, rows.shape[1], -1)
        total = np.tile(self.linear.intercept, (len(starts), 1))
        for place, weights in enumerate(per_row):
            total += rows[starts + place] @ weights
        return total.reshape(-1, windows.prediction_length, windows.n_targets)

    @property
    def detail(self) -> str:
        """What was chosen, in words."""
        return f"penalty {self.linear.penalty:g}, last {self.length} rows"


def fit_ridge(train: Windows, validation: Windows) -> RidgeFloor:
    """Fit on the train windows; the validation windows choose the penalty.

    A window of more than ``MOST_INPUTS`` numbers is cut to its most recent rows.
    """
    length = min(train.context_length, max(1, MOST_INPUTS // train.n_channels))
    rows = train.inputs.numpy().astype(np.float64)
    targets = scaled_targets(train)
    moments = window_moments(rows, train.ends.numpy(), length, targets.reshape(len(targets), -1))
    candidates = (RidgeFloor(linear, length) for linear in solve(moments))
    return choose(candidates, RidgeFloor.predict, validation)


def solve(moments: Moments, penalties: Iterable[float] = PENALTIES) -> Iterator[Linear]:
    """Yield the minimiser of mean squared error + penalty * variance * |weights|^2 for each.

    Works in place: a factor overwrites one triangle of ``moments.gram`` and the other one
    restores it, so that no second matrix is needed.
    """
    from scipy.linalg import lapack

    gram = moments.gram
    diagonal = gram.diagonal().copy()
    # Inputs without any variance leave nothing to explain; any positive number will do.
    unit = diagonal.mean() or 1.0
    for penalty in penalties:
        np.fill_diagonal(gram, diagonal + penalty * unit)
        # LAPACK counts by columns: its lower triangle is the upper one of ``gram``.
        factor, failed = lapack.dpotrf(gram.T, lower=1, clean=0, overwrite_a=1)
        if not failed:
            weights, _ = lapack.dpotrs(factor, moments.cross, lower=1)
            intercept = moments.target_mean - moments.input_mean @ weights
            yield Linear(weights, intercept, penalty)
        mirror_upper(gram.T)


def choose(
    candidates: Iterable[Floor], predict: Callable[[Floor, Windows], Predictions], windows: Windows
) -> Floor:
    """Return the first candidate that is better on these windows than the one after it.

    Along a path of penalties the error has one valley, and each further step costs a factor.
    """
    targets = scaled_targets(windows)
    best, least = None, np.inf
    for candidate in candidates:
        error = float(np.mean((predict(candidate, windows) - targets) ** 2))
        if best is not None and error >= least:
            break
        best, least = candidate, error
    if best is None:
        raise ValueError("no penalty gave a positive definite matrix; are there inputs at all?")
    return best


def scaled_targets(windows: Windows) -> Predictions:
    """Return the standardised targets of all windows, in float64."""
    every = torch.arange(len(windows))
    parts = (every[low : low + AT_ONCE] for low in range(0, len(windows), AT_ONCE))
    return np.concatenate([windows.targets_at(part).double().numpy() for part in parts])
