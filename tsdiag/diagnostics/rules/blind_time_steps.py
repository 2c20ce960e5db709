"""The output does not depend on whole stretches of the window: those rows are never read.

What it looks for: the gradient of the output is exactly 0 on a tenth of the rows or more, and the
output explains clearly less than a linear probe finds where all rows are still there.

Why training stalls: what the unread rows say about the target is out of reach, whatever the
weights. The loss settles at what the other rows can explain.

Told apart from: order-blind, where every row is read and none is placed; poor-initialization and
dead-activations, where nothing at all is read; a model that ignores old rows because they do not
matter, whose gradient there is small and not 0.

Remedies: a pool that reads all tokens, and a residual scale at which attention brings the others'
content to the last one.

Limits: measured on the best weights. A gradient of 0 through dead units or one-hot patterns counts
as unread, which is true of those weights and may change.

References: Simonyan et al. 2013 (input gradients); measured: the recorded plant reads the last 4 of
24 rows and has a loss of .60, with flatten .16.
"""

from __future__ import annotations

from typing import Any

from tsdiag.diagnostics.case import Case, Record, evidence
from tsdiag.diagnostics.findings import Answer, Clear, Finding, Remedy, strength
from tsdiag.diagnostics.measures import last
from tsdiag.diagnostics.rules.rule import Plan, Rule
from tsdiag.diagnostics.waterfall import lost, waterfall

# Share of rows: exactly 0 in all healthy runs (tests/traces); a stray row is no stretch.
STRETCH, MOST = 0.1, 0.5
# Share of the best skill inside that the output lacks: up to 0.34 in healthy runs, 0.55 and more in
# stalled ones that do not read what they need.
LOSES = 0.4


def check(case: Case) -> Answer:
    """Look for rows without any gradient, and for what is missed."""
    curve = case.record.places("blind_time_share")[0]
    observed = last(curve)
    # All rows: a constant, which is blind to no row in particular.
    if observed is None or not STRETCH <= observed < 1:
        return Clear()
    places = waterfall(case.record)
    best = max(places, key=lambda place: place.skill, default=None)
    if best is not None and lost(best, places[-1]) < LOSES:
        return Clear()
    shown = [evidence(curve, observed, STRETCH)]
    told = ""
    if best is not None:
        shown.append(evidence(best.curve, best.skill))
        output = places[-1]
        shown.append(evidence(output.curve, output.skill, best.skill * (1 - LOSES)))
        told = f"; the output explains {output.skill:z.2f} of {best.skill:z.2f} that are there"
    rows = case.facts.context_length
    which = "the oldest " if _are_oldest(case.record) else ""
    return Finding(
        cause="blind-time-steps",
        score=strength(observed, STRETCH, MOST),
        summary=f"{which}{observed * rows:.0f} of {rows} rows of a window are never read{told}",
        evidence=tuple(shown),
        remedies=_remedies(case),
    )


def warn(plan: Plan) -> str | None:
    """Say so where nothing but the last token can reach the output."""
    if plan.setting("model.residual_scale") == 0 and plan.setting("model.pooling") == "last":
        return 'model.residual_scale = 0 with model.pooling = "last": only the last token is read'
    return None


def _are_oldest(record: Record) -> bool:
    """Tell whether all rows without a gradient come before all others."""
    parts = [s for s in record.places("input_gradient") if s.where.startswith("time[")]
    unread = [last(part) == 0 for part in parts]
    return any(unread) and unread == sorted(unread, reverse=True)


def _remedies(case: Case) -> tuple[Remedy, ...]:
    switched_off = case.setting("model.residual_scale") == 0
    restored: dict[str, Any] = {"model.residual_scale": 1.0} if switched_off else {}
    offered: list[Remedy] = []
    if case.setting("model.pooling") == "last":
        safety = "the head grows with the window, and may overfit"
        offered.append(_remedy({"model.pooling": "flatten"} | restored, safety, ".60 -> .16"))
    if restored:
        safety = "blocks that were switched off begin to learn: keep warmup"
        offered.append(_remedy(restored, safety, ".60 -> .51"))
    return tuple(offered)


def _remedy(edit: dict[str, Any], safety: str, gain: str) -> Remedy:
    return Remedy(
        set=edit,
        expects="blind_time_share falls to 0, validation_loss falls",
        safety=safety,
        source=f"measured: recorded plant, loss {gain}",
    )


RULE = Rule(
    cause="blind-time-steps",
    page=__doc__,
    check=check,
    needs={"blind_time_share": ""},
    warn=warn,
)
