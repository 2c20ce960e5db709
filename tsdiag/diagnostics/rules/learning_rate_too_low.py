"""The rate is too small for the number of steps: the model crawls and the budget ends.

What it looks for: the weights have hardly moved in the whole run, while the loss would have
tolerated longer steps from the weights that the run began with. Either there was room for three
times the rate and all steps together went less than half as far as in any healthy run; or there
was much room, and the way, multiplied by the share of the room that was used, is short.

Why training stalls: it does not; it is slow. On the founding model a rate of 1e-4 reached 55 % in
15 epochs and 92 % in 60, where 1e-3 reached 84 % in 15.

Told apart from: late-plateau, where the rate is about what is tolerated and only more steps help;
degenerate-normalization and poor-initialization, where a first step changes nothing whatever its
length; clipping-saturated, where the clip makes the steps short and not the rate;
attention-never-specializes, whose uniform patterns are also what queries and keys that have not
moved look like.

Remedies: ten times the rate, or a third of the largest rate that the meter found tolerated; or ten
times the steps.

Limits: the meter walks along one direction on one batch, so a rate it calls tolerated is known to
half a decade. Warmup is no help against a low peak. Decay moves weights too and is counted in.

References: Smith 2017 (cyclical rates, the range test); Goyal et al. 2017; the founding question's
reduced runs (rate against budget).
"""

from __future__ import annotations

from tsdiag.diagnostics.case import Case, Record, evidence
from tsdiag.diagnostics.findings import (
    Answer,
    Clear,
    Evidence,
    Finding,
    NotMeasured,
    Remedy,
    Suspect,
    strength,
)
from tsdiag.diagnostics.measures import last
from tsdiag.diagnostics.rules.rule import Plan, Rule
from tsdiag.diagnostics.travel import NEAR, ROOM, distance

# Configured over tolerated rate below which there is much room (travel.ROOM: there is some).
MUCH_ROOM = 0.15
# A way (travel.NEAR) that leaves no doubt: weights that moved by a hundredth.
NOWHERE = 0.01
# The least ratio that the rate meter can read: a thousand times the rate was tolerated, or more.
GRID_END = 0.00101
# That ratio times the way of the weights in lengths of themselves: healthy traces 0.09 to 12, a
# model too small to learn 0.012, rates of which a larger one learned 5e-7 to 0.004.
SLOW, CRAWLING = 0.006, 0.0003
# A weight moves at most by the rate in a step of Adam; those of healthy runs could by 0.4 to 1.2.
FAR = 0.05


def reach(record: Record) -> float | None:
    """Return that distance times the share of the tolerated rate that was used."""
    gone, ratio = distance(record), last(record.signal("rate_ratio"))
    return None if gone is None or ratio is None else gone * ratio


def check(case: Case) -> Answer:
    """Look for weights that stayed where they began, and for room above the rate."""
    meter, moves = case.record.signal("rate_ratio"), case.record.signal("global_update_ratio")
    ratio, gone, observed = last(meter), distance(case.record), reach(case.record)
    if meter is None or moves is None or ratio is None or gone is None or observed is None:
        return Clear()
    if ratio <= 0 or case.setting("optimizer.lr") is None:
        return NotMeasured(why="the rate that was configured is not known")
    near, slow = case.lower(distance, NEAR), case.lower(reach, SLOW)
    scores = [
        *([strength(gone, near, NOWHERE)] if ratio < ROOM and gone < near else []),
        *([strength(observed, slow, CRAWLING)] if ratio < MUCH_ROOM and observed < slow else []),
    ]
    if not scores:
        return Clear()
    rate = float(case.setting("optimizer.lr"))
    way = Evidence(
        signal=moves.name,
        steps=(int(moves.steps[0]), int(moves.steps[-1])),
        observed=gone,
        reference=near if gone < near else slow / ratio,
        unit="lengths of the weights, summed over steps",
    )
    return Finding(
        cause="learning-rate-too-low",
        score=max(scores),
        summary=f"all steps together moved the weights by {100 * gone:.2g} % of their length; at "
        f"first the loss tolerated {1 / ratio:.0f} times the rate of {rate:g}",
        evidence=(way, evidence(meter, ratio, ROOM)),
        remedies=_remedies(rate, ratio, int(case.setting("training.max_steps"))),
    )


def warn(plan: Plan) -> str | None:
    """Say so where Adam could not take any weight far."""
    rate, steps = float(plan.setting("optimizer.lr")), int(plan.setting("training.max_steps"))
    if plan.setting("optimizer.name") == "sgd" or rate * steps >= FAR:
        return None
    return (
        f"optimizer.lr = {rate:g} for training.max_steps = {steps}: no weight can move by more "
        f"than {rate * steps:.2g}"
    )


def suspect(case: Case) -> Suspect | None:
    """Propose a higher rate where there is room for one, however far the weights have gone."""
    rate, ratio = case.setting("optimizer.lr"), last(case.record.signal("rate_ratio"))
    if not rate or ratio is None or not 0 < ratio < ROOM:
        return None
    why = f"at first the loss tolerated {1 / ratio:.0f} times the rate of {rate:g}"
    remedies = _remedies(float(rate), ratio, int(case.setting("training.max_steps")))
    return Suspect(cause="learning-rate-too-low", why=why, remedies=remedies)


def _remedies(rate: float, ratio: float, steps: int) -> tuple[Remedy, ...]:
    # Below what was tolerated: the meter judges a single step. Measured on the founding shape at
    # 1e-4: a third of the tolerated rate, 0.0095, took the loss from .88 to .22.
    # The end of the meter's grid stands for all beyond it.
    factor = max(10.0, (1.0 if ratio <= GRID_END else 0.3) / ratio)
    return (
        Remedy(
            set={"optimizer.lr": float(f"{rate * factor:.2g}")},
            expects="validation_loss falls within the first tenth of the steps",
            safety="if the loss jumps, take a third of it; warmup and clipping stay as they are",
            source="Smith 2017, the range test; the founding question's reduced runs",
        ),
        Remedy(
            set={"training.max_steps": 10 * steps},
            expects="global_update_ratio adds up to ten times the way, validation_loss falls",
            safety="costs ten times the time, where another rate would cost none",
            source="the founding question's reduced runs: 1e-4 reached 92 % in 60 epochs",
        ),
    )


RULE = Rule(
    cause="learning-rate-too-low",
    page=__doc__,
    check=check,
    needs={"rate_ratio": "", "global_update_ratio": ""},
    warn=warn,
    suspect=suspect,
    explains=("late-plateau", "attention-never-specializes", "positions-swamped"),
)
