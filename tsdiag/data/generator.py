"""Series whose best reachable directional accuracy is known, with and without the order of rows.

The next change is y = sqrt(F) fast + sqrt(S) z + sqrt(E) noise, of independent unit Gaussians with
F + S + E = 1. Its sign is predicted with probability 1/2 + atan(r) / pi, where r^2 is explained
over unexplained variance. ``fast`` depends on the order of the last ``MEMORY`` rows of drivers that
are independent over rows, with weights that add up to 0 over those rows and over columns: a model
that averages over time or over features sees nothing of it. What is left to such a model is ``z``,
slow and present in every column. (Strictly, the drift of z also hints at the order of rows; no
model is expected to live on that.) The target column is a level, whose ``difference`` is y.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from tsdiag.config import DataConfig, GeneratorConfig
from tsdiag.errors import ConfigError

if TYPE_CHECKING:
    import pandas
    from jaxtyping import Float64

    Column = Float64[np.ndarray, " row"]
    Drivers = Float64[np.ndarray, "row driver"]

TARGET = "level"
START = 1000.0  # level before the first row; the transform removes it
DRIVERS = 8
LAGS = 8
MEMORY = 128  # rows that fast looks back on, so the shortest context that reaches the ceiling
FAST_SPAN, SLOW_SPAN = 12, 26  # rows of the two averages: the customary MACD
SLOWNESS = 0.995  # autoregression of z from row to row
LOAD = 0.3  # of z in every column
FIRES_ABOVE = 1.0  # an event: the first driver column above this, in about one row of six


@dataclass(frozen=True)
class Shares:
    """Shares of the target's variance: order of rows, slow factor, noise."""

    fast: float
    slow: float
    noise: float


def solve_shares(config: GeneratorConfig) -> Shares:
    """Solve the two ceilings for the shares of variance.

    Raises:
        ConfigError: the order-blind ceiling is not below the full one.
    """
    if config.order_blind_ceiling >= config.ceiling:
        raise ConfigError(
            f"data.generate: order_blind_ceiling {config.order_blind_ceiling:g} is not below "
            f"ceiling {config.ceiling:g}; lower it"
        )
    noise = math.cos((config.ceiling - 0.5) * math.pi) ** 2
    slow = math.sin((config.order_blind_ceiling - 0.5) * math.pi) ** 2
    return Shares(1 - slow - noise, slow, noise)


def full_ceiling(explained: float) -> float:
    """Return the best directional accuracy for an explained share of Gaussian variance."""
    return 0.5 + math.atan2(math.sqrt(explained), math.sqrt(1 - explained)) / math.pi


def generate(config: GeneratorConfig) -> pandas.DataFrame:
    """Return columns x00, x01, ... (8 drivers, distractors, and last z alone) and ``level``.

    Raises:
        ConfigError: the two ceilings contradict each other.
    """
    import pandas

    shares = solve_shares(config)
    rngs = np.random.default_rng(config.seed).spawn(4)
    rows = MEMORY + config.rows  # the first rows only give the others a past
    drivers, slow, noise = _draw(config, rows, rngs[1:])
    own = math.sqrt(1 - LOAD**2)
    columns = np.column_stack([own * drivers + LOAD * slow[:, None], slow])
    fast = _fast(config, drivers[:, :DRIVERS], columns[:, 0], rngs[0])
    known = math.sqrt(shares.fast) * fast + math.sqrt(shares.slow) * slow
    # What is known in one row moves the level in the next.
    change = np.append(0.0, known[:-1]) + math.sqrt(shares.noise) * noise
    names = [f"x{number:02d}" for number in range(config.channels)]
    frame = pandas.DataFrame(columns[MEMORY:], columns=names)
    return frame.assign(**{TARGET: START + np.cumsum(change[MEMORY:])})


