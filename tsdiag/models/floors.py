"""Floors: the trivial predictors that a model must beat to have learned anything.

All of them predict in the unit of training, the standardised target, and none loads a network.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from tsdiag.data.dataset import Dataset
from tsdiag.data.targets import change
from tsdiag.data.windows import Windows
from tsdiag.models.nlinear import fit_nlinear
from tsdiag.models.ridge import Predictions, fit_ridge, scaled_targets

Predict = Callable[[Windows], Predictions]


@dataclass(frozen=True, eq=False)
class FittedFloor:
    """One floor; ``reason`` says why it could not be measured, and is empty where it was."""

    name: str
    detail: str
    seconds: float  # wall clock of the fit
    reason: str = ""
    predictor: Predict | None = None

    def predict(self, windows: Windows) -> Predictions:
        """Return standardised targets; only of a floor without a ``reason``."""
        if self.predictor is None:
            raise ValueError(f"floor {self.name} was not measured: {self.reason}")
        return self.predictor(windows)


def measure_floors(dataset: Dataset) -> dict[str, FittedFloor]:
    """Fit every floor on the train windows; validation chooses penalties, test is not read."""
    fits = {
        "train_mean": _train_mean,
        "last_value": _last_value,
        "seasonal_naive": _seasonal_naive,
        "ridge": _ridge,
        "nlinear": _nlinear,
    }
    return {name: _measure(name, fit, dataset) for name, fit in fits.items()}


class _NotMeasuredError(Exception):
    """Carries the reason why a floor makes no sense for these data."""


Fit = Callable[[Dataset], tuple[Predict, str]]


def _measure(name: str, fit: Fit, dataset: Dataset) -> FittedFloor:
    start = time.perf_counter()
    try:
        predictor, detail = fit(dataset)
    except _NotMeasuredError as error:
        return FittedFloor(name, "", time.perf_counter() - start, str(error))
    return FittedFloor(name, detail, time.perf_counter() - start, predictor=predictor)


def _train_mean(dataset: Dataset) -> tuple[Predict, str]:
    mean = scaled_targets(dataset.train).mean(axis=0)
    return lambda windows: np.tile(mean, (len(windows), 1, 1)), "mean of each output"


def _last_value(dataset: Dataset) -> tuple[Predict, str]:
    if dataset.config.transform == "none":
        return lambda windows: _repeat(windows, period=1), "the value at the end row"
    # A k-row change is known k rows back at the latest, hence no period shorter than k.
    return lambda windows: _repeat(windows, period=0), "the last observed change of k rows"


def _seasonal_naive(dataset: Dataset) -> tuple[Predict, str]:
    season = dataset.season
    if season is None:
        raise _NotMeasuredError("the rows have no regular time, so no season is known")
    return lambda windows: _repeat(windows, season), f"season of {season} rows"


def _ridge(dataset: Dataset) -> tuple[Predict, str]:
    try:
        floor = fit_ridge(dataset.train, dataset.validation)
    except ValueError as error:  # such as inputs in the billions, left unscaled
        raise _NotMeasuredError(str(error)) from error
    return floor.predict, floor.detail


def _nlinear(dataset: Dataset) -> tuple[Predict, str]:
    if dataset.config.context_length < 2:
        raise _NotMeasuredError("a window of one row has no past relative to its last row")
    for windows in (dataset.train, dataset.validation, dataset.test):
        first = int(windows.ends.min()) - windows.context_length + 1
        if np.isnan(windows.levels.numpy()[first:]).any():
            raise _NotMeasuredError("the target has missing values inside of windows")
    floor = fit_nlinear(dataset.train, dataset.validation)
    return floor.predict, floor.detail


def _repeat(windows: Windows, period: int) -> Predictions:
    """Return the standardised target as it was whole periods ago, the latest that is known.

    A period of 0 stands for k itself at horizon k: the change that has just been completed.
    Where the table does not reach back so far, the prediction is the train mean (0).
    """
    ends = windows.ends.numpy()
    horizon = np.arange(1, windows.prediction_length + 1)
    back = -(-horizon // period) * period if period else horizon
    then = _levels(windows, ends[:, None] + horizon - back)
    before = _levels(windows, ends[:, None] - back)
    past = change(then, before, windows.transform)
    scaled = (past - windows.target_mean.numpy()) / windows.target_std.numpy()
    return np.asarray(np.nan_to_num(scaled, nan=0.0))


def _levels(
    windows: Windows, rows: Int64[np.ndarray, "window horizon"]
) -> Float64[np.ndarray, "window horizon target"]:
    levels = windows.levels.numpy()
    return np.where((rows >= 0)[:, :, None], levels[np.maximum(rows, 0)], np.nan)
