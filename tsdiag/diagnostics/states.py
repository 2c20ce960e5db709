"""The state of a run, before any cause: does it learn, and is there anything to learn?

The condition is declared on validation losses alone. Three levels are compared on the same
windows: the *naive* one (the best of train mean, last value and seasonal naive, which learn
nothing), the *reference* (the best of ridge, NLinear and the baseline, which show what is within
reach), and the run's own best.

    attained = (naive - run) / (naive - reference)

    diverged          its losses are not finite, or rose above DIVERGED times both where they began
                      and the naive one, without having learned before
    baseline-suspect  the data audit found a leak, so the reference proves nothing
    nothing-to-learn  neither a learned floor, the baseline nor the run is better than naive, and
                      shuffling the targets in blocks costs the best cheap model nothing
    learning          attained is above LEARNS, with its whole interval; or nothing else that learns
                      is better than naive, and the run is
    stalled           attained is below LEARNS, with its whole interval, and the run went its whole
                      way or was too slow to get there
    undecided         anything else; why is said

Intervals are over blocks of neighbouring windows: losses of windows that overlap are alike, and
count as one. See causes.md's order of questions, of which this is the answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tsdiag.diagnostics.audit import DataAudit
from tsdiag.diagnostics.findings import Interval, RunScores, State
from tsdiag.diagnostics.leaks import leak
from tsdiag.statistics import ratio_of_means

# Half of the way from the naive loss to the reference. On the founding question (the LSTM calls
# 85 % of directions, the naive mean 50 %) a model at this line calls 72 %: whoever is below is
# stuck, and whoever is above has learned and may want tuning, but no diagnosis.
LEARNS = 0.5
# Without per-block losses (a run under way) there is no interval; this much is left on both sides.
UNSURE = 0.1
# The loss rose to this many times the larger of its first value and the naive loss.
DIVERGED = 2.0
# Share of the variance of one batch's targets that may be left for it to count as learned by heart.
BY_HEART = 0.05

CONSTANT = "train_mean"
NAIVE = (CONSTANT, "last_value", "seasonal_naive")
LEARNED = ("ridge", "nlinear")
# Run states that went their whole way; the others say little about where they would have ended.
WHOLE = ("completed", "early_stopped")
STOPPED = ("pruned", "timed_out")
UNDER_WAY = ("running", "interrupted")
# Share of its steps before which a run under way is not called stalled: attention wakes late.
HALF_WAY = 0.5
# Run states that say nothing about the model.
BROKEN = {"failed": "failed with an error", "infeasible": "does not fit into memory"}


@dataclass(frozen=True)
class Level:
    """A validation loss [target variance], and the same by blocks of neighbouring windows."""

    loss: float
    blocks: tuple[float, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What is known of how a run went, without its signals."""

    end_state: str
    reason: str = ""
    level: Level | None = None  # of its best weights
    first_loss: float | None = None
    last_loss: float | None = None
    pace: float = 0.0  # loss gained per step over the latest quarter of its steps
    step: int = 0
    max_steps: int = 0
    one_batch: float | None = None  # least loss on one batch learned by heart [target variance]


@dataclass(frozen=True)
class Standing:
    """A run's state with its reason and the numbers behind it."""

    state: State
    reason: str
    scores: RunScores = field(default_factory=lambda: RunScores(validation_loss=None))


def standing(
    outcome: Outcome,
    floors: Mapping[str, Level],
    baseline: Level | None,
    audit: DataAudit,
    name: str = "the baseline",
    expected: bool = False,
) -> Standing:
    """Return the state of a run; ``baseline`` is None where there is none, or where this is it.

    ``name`` is what the baseline is called in the reason; ``expected`` says that there is to be
    one, so that without it nobody can say that there is nothing to learn.
    """
    found = _compared(outcome, floors, baseline, audit, name, expected)
    # Best weights are kept, so a run that learned before it rose has not diverged for good.
    if found.state not in ("learning", "baseline-suspect") and (why := _rose(outcome, floors)):
        return Standing("diverged", why, found.scores)
    return found