def oracle(
    config: GeneratorConfig, frame: pandas.DataFrame, *, order_blind: bool = False
) -> Column:
    """Return the expected next change at every row, from the columns up to it.

    It uses no more than a model with a context of ``MEMORY`` rows sees; the first rows of the
    frame, whose past is shorter, are NaN. ``order_blind``: the best without the order of rows.
    """
    shares = solve_shares(config)
    columns = frame.drop(columns=TARGET).to_numpy()
    slow = columns[:, -1]
    known = math.sqrt(shares.slow) * slow
    if not order_blind:
        drivers = (columns[:, :DRIVERS] - LOAD * slow[:, None]) / math.sqrt(1 - LOAD**2)
        structure = np.random.default_rng(config.seed).spawn(4)[0]
        known = known + math.sqrt(shares.fast) * _fast(config, drivers, columns[:, 0], structure)
    known[: MEMORY - 1] = np.nan
    return known


def check_use(config: DataConfig) -> list[str]:
    """Return notes on settings under which the known ceilings do not hold."""
    notes = []
    if config.context_length < MEMORY:
        notes.append(f"a context shorter than {MEMORY} rows cannot reach the ceiling")
    if config.transform != "difference" or config.prediction_length != 1:
        notes.append("the ceilings hold for the difference to the next row only")
    return notes


def _draw(
    config: GeneratorConfig, rows: int, rngs: list[np.random.Generator]
) -> tuple[Drivers, Column, Column]:
    drivers = rngs[0].standard_normal((rows, config.channels - 1))
    steps = rngs[1].standard_normal(rows)
    steps[1:] *= math.sqrt(1 - SLOWNESS**2)  # keeps the variance of z at 1
    slow = np.fromiter(accumulate(steps, lambda last, step: SLOWNESS * last + step), float, rows)
    return drivers, slow, rngs[2].standard_normal(rows)


def _fast(
    config: GeneratorConfig, drivers: Drivers, event: Column, rng: np.random.Generator
) -> Column:
    """Return the order-dependent part, unit variance; ``rng`` draws the weights of the task."""
    if config.kind == "latch":
        return _latch(event, drivers[:, 1])
    if config.kind == "macd":
        mix = rng.standard_normal(DRIVERS)
        mix -= mix.mean()
        weights = np.outer(macd_kernel(), mix)
    else:
        weights = rng.standard_normal((LAGS, DRIVERS))
        weights -= weights.mean(axis=0)
        weights -= weights.mean(axis=1, keepdims=True)
    weights /= np.linalg.norm(weights)
    lagged = (np.convolve(drivers[:, c], weights[:, c])[: len(drivers)] for c in range(DRIVERS))
    return np.asarray(sum(lagged))


def macd_kernel() -> Column:
    """Return the weights, newest row first, of two exponential averages' difference, sum 0."""
    ages = np.arange(MEMORY)
    averages = [a * (1 - a) ** ages for a in (2 / (FAST_SPAN + 1), 2 / (SLOW_SPAN + 1))]
    kernel = averages[0] - averages[1]
    return np.asarray(kernel - kernel.mean())


def _latch(event: Column, value: Column) -> Column:
    """Return the value at the last event, less the mean over the events in memory.

    Without the subtraction an average over events, which needs no order, would explain a part.
    """
    fires = event > FIRES_ABOVE
    last = np.maximum.accumulate(np.where(fires, np.arange(len(event)), 0))
    count, total = (_window_sum(column) for column in (fires.astype(float), fires * value))
    several = count >= 2
    count = np.where(several, count, 2)
    # n values' distance to their own mean has the variance 1 - 1/n.
    centred = (value[last] - total / count) / np.sqrt(1 - 1 / count)
    return np.asarray(np.where(several, centred, 0.0))


def _window_sum(column: Column) -> Column:
    sums = np.append(np.zeros(MEMORY), np.cumsum(column))
    return np.asarray(sums[MEMORY:] - sums[:-MEMORY])
