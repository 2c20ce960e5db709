"""Does the candidate beat the baseline on test data, by how much, how surely: a pure function.

Both train with the same seeds and are scored on the same windows. Two things vary: training with
another seed, and testing on other windows. The outcome rests on one interval over both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsdiag import statistics
from tsdiag.compare.comparison import (
    Comparison,
    Contender,
    Difference,
    FloorResult,
    Interval,
    Needs,
    Outcome,
    SignedTest,
    Superiority,
)
from tsdiag.compare.metrics import Scores, mean_scores, skill
from tsdiag.compare.needs import LEAST_SEEDS, Spread, needed
from tsdiag.errors import TsdiagError
from tsdiag.statistics import LEAST_BLOCKS

Losses = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Side:
    """The final runs of one side; everything per run is in the order of ``seeds``."""

    label: str
    trial: int | None
    seeds: tuple[int, ...]
    losses: Losses  # "seed window", squared error of each test window
    scores: tuple[Scores, ...]
    parameters: int
    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...]
    failed_seeds: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Floor:
    """A floor's test scores, and its squared error per window where both sides meet it."""

    name: str
    scores: Scores
    losses: Losses | None = None  # "window"


@dataclass(frozen=True)
class Ruling:
    """An outcome and what it is for."""

    outcome: Outcome
    reason: str
    needs: Needs | None = None


def judge(
    candidate: Side,
    baseline: Side,
    floors: Sequence[Floor] = (),
    *,
    overlap: int = 1,
    looks: int = 1,
    confidence: float = 0.95,
    rng: np.random.Generator | None = None,
) -> Comparison:
    """Return the verdict; ``overlap`` is how many windows share a target row [windows].

    Raises:
        TsdiagError: no seed finished on both sides.
    """
    rng = rng or np.random.default_rng(0)  # the same losses, the same words
    seeds = _pairs(candidate, baseline)
    ours, theirs = _losses_of(candidate, seeds), _losses_of(baseline, seeds)
    difference, spread = _difference(ours, theirs, overlap, confidence, rng)
    ruling = _rule(difference, spread, confidence, ours.shape, overlap)
    ruling = _without_survivors(ruling, candidate, baseline)
    best = min(floors, key=lambda floor: floor.scores.mse, default=None)
    return Comparison(
        outcome=ruling.outcome,
        reason=ruling.reason,
        confidence=confidence,
        candidate=_contender(candidate),
        baseline=_contender(baseline),
        seeds=seeds,
        difference=difference,
        needs=ruling.needs,
        floors=tuple(_floor(f, candidate, baseline, overlap, confidence, rng) for f in floors),
        best_floor=best.name if best else None,
        windows=ours.shape[1],
        overlap=overlap,
        ties=candidate.scores[0].ties,
        looks=looks,
        **_tests(ours, theirs, overlap, difference.block_length, confidence, rng),
    )


def _pairs(candidate: Side, baseline: Side) -> tuple[int, ...]:
    seeds = tuple(seed for seed in candidate.seeds if seed in baseline.seeds)
    if seeds:
        return seeds
    raise TsdiagError(
        f"compare {candidate.label} with {baseline.label}: no seed finished on both sides "
        f"({_listed(candidate)}; {_listed(baseline)}); see why the final runs ended, then "
        "compare again"
    )


def _listed(side: Side) -> str:
    finished = ", ".join(map(str, side.seeds)) or "none"
    return f"{side.label}: finished seeds {finished}"


def _losses_of(side: Side, seeds: tuple[int, ...]) -> Losses:
    return side.losses[[side.seeds.index(seed) for seed in seeds]].astype(np.float64)


def _difference(
    ours: Losses, theirs: Losses, overlap: int, confidence: float, rng: np.random.Generator
) -> tuple[Difference, Spread]:
    """Return the difference in mean loss with its three intervals.

    Per seed s and window w, d = mean + window effect + seed effect + both at once. The spread of
    the seeds' means over seeds, and of the windows' means in blocks, estimate the variances of
    the mean that training and testing cause; they add.
    """
    apart = ours - theirs
    over_windows = statistics.block_mean(
        apart.mean(axis=0), rng, overlap=overlap, confidence=confidence
    )
    per_seed = apart.mean(axis=1)
    over_seeds = statistics.t_interval(per_seed, confidence)
    spread = _spread(apart, over_windows)
    count, enough = len(per_seed), _enough(apart.shape, overlap)
    half = spread.half_width(count, 1.0, confidence) if enough else None
    mean = float(per_seed.mean())
    return Difference(
        mean=mean,
        per_seed=tuple(float(value) for value in per_seed),
        combined=None if half is None else Interval(low=mean - half, high=mean + half),
        windows=_interval(over_windows) if _enough_windows(apart.shape[1], overlap) else None,
        seeds=_interval(over_seeds) if over_seeds else None,
        seed_variance=spread.seed_variance / count if count > 1 else None,
        window_variance=over_windows.variance,
        degrees_of_freedom=_finite(spread.degrees(count)) if enough else None,
        block_length=over_windows.block_length,
    ), spread


