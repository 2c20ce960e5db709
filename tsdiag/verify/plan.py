"""The plan of a verification: all that is settled before its first run, stored with the run.

What comes after follows from the plan and from the results that are in (``course.py``), so any
number of processes, now or after a break, agree on what is next without talking to each other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from statistics import median
from typing import Any

from pydantic import ValidationError

from tsdiag.config import Frozen, RunConfig
from tsdiag.diagnostics.findings import Diagnosis, RunScores
from tsdiag.diagnostics.states import CONSTANT, LEARNED, NAIVE
from tsdiag.errors import StoreError, UsageError
from tsdiag.models import Shapes
from tsdiag.store.runs import RunRow
from tsdiag.verify.arms import EVALUATIONS, Arm, canonical, longer
from tsdiag.verify.hypotheses import Hypothesis, hypotheses, union
from tsdiag.verify.random_edits import random_edits

# Pairs of a confirmation: all five of one sign have a chance of 1/32, and fewer cannot reach .05.
SEEDS = 5
# An effect below this share of what is within reach is no repair of anything. It also keeps a
# difference that is sure and tiny, such as another order of the same sums, from being confirmed.
WORTHWHILE = 0.05
# Seeds of interventions begin here above the run's own: far from those of final runs, which must
# not have had a part in choosing anything.
FIRST_SEED = 1000
# Of the budget's processor time, what the ten runs of a confirmation may take. The rest goes to
# screening, to as much random search, and to what parts of a repair do by themselves.
CONFIRMATION = 0.4
# Runs of a screening beside the control, the remedies and all at once: four rates, six pairs, and
# eight rests. What goes on to more steps is cheap, or there is time left.
FURTHER = 18
# Of a step's time, what predicting a window takes: the forward pass alone.
FORWARD = 1 / 3
# Fewer steps than these tell nothing of any transformer measured so far.
LEAST_STEPS = 20
# Random edits that are drawn: more are never needed, since screening tries fewer sets.
DRAWN = 24


class Plan(Frozen):
    """What is to be carried out, with which seeds, for how long."""

    run: str
    study: str
    trial: int | None
    config: str  # the run's RunConfig as JSON
    hypotheses: tuple[Hypothesis, ...]
    left_out: dict[str, str]
    random: tuple[dict[str, Any], ...]
    share: float  # [s] of processor time that the runs of a confirmation may take
    rungs: tuple[int, ...]  # steps of screening, shortest first
    seeds: tuple[int, ...]  # of a confirmation
    screen_seed: int
    naive: float  # loss of the best floor that learns nothing
    constant: float  # loss of the training mean: whoever is above has learned less than nothing
    reference: float  # loss of the best floor that learns, or of the baseline
    variance: float  # of the target, in its own unit
    evaluated: int  # windows of an evaluation
    weights: str | None  # of the plateau to go on from; None: its best weights are the first
    paces: dict[
        str, float
    ]  # [s] of processor time for a step, by set as canonical JSON; "{}": as it was

    @property
    def base(self) -> RunConfig:
        """The configuration that is being verified."""
        return RunConfig.from_json(self.config)

    @cached_property
    def steps(self) -> int:
        """Steps of a confirmation of a remedy that costs as much as half of them do."""
        return self._affordable(median(self._paces_of_remedies()))

    @cached_property
    def most_steps(self) -> int:
        """Steps of a confirmation of the remedy whose steps cost least."""
        return self._affordable(min(self._paces_of_remedies()))

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """The numbers of steps at which sets are screened, most first."""
        return tuple(sorted({*self.rungs, self.most_steps}, reverse=True))

    def steps_of(self, changes: Mapping[str, Any], pace: float | None = None) -> int:
        """Return the steps of a confirmation of a set: as many as its part of the time affords.

        ``pace`` is what a step of it took where it has run [s]; else it is what was timed.
        """
        return self._affordable(self.pace_of(changes) if pace is None else pace)

    def pace_in(self, row: RunRow) -> float:
        """Return what a step took in a run, without its evaluations [s of processor time]."""
        return row.cpu_seconds / (row.step + _evaluating(self.base, self.evaluated))

    def _affordable(self, pace: float) -> int:
        return _steps(self.base, self.share, self.pace_of({}) + pace, self.evaluated)

    def _paces_of_remedies(self) -> list[float]:
        return _paces(self.hypotheses, self.paces)

    def pace_of(self, changes: Mapping[str, Any]) -> float:
        """Return what a step takes under a set of changes [s of processor time], as far as known.

        Of a set that was not timed, it is that of the timed one that is most like it.
        """
        return pace_of(self.paces, changes)

    def seconds_of(self, arm: Arm) -> float:
        """Return the processor time that an arm can be expected to take [s]."""
        steps = arm.steps * longer(self.base, arm.set) + _evaluating(self.base, self.evaluated)
        return steps * self.pace_of(arm.set)

    def attained(self, loss: float) -> float:
        """Return the share of the way from the naive floor to the reference."""
        return (self.naive - self.counted(loss)) / (self.naive - self.reference)

    def counted(self, loss: float) -> float:
        """Return what a loss counts as: how much worse than knowing nothing it is says nothing."""
        return min(loss, self.constant)


def read_plan(text: str) -> Plan:
    """Read a stored plan.

    Raises:
        StoreError: it is another version's.
    """
    try:
        return Plan.model_validate_json(text)
    except ValidationError as error:
        raise StoreError(
            "read the plan of a verification: another version of tsdiag made it "
            f"({error.error_count()} differences); make it anew with: tsdiag explain TRIAL --verify"
        ) from error


def proposed(
    diagnosis: Diagnosis, row: RunRow, shapes: Shapes
) -> tuple[tuple[Hypothesis, ...], dict[str, str]]:
    """Return what a diagnosis says is worth carrying out, and what is left out.

    Raises:
        UsageError: there is nothing to repair, or nothing that could be tried.
    """
    _reach(diagnosis, row)
    tried, left_out = hypotheses(diagnosis, RunConfig.from_json(row.config), shapes)
    if not tried:
        raise UsageError(_nothing_to_try(diagnosis, left_out))
    return tried, left_out


def to_time(diagnosis: Diagnosis, row: RunRow, shapes: Shapes) -> list[dict[str, Any]]:
    """Return the sets whose steps are to be timed for a plan, what matters most first."""
    base = RunConfig.from_json(row.config)
    tried, _ = proposed(diagnosis, row, shapes)
    sets = [hypothesis.set for hypothesis in tried if not hypothesis.is_longer]
    return [{}, *sets, union(base, sets, shapes), *random_edits(base, shapes, DRAWN, base.seed)]


def make_plan(
    diagnosis: Diagnosis,
    row: RunRow,
    shapes: Shapes,
    variance: float,
    evaluated: int,
    paces: Mapping[str, float],
    processor_time: float,
) -> Plan:
    """Settle what a budget [s of processor time] is to be spent on; raises what ``proposed`` does.

    ``variance`` is that of the target in its own unit, ``evaluated`` the windows of an evaluation.
    ``paces`` says by set as canonical JSON what a step takes [s], at least for "{}", the control:
    timed, since the run may have been trained on another machine.
    """
    naive, reference = _reach(diagnosis, row)
    base = RunConfig.from_json(row.config)
    tried, left_out = proposed(diagnosis, row, shapes)
    return Plan(
        run=row.id,
        study=row.study,
        trial=row.trial,
        config=row.config,
        hypotheses=tried,
        left_out=left_out,
        random=tuple(random_edits(base, shapes, DRAWN, base.seed)),
        share=CONFIRMATION * processor_time,
        rungs=_rungs(base, tried, paces, evaluated, processor_time),
        seeds=tuple(base.seed + FIRST_SEED + i for i in range(1, SEEDS + 1)),
        screen_seed=base.seed + FIRST_SEED,
        naive=naive,
        constant=diagnosis.scores.floors.get(CONSTANT, naive),
        reference=reference,
        variance=variance,
        evaluated=evaluated,
        weights=row.weights if row.metrics.get("best_step", 1) > 0 else None,
        paces=dict(paces),
    )


def _reach(diagnosis: Diagnosis, row: RunRow) -> tuple[float, float]:
    """Return the losses between which a repair must bring the run."""
    trial = "the baseline" if diagnosis.trial is None else f"trial {diagnosis.trial}"
    if diagnosis.state not in ("stalled", "diverged", "undecided"):
        raise UsageError(
            f"verify {trial}: it is {diagnosis.state} ({diagnosis.state_reason}); only what is "
            "stalled, diverged or undecided has something to repair"
        )
    if row.state == "running":
        raise UsageError(f"verify {trial}: it is still running; wait for its end")
    naive, reference = reach(diagnosis.scores)
    if naive is None or reference is None or reference >= naive:
        raise UsageError(
            f"verify {trial}: neither a learned floor nor the baseline is better than doing "
            "nothing, so nothing shows what a repair could reach; run the search to its end first"
        )
    return naive, reference


def reach(scores: RunScores) -> tuple[float | None, float | None]:
    """Return the loss of the best naive floor, and the best that anything else has reached."""
    naive = [loss for name, loss in scores.floors.items() if name in NAIVE]
    learned = [loss for name, loss in scores.floors.items() if name in LEARNED]
    learned += [] if scores.baseline is None else [scores.baseline]
    return min(naive, default=None), min(learned, default=None)


def _nothing_to_try(diagnosis: Diagnosis, left_out: dict[str, str]) -> str:
    trial = "the baseline" if diagnosis.trial is None else f"trial {diagnosis.trial}"
    if not diagnosis.findings and not left_out:
        return f"verify {trial}: it has no findings, so there is no remedy to carry out"
    reasons = "; ".join(f"{name}: {why}" for name, why in left_out.items())
    return f"verify {trial}: none of its remedies can be carried out ({reasons})"


def own_pace(row: RunRow) -> float:
    """Return the processor time that a step of a run took, with all that was measured [s]."""
    return max(row.cpu_seconds or row.seconds, 1e-3) / max(row.step, 1)


def pace_of(paces: Mapping[str, float], changes: Mapping[str, Any]) -> float:
    """Return the pace of a set, or of the timed set that is most like it."""
    exact = paces.get(canonical(changes))
    if exact is not None:
        return exact
    timed = [(json.loads(text), pace) for text, pace in paces.items()]
    return max((_likeness(some, changes), pace) for some, pace in timed)[1]


def _likeness(timed: Mapping[str, Any], changes: Mapping[str, Any]) -> int:
    """Return how many changes a timed set shares, less those that it has of its own.

    All at once is cheap for the one part that makes it so; a set without that part is not.
    """
    shared = [path for path, v in timed.items() if path in changes and changes[path] == v]
    return 2 * len(shared) - len(timed)


def _paces(tried: Sequence[Hypothesis], paces: Mapping[str, float]) -> list[float]:
    """Return the paces of the remedies that a repair can be made of."""
    found = [pace_of(paces, h.set) for h in tried if not h.is_longer]
    return found or [pace_of(paces, {})]


def _evaluating(base: RunConfig, windows: int) -> float:
    """Return how many steps an arm's evaluations are worth; there is one before the first step."""
    return (1 + EVALUATIONS) * windows * FORWARD / base.training.batch_size


