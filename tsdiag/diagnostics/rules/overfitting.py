"""The model knows its train windows by heart and has learned little that holds for others.

What it looks for: a loss on train windows, dropout off, that is a small part of the validation
loss, and was not so before training.

Why training stalls: it does not; the train loss goes on falling. Windows are few, or overlap so
much that they are few, and what tells them apart costs less to learn than what they share.

Told apart from: distribution-shift, where predictions follow their targets at another level, or
the two losses differ from the first step on; under-capacity and all causes that keep the train loss
high; dropout-too-strong, where the train loss is high with dropout alone.

Remedies: a strong decay, dropout, or a smaller model; more rows before all of them.

Limits: a gap alone is no harm: healthy runs on few windows fitted them fifty times better and
forecast well. The measured loss is of 24 windows an evaluation, averaged over the last quarter.

References: Zhang et al. 2017 (networks fit noise); Loshchilov and Hutter 2019; Ilbert et al. 2024
(SAM for transformers on few series); measured on 552 windows: decay 0 .62, 3 .36, 10 .25.
"""

from __future__ import annotations

from typing import Any

from tsdiag.diagnostics.case import Case, Record, evidence
from tsdiag.diagnostics.findings import Answer, Clear, Finding, Remedy, strength
from tsdiag.diagnostics.measures import average, first, last
from tsdiag.diagnostics.rules.rule import Rule

# Validation over train loss without dropout: healthy traces 0.9 to 1.5 in the end.
GAP, BY_HEART = 5.0, 50.0
# The same over that before the first step, which a shift between the spans opens already.
WIDENED = 3.0
# Loss [target variance] over what the correlation leaves: runs that overfit here 1 to 1.2, a run on
# a drifting level 6.4.
LEVEL = 3.0
# Decay times rate: weights that nothing holds halve in about a hundred steps. Measured at a rate of
# 1e-3: 3 reached .36, 10 .25 and 30 .22 where none had .62.
PULL = 0.007
DROPOUT = 0.3


def gap(record: Record) -> float | None:
    """Return validation over train loss at the end."""
    train = record.signal("undropped_train_loss")
    loss = last(record.signal("validation_loss"))
    known = None if train is None else average(train, 0.75 * float(train.steps[-1]))
    # Below rounding, all is known: the ratio need not grow without end.
    return None if loss is None or known is None else loss / max(known, 1e-9)


def check(case: Case) -> Answer:
    """Compare what is known of train windows and of others."""
    train, loss = (case.record.signal(s) for s in ("undropped_train_loss", "validation_loss"))
    wide = gap(case.record)
    before, early = first(loss), first(train)
    limit = case.upper(gap, GAP)
    if train is None or loss is None or wide is None or wide <= limit:
        return Clear()
    if before is not None and early and wide < WIDENED * before / early:
        return Clear()
    if _off_level(case.record):
        return Clear()
    end = float(last(loss) or 0.0)
    return Finding(
        cause="overfitting",
        score=strength(wide, limit, BY_HEART),
        summary=f"train windows are known to a loss of {end / wide:.2g}, validation windows to "
        f"{end:.2g}: {wide:.0f} times as much",
        evidence=(evidence(train, end / wide, end / limit), evidence(loss, end)),
        remedies=_remedies(case),
    )


def _off_level(record: Record) -> bool:
    """Tell whether the validation loss is one of level or scale: fitting less does not cure it."""
    ratio = last(record.signal("validation_loss_ratio"))
    correlation = last(record.signal("prediction_correlation"))
    if ratio is None or correlation is None:
        return False
    return ratio > LEVEL * (1 - correlation**2)


def _remedies(case: Case) -> tuple[Remedy, ...]:
    paths = ["model.dropout", *(["model.head_dropout"] if case.setting("model.head_units") else [])]
    lower = [path for path in paths if float(case.setting(path, DROPOUT)) < DROPOUT]
    dropped: dict[str, Any] = dict.fromkeys(lower, DROPOUT)
    found = []
    rate = float(case.setting("optimizer.lr", 0.0))
    if rate > 0 and case.setting("optimizer.name", "adamw") in ("adamw", "sam"):
        strong = float(f"{PULL / rate:.1g}")
        if strong > float(case.setting("optimizer.weight_decay", 0.0)):
            found.append(
                Remedy(
                    set={"optimizer.weight_decay": strong},
                    expects="undropped_train_loss ends higher, validation_loss lower",
                    safety="a decay this strong holds the weights small; not for many windows",
                    source="Loshchilov and Hutter 2019; measured on 552 windows: .62 to .25",
                )
            )
    if dropped:
        found.append(
            Remedy(
                set=dropped,
                expects="train_loss and validation_loss come closer",
                safety="slower; the last layers may need more steps",
                source="Srivastava et al. 2014; measured on 552 windows: .62 to .51",
            )
        )
    if (blocks := int(case.setting("model.n_layers") or 0)) > 1:
        found.append(
            Remedy(
                set={"model.n_layers": max(1, blocks // 2)},
                expects="undropped_train_loss ends higher, validation_loss lower",
                safety="too small a model cannot fit either",
                source="Ilbert et al. 2024: one block suffices on common series",
            )
        )
    return tuple(found)


RULE = Rule(
    cause="overfitting",
    page=__doc__,
    check=check,
    needs={"undropped_train_loss": "", "validation_loss": ""},
)
