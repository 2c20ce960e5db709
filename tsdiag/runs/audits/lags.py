"""Where do the channels explain the target best? A scan over the rows that it may be off by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float64, Int64

from tsdiag.data.targets import change
from tsdiag.data.windows import Windows
from tsdiag.diagnostics.audit import LagScan
from tsdiag.runs.audits.problem import MOST_OUTPUTS, Problem
from tsdiag.runs.audits.regression import regress
from tsdiag.runs.levels import overlap_of
from tsdiag.statistics import block_length, block_variance

Lags = Int64[np.ndarray, " lag"]

NEAR = 3  # [rows] to both sides, all of which are looked at
ROWS, INPUTS = 12, 1024  # of a window: enough for a relation over a few rows
LEAST = 40  # windows of either span


def measure_lags(problem: Problem) -> LagScan | str:
    """Fit ridge to the change of one row, moved by few rows and by the horizon.

    The target's own channels are left out: once moved into the past, it would explain itself.
    Levels that their last value explains best are looked at as differences.
    """
    others = [n for n, own in enumerate(problem.own) if not own]
    if not others:
        return "every channel is a target, and what is moved would explain itself"
    lags = scanned(problem.train)
    split = problem.dataset.split
    train = _inside(problem.train, lags, split.train.stop)
    validation = _inside(problem.validation, lags, split.validation.stop)
    if min(len(train), len(validation)) < LEAST:
        return f"{len(train)} train and {len(validation)} validation windows far from the borders"
    length = min(ROWS, problem.dataset.config.context_length, max(1, INPUTS // len(others)))
    outputs = tuple(moved(windows, lags, problem.naive) for windows in (train, validation))
    regression = regress(
        problem.main.rows[:, others],
        length,
        (train.ends.numpy(), validation.ends.numpy()),
        (outputs[0], outputs[1]),
    )
    naive = np.square(outputs[1] - outputs[0].mean(axis=0))
    shares = _shares(regression.errors(), naive, len(lags))
    losses = shares.mean(axis=0)
    own = int(np.searchsorted(lags, 0))  # one row of lag stands behind it, see LagScan.aligned
    aligned = own + int(losses[own] > losses[own + 1])
    gained = shares[:, aligned] - shares[:, int(losses.argmin())]
    length = block_length(gained, overlap_of(validation))
    return LagScan(
        lags=tuple(lags.tolist()),
        skills=tuple((1 - losses).tolist()),
        block_error=float(np.sqrt(block_variance(gained, length))),
    )


def scanned(windows: Windows) -> Lags:
    """Return the rows by which the target is moved, ascending.

    A table that was joined off by a horizon is looked for where the window reaches so far back:
    two lags more cost no more than two outputs.
    """
    near, horizon = range(-NEAR, NEAR + 1), windows.prediction_length
    far = (-horizon, horizon) if NEAR < horizon <= windows.context_length else ()
    return np.array(sorted((*near, *far)), dtype=np.int64)


def _shares(
    errors: Float64[np.ndarray, "window output"],
    naive: Float64[np.ndarray, "window output"],
    lags: int,
) -> Float64[np.ndarray, "window lag"]:
    """Return the unexplained share of each window and lag, mean over the targets."""
    variance = naive.mean(axis=0)
    shares = np.divide(errors, variance, out=np.ones_like(errors), where=variance > 0)
    return np.asarray(shares.reshape(len(shares), lags, -1).mean(axis=2))


def moved(windows: Windows, lags: Lags, naive: str) -> Float64[np.ndarray, "window output"]:
    """Return the change of the row after each window, and of the rows before and behind that."""
    levels = windows.levels.numpy()[:, :MOST_OUTPUTS]
    differenced = windows.transform == "none" and naive == "last_value"
    transform = "difference" if differenced else windows.transform
    ends = windows.ends.numpy()[:, None] - lags
    found = change(levels[ends + 1], levels[ends], transform)
    return np.asarray(found.reshape(len(ends), -1), dtype=np.float64)


def _inside(windows: Windows, lags: Lags, stop: int) -> Windows:
    """Keep the windows of which all moved targets are known and lie before the span's end."""
    ends = windows.ends.numpy()
    read = ends[:, None] + np.union1d(-lags, 1 - lags)
    kept = (read >= 0).all(axis=1) & (read < stop).all(axis=1)
    known = np.isfinite(windows.levels.numpy()).all(axis=1)
    kept &= known[np.clip(read, 0, len(known) - 1)].all(axis=1)
    return replace(windows, ends=windows.ends[torch.from_numpy(kept)])
