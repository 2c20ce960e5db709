"""Dropout removes so much that what is left cannot be learned from.

What it looks for: a high dropout together with a train loss that is far larger with dropout than
without it, at the first step or over the last half; or with predictions that have become constant.

Why training stalls: dropout multiplies activations by chance. At nine tenths their variance grows
tenfold in each layer, the gradient is mostly that chance, and the surest way to a low loss is to
make the layers behind it silent: the model then predicts the mean.

Told apart from: overfitting, where the train loss without dropout is low and validation is not;
gradient-noise-dominates, where the chance comes from few windows; under-capacity, where the loss is
as high without dropout.

Remedies: dropout 0.1 everywhere.

Limits: batches differ by up to a factor of three in their first loss, so only more than that counts
there. Once a run predicts a constant, dropout costs nothing any more and only its size speaks, for
less. Dropout that has no layer to act on is left out.

References: Srivastava et al. 2014; Wager et al. 2013 (dropout as a penalty that grows with it);
measured: .29 at 0.1 and 0.3, .70 at 0.7 and 0.9 on the founding shape.
"""

from __future__ import annotations

from typing import Any

from tsdiag.diagnostics.case import Case, Record, evidence
from tsdiag.diagnostics.findings import Answer, Clear, Evidence, Finding, Remedy, Suspect, strength
from tsdiag.diagnostics.measures import average, first, last
from tsdiag.diagnostics.rules.rule import Plan, Rule
from tsdiag.diagnostics.signals import Signal

PATHS = ("model.dropout", "model.head_dropout", "model.attention_dropout")
# Healthy traces have 0.1, and learned with 0.3 and sometimes 0.5.
HIGH, EXTREME = 0.4, 0.9
# Train loss with dropout over that without, first step: healthy traces 0.9 to 2.6 at batches of 32.
AT_START, SURELY = 4.0, 30.0
# The same averaged over the last half of the steps: healthy traces 0.99 to 1.37.
IN_THE_END, FAR_APART = 1.45, 3.0
CONSTANT = 0.01  # variance of predictions over that of targets; healthy traces 0.7 to 1
BY_SIZE = 0.6  # at most, where nothing but its size speaks
LOW = 0.1


def at_start(record: Record) -> float | None:
    """Return the first batch's loss with dropout over that of windows without."""
    return _ratio(first(record.signal("train_loss")), first(record.signal("undropped_train_loss")))


def in_the_end(record: Record) -> float | None:
    """Return the same for the last half of the steps."""
    train, bare = record.signal("train_loss"), record.signal("undropped_train_loss")
    return _ratio(_late(train), _late(bare))


def check(case: Case) -> Answer:
    """Compare the loss with and without dropout."""
    record = case.record
    high = max(_rates(record).values(), default=0.0)
    train, bare = record.signal("train_loss"), record.signal("undropped_train_loss")
    if high < HIGH or train is None or bare is None:
        return Clear()
    opening, closing = at_start(record) or 0.0, in_the_end(record) or 0.0
    start = first(bare) or 0.0
    flat = last(record.signal("prediction_variance_ratio"))
    loud, late = case.upper(at_start, AT_START), case.upper(in_the_end, IN_THE_END)
    told = Evidence(signal="dropout", observed=high, reference=HIGH, unit="share")
    if opening > loud:
        score = strength(opening, loud, SURELY)
        words = f"makes the loss of the first batch {opening:.1f} times that without"
        shown = evidence(train, opening * start, loud * start)
    elif closing > late:
        score = strength(closing, late, FAR_APART)
        words = f"keeps the train loss at {closing:.1f} times that without"
        shown = evidence(train, closing * (_late(bare) or 0.0), late * (_late(bare) or 0.0))
    elif flat is not None and flat < CONSTANT:
        score, words = min(BY_SIZE, strength(high, HIGH, EXTREME)), "and predictions hardly vary"
        shown = Evidence(signal="prediction_variance_ratio", observed=flat, reference=CONSTANT)
    else:
        return Clear()
    return Finding(
        cause="dropout-too-strong",
        score=score,
        summary=f"dropout of {high:g} {words}",
        evidence=(shown, told),
        remedies=(_lower(record),),
    )


def warn(plan: Plan) -> str | None:
    """Say so where most of a layer is dropped."""
    found = [f"{path} = {rate:g}" for path, rate in _rates(plan).items() if rate > 0.5]
    return ", ".join(found) + ": more than half of a layer is dropped" if found else None


def suspect(case: Case) -> Suspect | None:
    """Propose less dropout where most of a layer is dropped.

    In a run that hardly moved, the loss is as high without it.
    """
    why = warn(Plan(case.record.config, case.facts))
    remedies = (_lower(case.record),)
    return None if why is None else Suspect(cause="dropout-too-strong", why=why, remedies=remedies)


def _rates(of: Record | Plan) -> dict[str, float]:
    """Return the dropouts that drop anything: some have no layer, or are switched off."""
    idle = set()
    if of.setting("model.attention_dropout_kind") == "none":
        idle.add("model.attention_dropout")
    if "model.head_units" in of.config and not of.setting("model.head_units"):
        idle.add("model.head_dropout")
    return {path: float(of.setting(path) or 0.0) for path in PATHS if path not in idle}


def _late(signal: Signal | None) -> float | None:
    return None if signal is None else average(signal, float(signal.steps[-1]) / 2)


def _ratio(with_dropout: float | None, without: float | None) -> float | None:
    return with_dropout / without if with_dropout is not None and without else None


def _lower(record: Record) -> Remedy:
    edit: dict[str, Any] = {path: LOW for path, rate in _rates(record).items() if rate > LOW}
    return Remedy(
        set=edit,
        expects="train_loss comes near undropped_train_loss, validation_loss falls",
        safety="may overfit where data are few; then raise it in steps of 0.1",
        source="Srivastava et al. 2014; measured: .70 at 0.9, .29 here (tests/traces)",
    )


RULE = Rule(
    cause="dropout-too-strong",
    page=__doc__,
    check=check,
    needs={"train_loss": "", "undropped_train_loss": ""},
    warn=warn,
    suspect=suspect,
    explains=("late-plateau",),
)
