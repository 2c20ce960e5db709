"""What it would take to tell: how many more seeds, or how much more test data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from tsdiag.compare.comparison import Needs
from tsdiag.statistics import combined_degrees, student_quantile

LEAST_SEEDS = 3  # two runs can agree by chance, and then their spread is believed to be nothing
MOST_SEEDS = 1000
MOST_TIMES = 1000.0


@dataclass(frozen=True)
class Spread:
    """How uncertain a mean difference is, by source, so that other sizes can be imagined."""

    seed_variance: float  # of one seed's mean difference
    shared_variance: float  # of the mean over the windows at hand, the same for all seeds
    own_variance: float  # the same, of what is particular to one seed on these windows
    window_degrees: float

    def of_windows(self, seeds: int, times: float = 1.0) -> float:
        """Return the variance that other windows would cause; more seeds average a part away."""
        return (self.shared_variance + self.own_variance / seeds) / times

    def degrees(self, seeds: int, times: float = 1.0) -> float:
        """Return Satterthwaite's degrees of freedom of the sum of both variances."""
        windows = (self.of_windows(seeds, times), (self.window_degrees + 1) * times - 1)
        return combined_degrees([(self.seed_variance / seeds, seeds - 1), windows])

    def half_width(self, seeds: int, times: float, confidence: float) -> float:
        """Return half the combined interval for this many seeds and `times` as many windows.

        The part of the seeds is a little too wide (what is particular to a seed on these windows
        is in both variances), which errs on the side of "cannot tell yet".
        """
        variance = self.seed_variance / seeds + self.of_windows(seeds, times)
        quantile = student_quantile((1 + confidence) / 2, self.degrees(seeds, times))
        return quantile * math.sqrt(variance)


def needed(difference: float, spread: Spread, seeds: int, confidence: float) -> Needs:
    """Return the smallest step that would settle a difference of this size.

    More seeds if at most 1,000 in all do; else a longer test span, with the seeds at hand where
    their own spread leaves room, or with as many as make it leave room.
    """

    def tells(count: int, times: float) -> bool:
        return spread.half_width(count, times, confidence) < abs(difference)

    more = _smallest(lambda count: tells(count, 1.0), seeds, MOST_SEEDS)
    if more is not None:
        return Needs(more_seeds=more - seeds)
    # a half of the room for each source
    with_seeds = _smallest(lambda count: tells(count, 2 * MOST_TIMES), seeds, MOST_SEEDS)
    if with_seeds is None:
        return Needs()
    with_seeds = with_seeds if with_seeds == seeds else min(2 * with_seeds, MOST_SEEDS)
    tenths = _smallest(lambda t: tells(with_seeds, t / 10), 10, int(MOST_TIMES * 10))
    if tenths is None:
        return Needs()
    return Needs(times_test_rows=tenths / 10, with_seeds=with_seeds)


def _smallest(holds: Callable[[int], bool], low: int, high: int) -> int | None:
    """Return the smallest number that holds, where all larger ones then hold too; None if none."""
    if not holds(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return high
