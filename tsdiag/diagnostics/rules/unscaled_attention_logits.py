"""Scores are too large from the first step: the 1/sqrt(head_dim) is missing, or turned round.

What it looks for: the deviation of the scores over the keys before any step, against one that a
softmax can still bend, with patterns that are already sharp and a scale above 1/sqrt(head_dim).

Why training stalls: heads begin with choices made by chance. In a saturated softmax the gradient
hardly says which other token would have been better, so the choices stay.

Told apart from: attention-entropy-collapse, where scores begin small and grow; poor-initialization,
where the scale is right and the weights are too large; attention-never-specializes, the reverse.

Remedies: the scale 1/sqrt(head_dim); queries and keys normalised.

Limits: a missing scale alone often does no harm here, because wide projections are drawn small:
scores of 1.7 to 2.3 nats at the start were still learned from. For a model that tsdiag did not
build the scale is unknown, and the scores alone decide.

References: Vaswani et al. 2017, section 3.2.1 and its footnote 4; Henry et al. 2020 (query-key
normalisation).
"""

from __future__ import annotations

from statistics import median
from typing import Any

from tsdiag.diagnostics.case import Case, Record, evidence
from tsdiag.diagnostics.findings import Answer, Clear, Evidence, Finding, Remedy, strength
from tsdiag.diagnostics.measures import first, known
from tsdiag.diagnostics.rules.rule import Plan, Rule

# Deviation of logits at step 0 [nats]: healthy traces 0.05 to 1.1 (tests/traces), learned from up
# to 2.3; unit queries and keys of head_dim 16 to 256 give sqrt(head_dim) = 4 to 16 without a scale.
STEEP, CERTAIN = 3.0, 12.0
SHARP = 0.5  # entropy at step 0: healthy traces 0.8 to 1
ABOVE = 2.0  # scale over 1/sqrt(head_dim): less is a choice of temperature


def first_scale(record: Record) -> float | None:
    """Return the usual head's deviation of logits before the first step."""
    heads = record.places("logit_scale")
    found = known(first(head) for head in heads if head.steps[0] == 0)
    return median(found) if found else None


def check(case: Case) -> Answer:
    """Look at the scores before anything was learned."""
    record, limit = case.record, case.upper(first_scale, STEEP)
    observed, heads = first_scale(record), record.places("attention_entropy")
    entropy = median(known(first(head) for head in heads) or [1.0])
    if observed is None or observed <= limit or entropy >= SHARP or _is_scaled(case):
        return Clear()
    return Finding(
        cause="unscaled-attention-logits",
        score=strength(observed, limit, CERTAIN),
        summary=f"before the first step scores already deviate by {observed:.2g} nats and patterns "
        f"are sharp (entropy {entropy:.2g})",
        evidence=(
            _at_start(record, "logit_scale", observed, limit),
            _at_start(record, "attention_entropy", entropy, SHARP),
        ),
        remedies=_remedies(case),
    )


def warn(plan: Plan) -> str | None:
    """Say so where scores are scaled up."""
    scale, width = plan.setting("model.attention_scale"), plan.setting("model.head_dim")
    if scale is None or not width or scale <= ABOVE * width**-0.5:
        return None
    return (
        f"model.attention_scale = {scale:g} is {scale * width**0.5:.0f} times 1/sqrt(head_dim): "
        "patterns may start one-hot"
    )


def _is_scaled(case: Case) -> bool:
    """Tell whether the scale is known and at most a choice of temperature."""
    if "model.attention_scale" not in case.record.config:
        return False
    scale, width = case.setting("model.attention_scale"), case.setting("model.head_dim", 1)
    return scale is None or scale <= ABOVE * width**-0.5


def _at_start(record: Record, name: str, observed: float, limit: float) -> Evidence:
    shown = evidence(record.places(name)[0], observed, limit)
    return shown.model_copy(update={"steps": (0, 0)})


def _remedies(case: Case) -> tuple[Remedy, ...]:
    plain: dict[str, Any] = {"model.attention_scale": None}
    normed = {} if case.setting("model.qk_norm") else {"model.qk_norm": True, **plain}
    expects = "logit_scale at step 0 falls to about 1 nat, validation_loss falls"
    edits = (
        (plain, "none", "Vaswani et al. 2017, section 3.2.1"),
        (normed, "a little slower", "Henry et al. 2020"),
    )
    some = (Remedy(set=e, expects=expects, safety=cost, source=why) for e, cost, why in edits)
    return tuple(r for r in some if r.set and r.set.keys() <= case.record.config.keys())


RULE = Rule(
    cause="unscaled-attention-logits",
    page=__doc__,
    check=check,
    needs={
        "logit_scale": "no attention between at least two tokens in this model",
        "attention_entropy": "no attention between at least two tokens in this model",
    },
    warn=warn,
    explains=("attention-entropy-collapse",),
)
