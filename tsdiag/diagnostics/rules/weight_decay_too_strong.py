"""Decay shrinks the weights faster than the data can make them grow.

What it looks for: weight matrices that lost most of their length, in updates of which decay was
nearly all.

Why training stalls: what the loss asks for is taken back in the same step. Weights settle where
decay and gradient cancel, near zero, and the model predicts little more than a mean.

Told apart from: clipping-saturated, where a clip has made the gradient small and the decay is of a
usual size; vanishing-gradients, where decay is most of the update because the gradient has gone;
learning-rate-too-high, where the weights grow.

Remedies: a usual decay of 0.01, or none.

Limits: behind a norm the length of weights does not matter, so models bear much: decays of 10 and
30 per unit of rate shrank the weights to a fiftieth here and learned all the same.

References: Loshchilov and Hutter 2019 (decoupled decay); van Laarhoven 2017 (decay and norms);
Andriushchenko et al. 2023 (what decay does at usual sizes).
"""

from __future__ import annotations

from collections.abc import Iterable

from tsdiag.diagnostics.case import Case, Record
from tsdiag.diagnostics.findings import Answer, Clear, Evidence, Finding, Remedy, strength
from tsdiag.diagnostics.measures import first, known, last, middle
from tsdiag.diagnostics.rules.rule import Rule
from tsdiag.diagnostics.signals import Signal

# Decay over the whole update, median over tensors: healthy traces 0.003 to 0.5.
MOST = 0.9
# Last over first length of decayed tensors, median: healthy traces 0.54 to 1.01, stalled 0.002 to
# 0.015. Some that learned shrank as much: this says what decay does, the state says that it hurts.
SHRUNK, GONE = 0.1, 0.01
USUAL = 0.01


def decay(record: Record) -> float | None:
    """Return decay's share in the updates."""
    return _median(middle(s, record.warmup) for s in record.places("decay_share"))


def shrinkage(record: Record) -> float | None:
    """Return what is left of the length of decayed tensors."""
    tensors = (record.signal("weight_norm", s.where) for s in record.places("decay_share"))
    return _median(_left(tensor) for tensor in tensors)


def check(case: Case) -> Answer:
    """Look for weights that decay has taken away."""
    share, left = decay(case.record), shrinkage(case.record)
    limit, bound = case.upper(decay, MOST), case.lower(shrinkage, SHRUNK)
    if share is None or left is None or share <= limit or left >= bound:
        return Clear()
    strong = float(case.setting("optimizer.weight_decay", 0.0))
    unit = "ratio, median over decayed tensors"
    return Finding(
        cause="weight-decay-too-strong",
        score=strength(left, bound, GONE),
        summary=f"decay of {strong:g} shrank the weights to {100 * left:.2g} % of their length and "
        f"is {share:.2g} times the usual update",
        evidence=(
            Evidence(signal="weight_norm", observed=left, reference=bound, unit=unit),
            Evidence(signal="decay_share", observed=share, reference=limit, unit=unit),
        ),
        remedies=_remedies(strong),
    )


def _left(tensor: Signal | None) -> float | None:
    start, end = first(tensor), last(tensor)
    return end / start if start and end is not None else None


def _median(numbers: Iterable[float | None]) -> float | None:
    found = sorted(known(numbers))
    return found[len(found) // 2] if found else None


def _remedies(strong: float) -> tuple[Remedy, ...]:
    none = Remedy(
        set={"optimizer.weight_decay": 0.0},
        expects="weight_norm no longer falls, decay_share is not measured",
        safety="may overfit where data are few",
        source="Loshchilov and Hutter 2019",
    )
    if strong <= USUAL:
        return (none,)
    usual = Remedy(
        set={"optimizer.weight_decay": USUAL},
        expects="weight_norm stays within a tenth of its start, decay_share below 0.1",
        safety="none known at this size",
        source="the default of AdamW (Loshchilov and Hutter 2019); measured: .44 at 100, .19 here",
    )
    return (usual, none)


RULE = Rule(
    cause="weight-decay-too-strong",
    page=__doc__,
    check=check,
    needs={"decay_share": "no decay, or weights that never moved", "weight_norm": ""},
    explains=("late-plateau",),
)