def _steps(base: RunConfig, share: float, pace: float, evaluated: int) -> int:
    """Return how many steps pairs can have in a share of processor time [s]: at most the run's.

    ``pace`` is what a step of both halves of a pair takes [s].
    """
    most = base.training.max_steps
    steps = int(share / (SEEDS * pace) - _evaluating(base, evaluated))
    return max(min(most, steps), min(LEAST_STEPS, most))


def _rungs(
    base: RunConfig,
    tried: Sequence[Hypothesis],
    paces: Mapping[str, float],
    evaluated: int,
    processor_time: float,
) -> tuple[int, ...]:
    """Return the lengths of screening: the longest at which it fits into its part of the time."""
    control, known = pace_of(paces, {}), _paces(tried, paces)
    typical = median(known)
    steps = _steps(base, CONFIRMATION * processor_time, control + typical, evaluated)
    pace = control + sum(known) + (1 + FURTHER) * typical
    half, quarter = math.ceil(steps / 2), math.ceil(steps / 4)
    for rungs in ((steps,), (half,)):
        taken = (rungs[0] + _evaluating(base, evaluated)) * pace
        if taken <= (1 - CONFIRMATION) * processor_time:
            return rungs
    return tuple(sorted({max(quarter, min(LEAST_STEPS, half)), half}))
