"""The rate was near 0 for a large part of the steps, and the loss still fell when it got there.

What it looks for: the share of the steps, at the end, during which the rate was below a twentieth
of its peak, and how much the validation loss had fallen in the last third before that.

Why training stalls: with a rate near 0 nothing moves. A schedule that is shorter than the run, or
that counts steps where it was given epochs, leaves the rest of the budget unused.

Told apart from: late-plateau, where the rate lasts to the end and the budget is too short;
learning-rate-too-low, where the peak itself is too low.

Remedies: a constant rate, or as many more steps as the schedule fell short.

Limits: the schedules of tsdiag end with the run, so this needs a training loop of another make, or
a curve that was stopped and taken up again. A loss that had settled before the cut is not counted.

References: Loshchilov and Hutter 2017 (cosine schedules); Hoffmann et al. 2022, appendix B (a
cosine that is not as long as the run costs loss).
"""

from __future__ import annotations

from tsdiag.diagnostics.case import Case, Record, evidence
from tsdiag.diagnostics.findings import Answer, Clear, Evidence, Finding, Remedy, strength
from tsdiag.diagnostics.measures import first, last, values
from tsdiag.diagnostics.rules.rule import Rule
from tsdiag.diagnostics.signals import Signal

NEAR_ZERO = 0.05  # of the peak
# Share of the steps near 0: healthy traces 0.12, of a cosine without warmup 0.14.
IDLE, MOSTLY = 0.25, 0.6
# Relative fall of the validation loss over the last third of the steps before the cut.
FALLING = 0.05


def cut(record: Record) -> float | None:
    """Return the step from which on the rate stayed near 0."""
    rate = record.signal("learning_rate")
    found = values(rate)
    if rate is None or len(found) != len(rate.steps):
        return None
    limit = NEAR_ZERO * max(found.tolist())
    step = float(rate.steps[-1]) + 1
    for at, value in zip(rate.steps.tolist()[::-1], found.tolist()[::-1], strict=True):
        if value >= limit:
            break
        step = float(at)
    return step


def idle(record: Record) -> float | None:
    """Return the share of the steps from there on."""
    at, end = cut(record), _end(record)
    return None if at is None or not end else 1 - at / end


def check(case: Case) -> Answer:
    """Look for steps without a rate behind a loss that still fell."""
    rate = case.record.signal("learning_rate")
    loss = case.record.signal("validation_loss")
    at, share = cut(case.record), idle(case.record)
    limit = case.upper(idle, IDLE)
    if rate is None or loss is None or at is None or share is None or share <= limit:
        return Clear()
    before, then, end = _value(loss, at * 2 / 3), _value(loss, at), last(loss)
    if before is None or then is None or end is None or before <= 0:
        return Clear()
    fall = 1 - then / before
    if fall < FALLING:
        return Clear()
    told = Evidence(
        signal=loss.name,
        steps=(int(at * 2 / 3), int(at)),
        observed=fall,
        reference=FALLING,
        unit="relative fall",
    )
    return Finding(
        cause="schedule-decayed-early",
        score=strength(share, limit, MOSTLY),
        summary=f"the rate was near 0 for the last {100 * share:.0f} % of the steps, and the loss "
        f"had still fallen by {100 * fall:.0f} % in the third before",
        evidence=(evidence(rate, at, (1 - limit) * _end(case.record)), told),
        remedies=_remedies(int(case.setting("training.max_steps", _end(case.record))), share),
    )


def _end(record: Record) -> float:
    rate = record.signal("learning_rate")
    return float(rate.steps[-1]) + 1 if rate is not None else 0.0


def _value(signal: Signal, step: float) -> float | None:
    """Return the last value up to a step, or the first one behind it."""
    found = values(signal, stop=step)
    return float(found[-1]) if len(found) else first(signal)


def _remedies(steps: int, share: float) -> tuple[Remedy, ...]:
    return (
        Remedy(
            set={"optimizer.schedule": "constant"},
            expects="learning_rate stays at its peak, validation_loss falls to the end",
            safety="the last steps are noisier than under a schedule that ends with the run",
            source="Hoffmann et al. 2022, appendix B",
        ),
        Remedy(
            set={"training.max_steps": round(steps / (1 - share))},
            expects="validation_loss falls further while the rate is not near 0",
            safety="costs as much more time",
            source="Loshchilov and Hutter 2017",
        ),
    )


RULE = Rule(
    cause="schedule-decayed-early",
    page=__doc__,
    check=check,
    needs={"learning_rate": "", "validation_loss": ""},
)
