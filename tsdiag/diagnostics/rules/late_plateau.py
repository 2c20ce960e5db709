"""The model was learning when its steps ran out.

What it looks for: the validation loss still fell in the later half of the way that the rate has
gone, below what a constant reaches, so fast that three times the steps would cover all that is
missing.

Why training stalls: it had not begun in earnest. Many models stay near the mean for some hundred
steps before a part of them (attention, or a readout) becomes useful, and then improve quickly. A
budget that ends there looks like a plateau.

Told apart from: learning-rate-too-low, where a larger rate is tolerated and the same steps would
do; overfitting, where the loss still falls on validation windows and train windows are known by
heart; order-blind and others without a way to the signal, whose loss is flat.

Remedies: three times the steps; the schedule is stretched with them.

Limits: a plateau that is still flat cannot be told from one that never ends, so this abstains
there. A straight line is drawn through a curve: many losses flatten before it says.

References: Power et al. 2022 (late generalisation); Barak et al. 2022 (hidden progress); measured
on features averaged over channels: .54 after 300 steps, .22 after 600 and .14 after 900.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from math import isfinite

from tsdiag.diagnostics.case import Case, Record, evidence
from tsdiag.diagnostics.findings import (
    Answer,
    Clear,
    Evidence,
    Finding,
    NotMeasured,
    Remedy,
    strength,
)
from tsdiag.diagnostics.measures import average, first, last
from tsdiag.diagnostics.rules.rule import Rule
from tsdiag.diagnostics.signals import Signal
from tsdiag.diagnostics.states import LEARNED

TIMES = 3
# Share of what is missing that the added steps would cover at the pace of the last half: stalled
# runs without a way to the signal -0.4 to 0.8, those that learn with more steps 1.1 to 2.3.
COVERED, FAST = 1.0, 6.0
# Share of the way from the mean to the reference that is left: healthy traces -0.02 to 0.36.
LEFT = 0.4
# Validation over train loss without dropout: healthy traces 0.9 to 1.5; above, it has overfitted.
GAP = 5.0


def check(case: Case) -> Answer:
    """Draw the later half of the curve on."""
    loss, ratio = (case.record.signal(f"validation_loss{s}") for s in ("", "_ratio"))
    rate, reference = case.record.signal("learning_rate"), _reference(case)
    start, end, relative = first(loss), last(loss), first(ratio)
    if (
        first(rate) is None
        or loss is None
        or rate is None
        or start is None
        or end is None
        or not relative
    ):
        return Clear()
    planned = int(case.setting("training.max_steps", rate.steps[-1] + 1))
    if case.record.steps_done < planned:
        return NotMeasured(
            why=f"it was at step {case.record.steps_done} of {planned} when it ended"
        )
    mean, missing = start / relative, end - reference
    if missing <= LEFT * (mean - reference) or _overfits(case.record, end):
        return Clear()
    before = min(_halfway(loss, rate), mean)
    # The same number of steps again is two more halves.
    gain = 2 * (TIMES - 1) * (before - end)
    if gain < COVERED * missing:
        return Clear()
    told = Evidence(
        signal=loss.name,
        observed=gain / missing,
        reference=COVERED,
        unit=f"share of the missing loss that {TIMES} times the steps would cover",
    )
    return Finding(
        cause="late-plateau",
        score=strength(gain / missing, COVERED, FAST),
        summary=f"after {planned} steps the loss still fell, from {before:.3g} to {end:.3g} in the "
        "later half: the budget ended first",
        evidence=(told, evidence(loss, end, before)),
        remedies=(_longer(planned),),
    )


def _reference(case: Case) -> float:
    """Return the loss that is known to be within reach."""
    scores = case.standing.scores
    found = [scores.floors[name] for name in LEARNED if name in scores.floors]
    return min([*found, *([scores.baseline] if scores.baseline is not None else [])], default=0.0)


def _halfway(loss: Signal, rate: Signal) -> float:
    """Return the loss where half of the summed rate was spent, between the measured points."""
    known = _finite(rate)
    steps, rates = [s for s, _ in known], [r for _, r in known]
    spans = [b - a for a, b in pairwise(steps)]
    spent = list(accumulate((r * n for r, n in zip(rates, spans, strict=False)), initial=0.0))
    half = next(s for s, done in zip(steps, spent, strict=True) if done >= spent[-1] / 2)
    points = _finite(loss)
    for (a, high), (b, low) in pairwise(points):
        if a <= half <= b:
            return float(high + (low - high) * (half - a) / (b - a))
    return float(points[0][1])


def _finite(signal: Signal) -> list[tuple[float, float]]:
    pairs = zip(signal.steps.tolist(), signal.values.tolist(), strict=True)
    return [(step, value) for step, value in pairs if isfinite(value)]


def _overfits(record: Record, end: float) -> bool:
    train = record.signal("undropped_train_loss")
    known = average(train, 0.75 * float(train.steps[-1])) if train is not None else None
    return known is not None and end > GAP * known


def _longer(steps: int) -> Remedy:
    return Remedy(
        set={"training.max_steps": TIMES * steps},
        expects="validation_loss goes on falling where this run ended",
        safety=f"costs {TIMES} times the time; stop early if the first half is as flat as before",
        source="measured: .54 after 300 steps, .14 after 900 (tests/traces/late-plateau)",
    )


RULE = Rule(
    cause="late-plateau",
    page=__doc__,
    check=check,
    needs={"validation_loss": "", "validation_loss_ratio": "", "learning_rate": ""},
)
