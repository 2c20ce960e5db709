"""The model is too small to learn even one batch by heart.

What it looks for: from fresh weights, without dropout, decay or clipping and at the best of three
rates, the loss on 64 windows stays above 5 % of their variance, while gradients reach every part.

Why training stalls: there is no setting of the weights that fits the target, or none that a few
hundred steps find among so few. Neither patience, data nor another rate helps.

Told apart from: feature-bottleneck, where one layer is narrow and the others are not;
frozen-parameters and poor-initialization, where parts cannot move; degenerate-normalization, where
nothing passes a norm; blind-time-steps, where the rows that matter are not read; unscaled-target,
which no model reaches in so few steps.

Remedies: four times the width of everything, and a second layer.

Limits: 300 steps in all. A large model that learns its batch slowly looks the same, so the finding
is weaker the closer it is to 5 %. A small model may learn a batch and still be too small for the
task; that is not found here.

References: Zhang et al. 2017 (a network that can generalise can memorise); measured: a width of 3
with one head of one number has a loss of .57, and keeps 25 % of the variance of its 64 windows.
"""

from __future__ import annotations

from math import hypot
from typing import Any

from tsdiag.diagnostics.case import Case, Record, evidence
from tsdiag.diagnostics.findings import Answer, Clear, Finding, Remedy, strength
from tsdiag.diagnostics.measures import first, known, last
from tsdiag.diagnostics.rules.rule import Rule

# Share of the variance that is left on 64 windows: the probe stops at 0.05, which every healthy
# run reaches (tests/traces: 0.035 to 0.05 in 13 to 80 steps).
LEFT, HOPELESS = 0.05, 0.5
# Whoever is left with nearly all of it has not learned too little but nothing: that is no size's.
BLOCKED = 0.95
# Body's gradient over the head's at step 0; below, no part of the blame is size's.
REACHES = 1e-3
# Smallest over largest gradient of a block at the end; a lower one fades on its way.
FADES = 1e-3
# Size of the target as trained on, mean and deviation: 1 where it is standardised. A few hundred
# steps cannot reach far beyond, whatever the size of the model.
FAR = 10.0
# Layers beside the stream this many times wider: it alone is narrow, see feature-bottleneck.
NECK = 8
WIDTH, LAYERS = 32, 2


def left(record: Record) -> float | None:
    """Return the share of the variance that stays on one batch."""
    return last(record.signal("one_batch_loss_share"))


def check(case: Case) -> Answer:
    """Look for a batch that is not learned although nothing is in the way."""
    curve, observed = case.record.signal("one_batch_loss_share"), left(case.record)
    limit = case.upper(left, LEFT)
    if curve is None or observed is None or not limit <= observed < BLOCKED:
        return Clear()
    if _is_hindered(case):
        return Clear()
    steps = last(case.record.signal("one_batch_steps"))
    told = "" if steps is None else f" (least after {steps:.0f} steps)"
    return Finding(
        cause="under-capacity",
        score=strength(observed, limit, HOPELESS),
        summary=f"it cannot learn 64 windows by heart: {100 * observed:.0f} % of their variance "
        f"is left{told}, with gradients all over",
        evidence=(
            evidence(curve, observed, limit),
            *(evidence(s, x, REACHES) for s, x in _ratio(case.record)),
        ),
        remedies=_remedies(case),
    )


def _is_hindered(case: Case) -> bool:
    """Tell whether a part cannot move, or cannot see, or is narrow alone."""
    record = case.record
    if record.setting("optimizer.frozen") or record.setting("model.init_scale") == 0:
        return True
    if 0.0 in known(first(reached) for reached in record.places("has_gradient")):
        return True
    if any(ratio < REACHES for _, ratio in _ratio(record)):
        return True
    blocks = known(last(block) for block in record.places("block_gradient_norm"))
    if min(blocks, default=1.0) < FADES * max(blocks, default=1.0):
        return True
    target = case.audit.target
    if target is not None and hypot(target.mean, target.standard_deviation) > FAR:
        return True
    return bool(last(record.signal("blind_time_share"))) or _is_neck(case)


def _is_neck(case: Case) -> bool:
    width = case.setting("model.d_model")
    heads = case.setting("model.n_heads", 0) * case.setting("model.head_dim", 0)
    return isinstance(width, int) and max(heads, case.setting("model.ff_dim", 0)) >= NECK * width


def _ratio(record: Record) -> list[tuple[Any, float]]:
    curve = record.signal("body_head_gradient_ratio")
    found = first(curve)
    return [] if curve is None or found is None else [(curve, found)]


def _remedies(case: Case) -> tuple[Remedy, ...]:
    if case.setting("model.kind") != "transformer":
        return ()
    width = case.setting("model.d_model")
    wide = width if isinstance(width, int) else case.facts.channels
    edit: dict[str, Any] = {
        "model.d_model": max(WIDTH, 4 * wide),
        "model.head_dim": max(16, 4 * case.setting("model.head_dim")),
        "model.ff_dim": max(2 * WIDTH, 4 * case.setting("model.ff_dim")),
        "model.n_layers": max(LAYERS, case.setting("model.n_layers")),
    }
    if case.setting("model.embedding") == "identity":
        edit["model.embedding"] = "linear"
    return (
        Remedy(
            set=edit,
            expects="one_batch_loss_share falls below 0.05, validation_loss falls",
            safety="many times the parameters and time, and it may overfit: watch both losses",
            source="measured: recorded plant, loss .57 -> .24",
        ),
    )


RULE = Rule(
    cause="under-capacity",
    page=__doc__,
    check=check,
    needs={"one_batch_loss_share": ""},
)
