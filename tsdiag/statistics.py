"""How sure a difference of losses is, when windows overlap and training has seeds.

Losses of neighbouring windows are alike, so windows are resampled in blocks; runs with different
seeds are replicates, so they are paired and never averaged away. No torch in here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

LEAST_BLOCKS = 4  # fewer separate stretches than this cannot show their own spread


@dataclass(frozen=True)
class Estimate:
    """A value with the interval around it."""

    value: float
    low: float
    high: float


def student_quantile(probability: float, degrees: float) -> float:
    """Return the quantile of Student's t; the normal one for infinite degrees of freedom."""
    from scipy.special import ndtri, stdtrit  # slow to import, and most commands never need it

    known = math.isfinite(degrees)
    return float(stdtrit(degrees, probability) if known else ndtri(probability))


def automatic_block_length(values: Values) -> float:
    """Return the block length [values] with the least error of the variance of the mean.

    Politis and White (2004), with the correction of Patton, Politis and White (2009), circular
    and moving blocks.
    """
    count = len(values)
    covariances = _autocovariances(values)
    if covariances[0] <= 0:
        return 1.0
    last = _last_notable_lag(covariances / covariances[0], count)
    lags = np.arange(1, min(2 * max(last, 1), len(covariances) - 1) + 1)
    # the flat-top window: 1 up to half of its width, then falling to 0
    weights = np.clip(2 * (1 - lags / lags[-1]), 0, 1) * covariances[lags]
    curvature, spectrum = 2 * np.sum(weights * lags), covariances[0] + 2 * np.sum(weights)
    if spectrum <= 0:
        return 1.0
    return float((1.5 * (curvature / spectrum) ** 2 * count) ** (1 / 3))


def _autocovariances(values: Values) -> Values:
    count = len(values)
    longest = min(count - 1, math.ceil(math.sqrt(count)) + 6)
    centred = values - values.mean()
    return np.array([centred[lag:] @ centred[: count - lag] for lag in range(longest + 1)]) / count


def _last_notable_lag(correlations: Values, count: int) -> int:
    """Return the lag after which five correlations in a row are as small as chance makes them."""
    notable = np.abs(correlations[1:]) >= 2 * math.sqrt(math.log10(count) / count)
    run = 5
    for lag in range(len(notable) - run + 1):
        if not notable[lag : lag + run].any():
            return lag
    return max((int(lag) for lag in np.flatnonzero(notable)), default=0) + 1


def block_length(values: Values, overlap: int = 1) -> int:
    """Return how many neighbouring windows [windows] to keep together.

    Twice the largest of: windows that share a target row (``overlap``), n^(1/3), and the automatic
    length. Twice, because the automatic length is best for a variance; intervals that keep their
    coverage need longer blocks (Sun, Phillips and Jin 2008). At most a quarter of the values.
    """
    count = len(values)
    if count < 2 * LEAST_BLOCKS:
        return 1
    longest = count // LEAST_BLOCKS
    wanted = 2 * max(overlap, math.cbrt(count), automatic_block_length(values))
    return min(longest, math.ceil(wanted))


def moving_block_bootstrap(
    values: Values, length: int, draws: int, rng: np.random.Generator
) -> Values:
    """Return the means of resampled series made of blocks of neighbours (Künsch 1989)."""
    count = len(values)
    blocks = math.ceil(count / length)
    rest = count - (blocks - 1) * length  # the last block is cut, so each draw has `count` values
    sums = np.concatenate([[0.0], np.cumsum(values - values.mean())])
    starts = rng.integers(0, count - length + 1, size=(draws, blocks))
    ends = starts + length
    ends[:, -1] = starts[:, -1] + rest
    means: Values = values.mean() + (sums[ends] - sums[starts]).sum(axis=1) / count
    return means


def block_variance(values: Values, length: int) -> float:
    """Return the variance of the mean that the bootstrap's draws tend to, without drawing."""
    count = len(values)
    if count <= length:
        return 0.0  # one block has nothing to differ from
    sums = np.concatenate([[0.0], np.cumsum(values - values.mean())])
    blocks = (sums[length:] - sums[:-length]) / length
    # blocks scatter around a mean that is made of themselves
    return float(blocks.var()) * length / count / (1 - length / count)


