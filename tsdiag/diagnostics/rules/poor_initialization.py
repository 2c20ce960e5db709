"""The weights that training began with are zero, or far too large.

What it looks for: weight matrices that were zero at step 0 and are still; or predictions of the
fresh model that spread many times as far as the targets.

Why training stalls: behind zero weights there is no gradient, so nothing ever leaves zero but the
last bias, and the model predicts the mean. Large weights saturate softmax and norms, and steps of
the usual length need most of the budget to take them back.

Told apart from: degenerate-normalization, where gradients are zero and the weights are not;
frozen-parameters, where weights stay as they were drawn; unscaled-inputs and unscaled-target, where
fresh predictions and targets differ in size because the data do (such runs are not judged).

Remedies: draw the weights at the usual scale, or smaller where the usual one is too large here.

Limits: a start far out can heal, and healthy ones begin with a loss of up to five times the
target's variance. Symmetric units (equal rows) are not looked for.

References: Glorot and Bengio 2010; He et al. 2015; Zhang et al. 2019 (Fixup, where some zeros are
meant and leave zero with the first steps).
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
    strength,
)
from tsdiag.diagnostics.measures import first, last
from tsdiag.diagnostics.rules.rule import Plan, Rule

# Share of the weight tensors: healthy traces 0.
ZEROS = 0.5
# Variance of fresh predictions [train target variance]: healthy traces 0.04 to 2.1, 14 stalled.
WIDE, FAR_OUT = 8.0, 200.0
SMALLER = 0.3  # of the usual scale; measured: learned as well as 1


def zeros(record: Record) -> float | None:
    """Return the share of weight tensors that begin and end as zeros."""
    weights = [s for s in record.places("weight_norm") if s.where.endswith("weight")]
    if not weights:
        return None
    return sum(first(s) == 0 and last(s) == 0 for s in weights) / len(weights)


def spread(record: Record) -> float | None:
    """Return the variance of the fresh model's predictions [train target variance]."""
    ratio = first(record.signal("prediction_variance_ratio"))
    loss = first(record.signal("validation_loss"))
    relative = first(record.signal("validation_loss_ratio"))
    # Not against the validation targets' own: those may vary less than the train span's.
    return None if ratio is None or loss is None or not relative else ratio * loss / relative


def check(case: Case) -> Answer:
    """Look at the weights and predictions of step 0."""
    share = zeros(case.record)
    if share is not None and share > ZEROS:
        return _zero(case, share)
    for path in ("data.scale_inputs", "data.scale_target"):
        if case.setting(path, True) is False:
            return NotMeasured(why=f"{path} = false: a start far out may be the data's")
    wide, limit = spread(case.record), case.upper(spread, WIDE)
    loss = case.record.signal("validation_loss")
    if loss is None or wide is None or wide <= limit:
        return Clear()
    told = Evidence(
        signal="prediction_variance",
        steps=(0, 0),
        observed=wide,
        reference=limit,
        unit="train target variance",
    )
    return Finding(
        cause="poor-initialization",
        score=strength(wide, limit, FAR_OUT),
        summary=f"before the first step predictions vary {wide:.0f} times as much as the targets",
        evidence=(told, evidence(loss, first(loss) or 0.0)),
        remedies=_drawn(case, "prediction_variance_ratio begins below 4", from_zero=False),
    )


def warn(plan: Plan) -> str | None:
    """Say so where all weights begin as zeros."""
    if plan.setting("model.init_scale") != 0:
        return None
    return "model.init_scale = 0: all weights begin as zeros and get no gradient"


def _zero(case: Case, share: float) -> Finding:
    told = Evidence(
        signal="weight_norm", observed=share, reference=ZEROS, unit="share of weights that are 0"
    )
    return Finding(
        cause="poor-initialization",
        score=1.0,
        summary=f"{100 * share:.0f} % of the weight tensors began as zeros and still are",
        evidence=(told,),
        remedies=_drawn(case, "weight_norm is above 0, gradients reach all blocks", from_zero=True),
    )


def _drawn(case: Case, expects: str, *, from_zero: bool) -> tuple[Remedy, ...]:
    scale = case.setting("model.init_scale")
    if scale is None or scale == (1 if from_zero else 0):
        return ()
    # Too wide a start at the usual scale, or below it, is brought further down and never up.
    usual = from_zero or scale > 1
    return (
        Remedy(
            set={"model.init_scale": 1.0 if usual else float(f"{SMALLER * scale:.2g}")},
            expects=expects,
            safety="none known; the first loss changes",
            source="Glorot and Bengio 2010; measured at scales 0.1, 0.3 and 1: .15, .15 and .19",
        ),
    )


RULE = Rule(
    cause="poor-initialization",
    page=__doc__,
    check=check,
    needs={"weight_norm": "", "prediction_variance_ratio": "targets or predictions do not vary"},
    warn=warn,
    explains=("learning-rate-too-low", "degenerate-normalization", "vanishing-gradients"),
)
