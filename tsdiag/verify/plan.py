"""The plan of a verification: all that is settled before its first run, stored with the run.

What comes after follows from the plan and from the results that are in (``course.py``), so any
number of processes, now or after a break, agree on what is next without talking to each other.
"""

from __future__ import annotations

import math
from typing import Any

from pydantic import ValidationError

from tsdiag.config import Frozen, RunConfig
from tsdiag.diagnostics.findings import Diagnosis, RunScores
from tsdiag.diagnostics.states import LEARNED, NAIVE
from tsdiag.errors import StoreError, UsageError
from tsdiag.models import Shapes
from tsdiag.store.runs import RunRow
from tsdiag.verify.hypotheses import MOST, Hypothesis, hypotheses
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
# Runs of a screening: the control, six remedies, two rates, all at once, six pairs, eight rests.
SCREENED = MOST + 18
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
    steps: int  # of a confirmation
    rungs: tuple[int, ...]  # steps of screening, shortest first
    seeds: tuple[int, ...]  # of a confirmation
    screen_seed: int
    naive: float  # loss of the best floor that learns nothing
    reference: float  # loss of the best floor that learns, or of the baseline
    variance: float  # of the target, in its own unit
    weights: str | None  # of the plateau to go on from; None: its best weights are the first
    pace: float  # [s] of processor time for one step of the run as it was

    @property
    def base(self) -> RunConfig:
        """The configuration that is being verified."""
        return RunConfig.from_json(self.config)

    def attained(self, loss: float) -> float:
        """Return the share of the way from the naive floor to the reference."""
        return (self.naive - loss) / (self.naive - self.reference)


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


def make_plan(
    diagnosis: Diagnosis, row: RunRow, shapes: Shapes, variance: float, processor_time: float
) -> Plan:
    """Settle what a budget [s of processor time] is to be spent on; raises what ``proposed`` does.

    ``variance`` is that of the target in its own unit.
    """
    naive, reference = _reach(diagnosis, row)
    base = RunConfig.from_json(row.config)
    tried, left_out = proposed(diagnosis, row, shapes)
    steps = affordable(row, processor_time)
    return Plan(
        run=row.id,
        study=row.study,
        trial=row.trial,
        config=row.config,
        hypotheses=tried,
        left_out=left_out,
        random=tuple(random_edits(base, shapes, DRAWN, base.seed)),
        steps=steps,
        rungs=_rungs(steps, _pace(row), processor_time),
        seeds=tuple(base.seed + FIRST_SEED + i for i in range(1, SEEDS + 1)),
        screen_seed=base.seed + FIRST_SEED,
        naive=naive,
        reference=reference,
        variance=variance,
        weights=row.weights if row.metrics.get("best_step", 1) > 0 else None,
        pace=_pace(row),
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


def _pace(row: RunRow) -> float:
    """Return seconds a step, with its share of the evaluations."""
    taken = row.cpu_seconds or row.seconds
    return max(taken, 1e-3) / max(row.step, 1)


def affordable(row: RunRow, processor_time: float) -> int:
    """Return how many steps the runs of a confirmation can have: at most those of the run."""
    most = RunConfig.from_json(row.config).training.max_steps
    share = CONFIRMATION * processor_time / (2 * SEEDS)
    return max(min(most, int(share / _pace(row))), min(LEAST_STEPS, most))


def _rungs(steps: int, pace: float, processor_time: float) -> tuple[int, ...]:
    """Return the lengths of screening: the longest at which it fits into its part of the time."""
    half, quarter = math.ceil(steps / 2), math.ceil(steps / 4)
    for rungs in ((steps,), (half,)):
        if SCREENED * rungs[0] * pace <= (1 - CONFIRMATION) * processor_time:
            return rungs
    return tuple(sorted({max(quarter, min(LEAST_STEPS, half)), half}))