@dataclass(frozen=True)
class BlockMean(Estimate):
    """The mean of a series of losses, how it spreads, and what the spread rests on."""

    variance: float
    block_length: int
    degrees_of_freedom: float


def block_mean(
    values: Values,
    rng: np.random.Generator,
    *,
    overlap: int = 1,
    confidence: float = 0.95,
    draws: int = 2000,
) -> BlockMean:
    """Return the mean with a moving-block bootstrap interval.

    Deviations are widened for the mean that blocks share with the series, 1 / (1 - length / n),
    and by Student's t on the number of blocks; tests show the coverage on autocorrelated losses.
    """
    length = block_length(values, overlap)
    blocks = len(values) / length
    deviations = moving_block_bootstrap(values, length, draws, rng) - values.mean()
    if len(values) > 1:
        deviations /= math.sqrt(1 - 1 / blocks)
    tail = (1 - confidence) / 2
    degrees = max(blocks - 1, 1e-9)
    wider = student_quantile(1 - tail, degrees) / student_quantile(1 - tail, math.inf)
    low, high = values.mean() + wider * np.quantile(deviations, [tail, 1 - tail])
    return BlockMean(
        float(values.mean()), float(low), float(high), float(deviations.var()), length, degrees
    )


def diebold_mariano(
    differences: Values, horizon: int = 1, lag: int | None = None
) -> tuple[float, float] | None:
    """Return the statistic and two-sided p of equal accuracy; None where the losses never differ.

    Diebold and Mariano (1995) with the correction and the t(n - 1) of Harvey, Leybourne and
    Newbold (1997). The long-run variance is rectangular over ``horizon - 1`` lags as in theirs;
    with a longer ``lag`` (losses that stay alike beyond the overlap), or where that sum is
    negative, Bartlett's weights keep it positive (Newey and West 1987).
    """
    from scipy.special import stdtr

    count = len(differences)
    reach = min(max(horizon - 1, lag or 0), count - 1)
    centred = differences - differences.mean()
    gamma = [float(centred[k:] @ centred[: count - k]) / count for k in range(reach + 1)]
    if count < 2 or gamma[0] <= 0:
        return None
    variance = gamma[0] + 2 * sum(gamma[1:])
    if reach > horizon - 1 or variance <= 0:
        weights = [1 - k / (reach + 1) for k in range(1, reach + 1)]
        variance = gamma[0] + 2 * sum(w * g for w, g in zip(weights, gamma[1:], strict=True))
    steps = reach + 1
    correction = (count + 1 - 2 * steps + steps * (steps - 1) / count) / count
    statistic = float(differences.mean()) / math.sqrt(variance / count)
    statistic *= math.sqrt(max(correction, 0.0))
    return statistic, 2 * float(stdtr(count - 1, -abs(statistic)))


def t_interval(values: Values, confidence: float = 0.95) -> Estimate | None:
    """Return the mean with Student's interval, or None for fewer than two values."""
    if len(values) < 2:
        return None
    mean, spread = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))
    half = student_quantile((1 + confidence) / 2, len(values) - 1) * spread
    return Estimate(mean, mean - half, mean + half)


def proportion_interval(hits: int, count: int, confidence: float = 0.95) -> Estimate | None:
    """Return a share with Clopper and Pearson's exact interval (1934), or None of nothing."""
    from scipy.special import betaincinv

    if count < 1:
        return None
    tail, misses = (1 - confidence) / 2, count - hits
    low = float(betaincinv(hits, misses + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, misses, 1 - tail)) if misses else 1.0
    return Estimate(hits / count, low, high)


