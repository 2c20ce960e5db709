"""The validation span lies elsewhere than the train span, so what was learned does not hold there.

What it looks for: the target or a column has moved by more than its spread from train to
validation, and the loss on validation windows lies far above that on train windows, although
predictions follow the targets.

Why training stalls: on train windows it does not. In the new range the model extrapolates: it has
seen no such level, so it is off by an amount that further training on the old range cannot mend.

Told apart from: overfitting, where both spans look alike, the gap opens with time and predictions
follow their targets less and less; no-signal, where predictions follow nothing.

Remedies: predict changes instead of levels; standardise each window by itself; or both.

Limits: looks at means and deviations, so a relation that has changed while all ranges stayed is not
seen. Validation windows that are merely harder (more volatile) have a gap without a shift, and
windows of a slow series always lie somewhat elsewhere: generated series move by up to 1.8.

References: Kim et al. 2022 (RevIN); Zeng et al. 2023 (NLinear subtracts the last value, against
shifts between the spans); Quinonero-Candela et al. 2009; measured on the macd series with a drift,
as levels: .045 against .000045 of the last value; as changes it learns .94 of what is within reach.
"""

from __future__ import annotations

from math import log

from tsdiag.diagnostics.audit import TargetFacts
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
from tsdiag.diagnostics.measures import greatest, middle
from tsdiag.diagnostics.rules.rule import Rule

# Moves of the target's mean, of its deviation's logarithm, and of a column's mean [train standard
# deviations]. Healthy traces: up to .07, .18 and 1.4; beijing33: .004, .003 and .35.
MOVED, WIDENED, INPUT_MOVED = 1.0, log(2), 2.0
# Validation loss over train loss, both without dropout, medians of the evaluations after the first.
# Healthy traces: .8 to 1.3.
GAP, WIDE = 2.0, 5.0
# Predictions follow their targets: correlation at its best.
FOLLOWS = 0.4


def gap(record: Record) -> float | None:
    """Return validation over train loss, the median of each after the start."""
    outside = middle(record.signal("validation_loss"), 1)
    inside = middle(record.signal("undropped_train_loss"), 1)
    return outside / inside if outside is not None and inside else None


def check(case: Case) -> Answer:
    """Look for spans that differ, and for a loss that differs as they do."""
    target = case.audit.target
    if target is None:
        return NotMeasured(why=case.audit.why_not("target"))
    observed, limit = gap(case.record), case.upper(gap, GAP)
    correlation = case.record.signal("prediction_correlation")
    follows = greatest(correlation, 1)
    losses = case.record.signal("validation_loss")
    if observed is None or losses is None or correlation is None or follows is None:
        return Clear()
    if observed < limit or follows < FOLLOWS or not _moves(target):
        return Clear()
    return Finding(
        cause="distribution-shift",
        score=strength(observed, limit, limit / GAP * WIDE),
        summary=_summary(target, observed),
        evidence=(
            *_moves(target),
            evidence(losses, observed, limit).model_copy(
                update={"signal": "validation loss over train loss", "unit": "ratio"}
            ),
            evidence(correlation, follows, FOLLOWS),
        ),
        remedies=_remedies(case),
    )


def _moves(target: TargetFacts) -> list[Evidence]:
    widened = abs(log(target.validation_std_ratio)) if target.validation_std_ratio > 0 else 9.0
    found = (
        ("move of the target's mean", "", target.validation_mean_shift, MOVED),
        ("change of the target's deviation, log", "", widened, WIDENED),
        ("move of a column's mean", target.input_shift_channel, target.input_shift, INPUT_MOVED),
    )
    return [
        Evidence(
            signal=signal,
            where=where or "",
            observed=observed,
            reference=limit,
            unit="train standard deviations",
        )
        for signal, where, observed, limit in found
        if observed > limit
    ]


def _summary(target: TargetFacts, ratio: float) -> str:
    if target.validation_mean_shift > MOVED:
        what = f"the target's mean moves by {target.validation_mean_shift:.1f} train deviations"
    elif target.input_shift > INPUT_MOVED:
        what = (
            f'the mean of "{target.input_shift_channel}" moves by {target.input_shift:.1f} train '
            "deviations"
        )
    else:
        what = f"the target's deviation is {target.validation_std_ratio:.2g} times that of train"
    return f"{what} on the validation span, where the loss is {ratio:.1f} times that on train"


def _remedies(case: Case) -> tuple[Remedy, ...]:
    changes = Remedy(
        set={"data.transform": "difference"},
        expects="validation loss over train loss falls to near 1",
        safety="the target becomes a change: losses in its unit, forecasts restored from the level",
        source="Box and Jenkins 1970; measured on the macd series with a drift",
    )
    windowed = Remedy(
        set={"model.window_norm": "revin"},
        expects="validation loss over train loss falls to near 1",
        safety="hides the level of each window from the model, so its target must be a change",
        source="Kim et al. 2022 (RevIN)",
    )
    levels = case.setting("data.transform") == "none"
    can_norm = case.setting("model.window_norm") == "none"
    if levels and can_norm:
        both = windowed.model_copy(update={"set": changes.set | windowed.set})
        return (changes, both)
    return (changes,) if levels else (windowed,) if can_norm else ()


RULE = Rule(
    cause="distribution-shift",
    page=__doc__,
    check=check,
    needs={"undropped_train_loss": "", "prediction_correlation": ""},
    # Off by a level that moves, a model looks as if it had learned its train span by heart.
    explains=("overfitting", "bounded-output", "poor-initialization"),
)