def _compared(
    outcome: Outcome,
    floors: Mapping[str, Level],
    baseline: Level | None,
    audit: DataAudit,
    name: str,
    expected: bool,
) -> Standing:
    scores = _scores(outcome, floors, baseline)
    if outcome.end_state == "diverged":
        return Standing("diverged", outcome.reason or "its loss is not finite", scores)
    if outcome.end_state in BROKEN:
        words = outcome.reason or "no reason was stored"
        return Standing("undecided", f"it {BROKEN[outcome.end_state]}: {words}", scores)
    run, naive = outcome.level, _best(floors, NAIVE)
    if run is None or naive is None:
        missing = "the run has no validation loss yet" if run is None else "no floor was measured"
        return Standing("undecided", missing, scores)
    if (why := leak(audit)) is not None:
        return Standing("baseline-suspect", why, scores)
    learned = {key: floors[key] for key in LEARNED if key in floors}
    reference = _best(learned | ({name: baseline} if baseline else {}))
    if reference is None:
        return Standing("undecided", "nothing that learns was measured to compare with", scores)
    reach = _difference(naive[1], reference[1])
    if reach.low <= 0:
        missing = name if expected and baseline is None else ""
        return _without_reach(outcome, naive, reference, audit, scores, missing)
    attained = _ratio(naive[1], run, reference[1])
    if _difference(run, naive[1]).low > 0:
        # Surely worse than doing nothing: however unsure the way is, none of it was gone.
        attained = attained.model_copy(update={"high": min(attained.high, 0.0)})
    scores = scores.model_copy(
        update={"attained": attained, "naive": naive[0], "best": reference[0]}
    )
    told = _told(run, naive, reference, attained, baseline, name)
    hope = outcome.pace * (outcome.max_steps - outcome.step) / reach.value
    return Standing(*_judged(outcome, attained, hope, told), scores)


def _without_reach(
    outcome: Outcome,
    naive: tuple[str, Level],
    reference: tuple[str, Level],
    audit: DataAudit,
    scores: RunScores,
    missing: str,
) -> Standing:
    """Judge where neither a learned floor nor the baseline is better than doing nothing."""
    assert outcome.level is not None
    gain = _difference(naive[1], outcome.level)
    nothing = (
        f"neither {_words(reference[0])} ({reference[1].loss:.4g}) nor anything else that learns "
        f"is surely better than {_words(naive[0])} ({naive[1].loss:.4g})"
    )
    if gain.low > 0:
        return Standing(
            "learning", f"{nothing}, but this run is ({outcome.level.loss:.4g})", scores
        )
    if missing:
        return Standing(
            "undecided", f"{nothing}; there is no {missing} yet to compare with", scores
        )
    permutation = audit.permutation
    if permutation is None:
        why = audit.reasons.get("permutation", "the targets were not shuffled to tell")
        return Standing("undecided", f"{nothing}; {why}", scores)
    tested = (
        f"{permutation.model} has a skill of {permutation.skill:.3f} against "
        f"{len(permutation.shuffled)} shuffles of up to {max(permutation.shuffled):.3f} "
        f"(p = {permutation.p:.2f})"
    )
    if permutation.p <= 0.05:
        return Standing("undecided", f"{nothing}, yet {tested}: something faint is there", scores)
    return Standing(
        "nothing-to-learn",
        f"{nothing}; {tested}: no signal above a skill of {permutation.detectable:.3f}, the least "
        "that would have been detected",
        scores,
    )


def _judged(outcome: Outcome, attained: Interval, hope: float, told: str) -> tuple[State, str]:
    """Return state and reason; ``hope`` is what the rest of its steps would add at its pace."""
    limit = f"{100 * LEARNS:.0f} %"
    if attained.low > LEARNS:
        cut = f" (so far, at step {outcome.step} of {outcome.max_steps})"
        under_way = cut if outcome.end_state in UNDER_WAY else ""
        return "learning", f"{told}{under_way}; above {limit} is learning"
    if attained.high >= LEARNS:
        return "undecided", f"{told}; the interval holds the limit of {limit}"
    cut = f"{outcome.end_state.replace('_', ' ')} at step {outcome.step} of {outcome.max_steps}"
    if outcome.end_state in UNDER_WAY and outcome.step < HALF_WAY * outcome.max_steps:
        return "undecided", f"{told}; it is {cut}, too early to tell"
    if outcome.end_state not in WHOLE and attained.value + hope >= LEARNS:
        return "undecided", f"{told}; {cut}, and at its pace it would have passed {limit}"
    why = outcome.reason if outcome.reason and outcome.end_state in STOPPED else cut
    ended = "" if outcome.end_state in WHOLE else f"; {why}"
    return "stalled", f"{told}{ended}; below {limit} is stalled{_by_heart(outcome.one_batch)}"