def sign_flip(
    differences: Values,
    rng: np.random.Generator | None = None,
    alternative: Literal["two-sided", "less"] = "two-sided",
) -> float:
    """Return the p that the signs of paired differences are chance (Fisher 1935).

    With "less", only sums as far below 0 count: for an effect whose sign was said beforehand.
    Exact up to 16 pairs: all sign patterns are counted. Beyond that 65,536 of them are drawn.
    """
    count = len(differences)
    if count <= 16:
        signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
    else:
        signs = 1 - 2 * (rng or np.random.default_rng(0)).integers(0, 2, size=(2**16, count))
        signs[0] = 1  # the observed pattern is one of those possible, so p is never 0
    sums, observed = signs @ differences, float(differences.sum())
    slack = 1e-9 * float(np.abs(differences).sum())  # sums in another order differ by rounding
    # Asked the other way round, so that a difference that is not a number proves nothing.
    if alternative == "less":
        return float(np.mean(~(sums > observed + slack)))
    return float(np.mean(~(np.abs(sums) < abs(observed) - slack)))


def probability_of_superiority(
    a: Values,
    b: Values,
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    draws: int = 2000,
) -> Estimate:
    """Return P(A > B) over paired runs, ties counted half (Bouthillier et al. 2021).

    The interval is the percentile bootstrap over pairs. Where all pairs agree it has no width,
    though a few wins prove little, so there it is Clopper and Pearson's.
    """
    wins = np.where(a > b, 1.0, np.where(a == b, 0.5, 0.0))
    tail = (1 - confidence) / 2
    if wins.min() < wins.max():
        picks = rng.integers(0, len(wins), size=(draws, len(wins)))
        low, high = np.quantile(wins[picks].mean(axis=1), [tail, 1 - tail])
        return Estimate(float(wins.mean()), float(low), float(high))
    least = tail ** (1 / len(wins))  # all n of n won: the share whose n-th power is the tail
    low, high = {1.0: (least, 1.0), 0.0: (0.0, 1 - least)}.get(float(wins[0]), (0.0, 1.0))
    return Estimate(float(wins.mean()), low, high)


def combined_degrees(parts: list[tuple[float, float]]) -> float:
    """Return the degrees of freedom of a sum of (variance, degrees) (Satterthwaite 1946)."""
    total = sum(variance for variance, _ in parts)
    below = sum(variance**2 / degrees for variance, degrees in parts)
    return total**2 / below if below > 0 else math.inf


def even_blocks(values: Values, overlap: int = 1, most: int = 40) -> Values:
    """Return the means of equally many neighbouring values each [as values].

    Blocks are at least twice as long as windows share a target row (``overlap``) and as n^(1/3),
    and there are at most ``most``: so few numbers keep what an interval needs, and two series of
    one length have the same blocks. Lengths differ by one value at most.
    """
    count = len(values)
    shortest = 2 * max(overlap, math.ceil(math.cbrt(count)))
    blocks = max(1, min(most, count // shortest))
    parts = np.array_split(values, blocks)
    return np.array([part.mean() for part in parts])


def ratio_of_means(top: Values, bottom: Values, confidence: float = 0.95) -> Estimate:
    """Return mean(top) / mean(bottom) over blocks, with the interval of the linearised ratio.

    The delta method (Cochran 1977, section 6.4) with Student's t. Where neighbouring blocks are
    alike, being r their correlation, n of them count as n (1 - r) / (1 + r), as in the mean of a
    first-order autoregression; r is freed of its bias -(1 + 3 r) / n (Kendall 1954).
    """
    ratio = float(top.mean() / bottom.mean())
    count = len(top)
    residuals = top - ratio * bottom
    spread = float(residuals.std(ddof=1)) if count > 1 else math.inf
    if not math.isfinite(spread):
        return Estimate(ratio, -math.inf, math.inf)
    alike = _neighbours_correlation(residuals)
    separate = count * (1 - alike) / (1 + alike)
    error = spread / math.sqrt(separate) / abs(float(bottom.mean()))
    half = student_quantile((1 + confidence) / 2, max(separate - 1, 1)) * error
    return Estimate(ratio, ratio - half, ratio + half)


def _neighbours_correlation(values: Values) -> float:
    """Return how alike neighbours are, from 0 to .9; too few values are taken to be separate."""
    count, centred = len(values), values - values.mean()
    total = float(centred @ centred)
    if count < 4 or total == 0:
        return 0.0
    biased = float(centred[1:] @ centred[:-1]) / total
    return min(0.9, max(0.0, (count * biased + 1) / (count - 3)))