def _spread(apart: Losses, over_windows: statistics.BlockMean) -> Spread:
    """Split the variances by source; the sum for the seeds at hand stays as measured."""
    count = len(apart)
    own = 0.0
    if count > 1:
        residuals = apart - apart.mean(axis=0)  # taking the mean off takes 1/count of them off
        length = over_windows.block_length
        variances = [statistics.block_variance(row, length) for row in residuals]
        own = min(sum(variances) / (count - 1), count * over_windows.variance)
    return Spread(
        seed_variance=float(apart.mean(axis=1).var(ddof=1)) if count > 1 else 0.0,
        shared_variance=over_windows.variance - own / count,
        own_variance=own,
        window_degrees=over_windows.degrees_of_freedom,
    )


def _finite(degrees: float) -> float | None:
    return degrees if math.isfinite(degrees) else None  # JSON knows no infinity


def _interval(estimate: statistics.Estimate) -> Interval:
    return Interval(low=estimate.low, high=estimate.high)


def _enough(shape: tuple[int, ...], overlap: int) -> bool:
    return shape[0] >= LEAST_SEEDS and _enough_windows(shape[1], overlap)


def _enough_windows(windows: int, overlap: int) -> bool:
    """Tell whether the test span holds a few stretches that share no target rows."""
    return windows >= LEAST_BLOCKS * max(overlap, 2)


def _rule(
    difference: Difference, spread: Spread, confidence: float, shape: tuple[int, ...], overlap: int
) -> Ruling:
    if difference.combined is None:
        return _too_few(shape, overlap)
    if difference.combined.high < 0:
        return Ruling("beats", "the whole interval lies below 0")
    if difference.combined.low == difference.combined.high == 0:
        return Ruling("does not beat", "both have the same loss on every window")
    if difference.combined.low >= 0:
        return Ruling("does not beat", "the whole interval lies above 0")
    needs = needed(difference.mean, spread, shape[0], confidence)
    return Ruling("cannot tell yet", "the interval holds 0", needs)


def _too_few(shape: tuple[int, ...], overlap: int) -> Ruling:
    seeds, windows = shape
    if not _enough_windows(windows, overlap):
        least = LEAST_BLOCKS * max(overlap, 2)
        reason = (
            f"{windows} test windows, of which {overlap} in a row share target rows, are too few"
        )
        needs = Needs(times_test_rows=least / windows, with_seeds=max(seeds, LEAST_SEEDS))
        return Ruling("cannot tell yet", reason, needs)
    reason = f"{seeds} paired seed{'s' * (seeds > 1)} cannot show how much training varies"
    return Ruling("cannot tell yet", reason, Needs(more_seeds=LEAST_SEEDS - seeds))


def _without_survivors(ruling: Ruling, candidate: Side, baseline: Side) -> Ruling:
    """Withhold a win from a side whose other seeds broke: the finished ones are the lucky ones."""
    winners = {"beats": candidate, "does not beat": baseline}
    winner = winners.get(ruling.outcome)
    if winner is None or not winner.failed_seeds:
        return ruling
    broken = f"{len(winner.failed_seeds)} of {len(winner.seeds) + len(winner.failed_seeds)}"
    reason = f"{broken} final runs of {winner.label} did not finish, and the rest are a selection"
    return Ruling("cannot tell yet", reason)


def _contender(side: Side) -> Contender:
    return Contender(
        label=side.label,
        trial=side.trial,
        parameters=side.parameters,
        seeds=side.seeds,
        failed_seeds=side.failed_seeds,
        seconds=side.seconds,
        cpu_seconds=side.cpu_seconds,
        scores=side.scores,
        mean=mean_scores(side.scores),
    )


def _floor(
    floor: Floor,
    candidate: Side,
    baseline: Side,
    overlap: int,
    confidence: float,
    rng: np.random.Generator,
) -> FloorResult:
    def against(side: Side) -> tuple[float | None, Outcome | None]:
        gained = skill(mean_scores(side.scores).mse, floor.scores.mse)
        if floor.losses is None:
            return gained, None
        theirs = np.broadcast_to(floor.losses, side.losses.shape)
        difference, spread = _difference(side.losses, theirs, overlap, confidence, rng)
        return gained, _rule(difference, spread, confidence, side.losses.shape, overlap).outcome

    (ours, our_outcome), (theirs, their_outcome) = against(candidate), against(baseline)
    return FloorResult(
        name=floor.name,
        scores=floor.scores,
        candidate_skill=ours,
        baseline_skill=theirs,
        candidate_outcome=our_outcome,
        baseline_outcome=their_outcome,
    )


def _tests(
    ours: Losses,
    theirs: Losses,
    overlap: int,
    length: int,
    confidence: float,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Return the further views of the same losses, each None where it has nothing to say."""
    apart = ours - theirs
    # Lags up to the block's length: losses of one model stay alike beyond the overlap.
    tested = statistics.diebold_mariano(apart.mean(axis=0), overlap, length - 1)
    won = statistics.probability_of_superiority(
        -ours.mean(axis=1), -theirs.mean(axis=1), rng, confidence=confidence
    )
    return {
        "diebold_mariano": SignedTest(statistic=tested[0], p=tested[1]) if tested else None,
        "sign_flip_p": statistics.sign_flip(apart.mean(axis=1), rng) if len(apart) > 1 else None,
        "superiority": Superiority(value=won.value, low=won.low, high=won.high),
    }