def _by_heart(one_batch: float | None) -> str:
    """Tell whether the architecture can learn at all: one batch, without anything that hinders."""
    if one_batch is None:
        return ""
    if one_batch < BY_HEART:
        return ". It can learn one batch by heart, so it is able to learn"
    return f". It cannot even learn one batch by heart ({100 * one_batch:.0f} % are left)"


def _rose(outcome: Outcome, floors: Mapping[str, Level]) -> str | None:
    """Return how far a loss rose, or None where it did not."""
    naive = _best(floors, NAIVE)
    if outcome.last_loss is None or outcome.first_loss is None or naive is None:
        return None
    limit = DIVERGED * max(outcome.first_loss, naive[1].loss)
    if outcome.last_loss <= limit:
        return None
    return (
        f"its validation loss rose to {outcome.last_loss:.4g}, above {DIVERGED:g} times where it "
        f"began ({outcome.first_loss:.4g}) and {_words(naive[0])} ({naive[1].loss:.4g})"
    )


def _told(
    run: Level,
    naive: tuple[str, Level],
    reference: tuple[str, Level],
    attained: Interval,
    baseline: Level | None,
    name: str,
) -> str:
    low, value, high = (100 * x for x in (attained.low, attained.value, attained.high))
    ends = (
        f"{_words(naive[0])} ({naive[1].loss:.4g})",
        f"{_words(reference[0])} ({reference[1].loss:.4g})",
    )
    way = f"{value:.0f} % [{low:.0f}, {high:.0f}] of the way from {ends[0]} to {ends[1]}"
    words = f"a loss of {run.loss:.4g} is {way}"
    if attained.value < 0 and attained.high <= 0:
        words = (
            f"a loss of {run.loss:.4g} is above that of {ends[0]}, which learns nothing; "
            f"{ends[1]} shows what is within reach"
        )
    if baseline is not None and reference[0] != name:
        words += f"; {name} has {baseline.loss:.4g}"
    return words


def _scores(outcome: Outcome, floors: Mapping[str, Level], baseline: Level | None) -> RunScores:
    losses = {key: level.loss for key, level in floors.items() if math.isfinite(level.loss)}
    best = min(losses.values(), default=None)
    loss = outcome.level.loss if outcome.level else None
    return RunScores(
        validation_loss=loss,
        floors=losses,
        baseline=baseline.loss if baseline else None,
        skill=1 - loss / best if loss is not None and best else None,
    )


def _best(levels: Mapping[str, Level], names: Sequence[str] = ()) -> tuple[str, Level] | None:
    some = {key: level for key, level in levels.items() if not names or key in names}
    finite = [(level.loss, key) for key, level in some.items() if math.isfinite(level.loss)]
    return (min(finite)[1], some[min(finite)[1]]) if finite else None


def _difference(worse: Level, better: Level) -> Interval:
    """Return how much lower the second loss is."""
    a, b = np.asarray(worse.blocks), np.asarray(better.blocks)
    if len(a) == len(b) >= 2:
        found = ratio_of_means(a - b, np.ones(len(a)))
        return Interval(value=worse.loss - better.loss, low=found.low, high=found.high)
    gap, unsure = worse.loss - better.loss, UNSURE * worse.loss
    return Interval(value=gap, low=gap - unsure, high=gap + unsure)


def _ratio(naive: Level, run: Level, reference: Level) -> Interval:
    """Return the share of the way from the naive loss to the reference that a run has gone."""
    a, b, c = (np.asarray(level.blocks) for level in (naive, run, reference))
    if len(a) == len(b) == len(c) >= 2:
        found = ratio_of_means(a - b, a - c)
        return Interval(value=found.value, low=found.low, high=found.high)
    share = (naive.loss - run.loss) / (naive.loss - reference.loss)
    return Interval(value=share, low=share - UNSURE, high=share + UNSURE)


def _words(name: str) -> str:
    return name.replace("_", " ")
