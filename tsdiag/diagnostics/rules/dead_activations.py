"""Units of a layer have stopped: whatever the window, their activation is flat.

What it looks for: the share of a layer's units without a slope at every token of every window, over
the later half of the run.

Why training stalls: a flat unit passes no gradient on, so nothing moves it back. Where a whole
layer is flat, all that lies before it has stopped learning, and the model predicts one number.

Told apart from: learning-rate-too-high, which is what mostly kills units and stands above it;
poor-initialization, where they are dead at the first step; under-capacity, where all units live.

Remedies: an activation with a slope everywhere; a tenth of the rate, with clipping and a warmup.

Limits: half of a layer may be dead in good health: one hidden layer of the head learned with 69 %.
So the limit is above the catalogue's 50 %. A unit is called flat below a slope of 1e-3, which GELU
and SiLU reach too, far out.

References: Maas et al. 2013 (leaky units); Hendrycks and Gimpel 2016 (GELU); Lu et al. 2020 (dying
ReLU).
"""

from __future__ import annotations

from typing import Any

from tsdiag.diagnostics.case import Case, Record, evidence
from tsdiag.diagnostics.findings import Answer, Clear, Finding, Remedy, strength
from tsdiag.diagnostics.measures import extreme, first, known, middle
from tsdiag.diagnostics.rules.rule import Rule

# Share of a layer's units. Healthy traces 0 to 0.11 (tests/traces), and 0.69 in a run that learned.
MOSTLY, ALL = 0.85, 1.0


def dead_share(record: Record) -> float | None:
    """Return the share of dead units in the layer that has most, over the later half of the run."""
    layers = record.places("dead_share")
    return max(known(middle(layer, layer.steps[-1] / 2) for layer in layers), default=None)


def check(case: Case) -> Answer:
    """Look for a layer that is mostly flat."""
    layers = case.record.places("dead_share")
    observed, limit = dead_share(case.record), min(case.upper(dead_share, MOSTLY), ALL)
    worst = extreme(layers, [middle(s, s.steps[-1] / 2) for s in layers], largest=True)
    if observed is None or worst is None or observed < limit:
        return Clear()
    begun = first(worst) or 0.0
    return Finding(
        cause="dead-activations",
        score=strength(observed, limit, ALL),
        summary=f"{observed:.0%} of the units of {worst.where} are flat on every window "
        f"({begun:.0%} at the start), and let no gradient through",
        evidence=(evidence(worst, observed, limit),),
        remedies=_remedies(case),
    )


def _remedies(case: Case) -> tuple[Remedy, ...]:
    rate = case.setting("optimizer.lr", 0.0)
    smooth: dict[str, Any] = {"model.activation": "elu"}
    slower: dict[str, Any] = {
        "optimizer.lr": float(f"{rate / 10:.2g}"),
        "optimizer.clip_norm": case.setting("optimizer.clip_norm") or 1.0,
        "optimizer.warmup_fraction": max(0.1, case.setting("optimizer.warmup_fraction", 0.0)),
    }
    some = (
        Remedy(
            set=slower if rate > 0 else {},
            expects="dead_share stays below 0.5, validation_loss falls",
            safety="needs more steps",
            source="Lu et al. 2020; measured: the run of tests/traces learned at lower rates",
        ),
        Remedy(
            set=smooth if case.setting("model.activation") != "elu" else {},
            expects="dead_share stays near 0",
            safety="does not help where the rate throws units out",
            source="Maas et al. 2013; Clevert et al. 2016 (ELU)",
        ),
    )
    return tuple(r for r in some if r.set and r.set.keys() <= case.record.config.keys())


RULE = Rule(
    cause="dead-activations",
    page=__doc__,
    check=check,
    needs={"dead_share": "no activations with a slope to take in this model"},
)
