"""Is a good score too good? Channels that know the future, rows on both sides, straight lines."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from tsdiag.data.dataset import Dataset
from tsdiag.diagnostics.audit import FeatureSkill, Leaks
from tsdiag.runs.audits.problem import LEAST_VALIDATION, Problem, skill_error
from tsdiag.runs.audits.regression import Regression, Rows, regress

# A change that repeats the one before to this relative precision was computed, not measured.
SAME = 1e-9
ROUNDING = 4 * np.finfo(np.float64).eps  # of a level, in a difference of two
LATEST = 2  # rows by which a channel that knows the future is told
PAST = 64  # rows of the target's own past
ALONE = 64  # rows of a channel by itself


def measure_leaks(problem: Problem) -> Leaks:
    """Measure all that ``diagnostics.leaks`` judges.

    A channel that foresees is looked at beside the target's own last rows, because most leaks are
    a future level, whose change from the present one is asked for.
    """
    foreseeing, past = _foresee(problem)
    errors = problem.main.errors()
    purged = _purge(problem, errors)
    share, chance = repeats(problem.dataset)
    return Leaks(
        dominating=_dominate(problem, problem.skill(errors)),
        foreseeing=foreseeing,
        past_skill=past,
        full_skill=problem.skill(errors),
        purged_skill=None if purged is None else purged[0],
        purged_error=None if purged is None else purged[1],
        interpolated_share=share,
        repeated_by_chance=chance,
    )


def _dominate(problem: Problem, full: float) -> FeatureSkill | None:
    """Return the channel that explains most by its own part of the window."""
    skills = [
        problem.skill(problem.main.errors(problem.main.places([number], ALONE)))
        for number in range(len(problem.channels))
    ]
    best = int(np.argmax(skills))
    return _feature(problem, best, skills[best], full) if skills[best] > 0 else None


def _foresee(problem: Problem) -> tuple[FeatureSkill | None, float | None]:
    """Return the channel that foresees one of the outputs best, and what the past says of that."""
    others = [n for n, own in enumerate(problem.own) if not own]
    levels = _levels(problem)
    context = problem.dataset.config.context_length
    past = regress(levels, min(context, PAST), problem.ends, problem.targets)
    if not others:
        return None, None
    beside = regress(
        np.hstack([problem.main.rows, levels]), min(context, LATEST), problem.ends, problem.targets
    )
    width = len(problem.channels)
    own = list(range(width, width + levels.shape[1]))
    skills = np.array([_output_skills(problem, beside, [n, *own]) for n in others])
    place, output = np.unravel_index(int(skills.argmax()), skills.shape)
    full = float(_skills(problem, problem.main.errors())[output])
    found = _feature(problem, others[place], float(skills[place, output]), full)
    return found, float(_skills(problem, past.errors())[output])


def _output_skills(
    problem: Problem, regression: Regression, channels: list[int]
) -> Float64[np.ndarray, " output"]:
    return _skills(problem, regression.errors(regression.places(channels, LATEST)))


def _skills(
    problem: Problem, errors: Float64[np.ndarray, "window output"]
) -> Float64[np.ndarray, " output"]:
    """Return the skill of each output by itself; none where the naive floor leaves nothing."""
    naive = problem.squares.mean(axis=0)
    gained = naive - errors.mean(axis=0)
    return np.asarray(np.divide(gained, naive, out=np.zeros_like(naive), where=naive > 0))


def _feature(problem: Problem, number: int, skill: float, full: float) -> FeatureSkill:
    share = skill / full if full > 0 else 0.0
    return FeatureSkill(
        channel=problem.names[number], skill=skill, share=share, is_target=problem.own[number]
    )


def _levels(problem: Problem) -> Rows:
    """Return the levels of the targets looked at, standardised over the train span."""
    levels = problem.train.levels.numpy()[:, np.unique(problem.chosen % problem.train.n_targets)]
    train = levels[: problem.dataset.split.train.stop]
    spread = np.nanstd(train, axis=0)
    scaled = (levels - np.nanmean(train, axis=0)) / np.where(spread > 0, spread, 1.0)
    # Where the target was not known yet, its mean is all that a model could be told.
    return np.asarray(np.nan_to_num(scaled, nan=0.0))


def _purge(
    problem: Problem, errors: Float64[np.ndarray, "window output"]
) -> tuple[float, float] | None:
    """Return skill and standard error on the windows that share no row with the train span.

    This is the split that an embargo of window + horizon would make: the train span is the same,
    the validation span begins later, and no context reaches back over the border.
    """
    config, border = problem.dataset.config, problem.dataset.split.train.stop
    gap = config.context_length + config.prediction_length
    beyond = problem.ends[1] >= border + gap - 1
    naive = problem.squares[beyond]
    if beyond.sum() < LEAST_VALIDATION or not naive.any():
        return None
    kept = errors[beyond]
    return float(1 - kept.mean() / naive.mean()), skill_error(kept, naive, problem.overlap)


def repeats(dataset: Dataset) -> tuple[float | None, float | None]:
    """Return the share of moving rows whose change equals the one before, and that by chance.

    Of three neighbouring rows all must have been observed. Chance is what the same changes would
    give in random order: a price that moves by one tick repeats half of its moves.
    """
    stop = dataset.split.train.stop
    seen = dataset.series.observed[:stop]
    whole = seen[2:] & seen[1:-1] & seen[:-2]
    found = [_repeats(level[:stop], whole) for level in dataset.series.target_values.T]
    known = [pair for pair in found if pair is not None]
    return max(known, key=lambda pair: pair[0] - pair[1]) if known else (None, None)


def _repeats(level: Float64[np.ndarray, " row"], whole: np.ndarray) -> tuple[float, float] | None:
    changes = np.diff(level)
    later, earlier = changes[1:][whole], changes[:-1][whole]
    noise = (ROUNDING * np.abs(level[2:]))[whole]
    moving = np.abs(later) > noise
    if moving.sum() < 2:
        return None
    same = np.abs(later - earlier) <= SAME * np.abs(later) + noise
    # Changes of stored decimals differ by the rounding of their levels.
    _, kinds, counts = np.unique(
        np.round(later / np.abs(later).max(), 9), return_inverse=True, return_counts=True
    )
    chance = (counts / len(later))[kinds]
    return float(same[moving].mean()), float(chance[moving].mean())
