"""Parts of the model never train: they stay as they were drawn.

What it looks for: tensors that ask for no gradient at any step; or that the optimizer holds, that
get a gradient and that no step ever changed while others moved: a group with a rate of zero.

Why training stalls: what is frozen at random keeps its randomness, and the rest must make do with
what passes through it. With the embedding frozen a patch transformer ended at a loss of .63 where
it otherwise reaches .19 (the mean: .57); with the blocks alone frozen it reached .23.

Told apart from: parameters-not-in-optimizer, where tensors ask for a gradient and nobody uses it;
detached-graph, where they ask and none comes; learning-rate-too-low, where all steps are short;
poor-initialization, where a gradient of exactly zero arrives. A module that nothing uses is
harmless: it may ask.

Remedies: an empty optimizer.frozen. In a loop of your own: requires_grad_(True) on what should
train, before the optimizer is made, and a rate above zero for each of its groups.

Limits: a frozen part may be meant, as with a pretrained encoder, and how much it costs is not told
by its size; so this is asked only where a run stalls. Tables of positions are left out: fixed they
do as well. A group's rate of zero is not looked for where the whole model hardly moves.

References: Saxe et al. 2011 (what random features can and cannot do); Vaswani et al. 2017, section
3.5 (fixed positions); the losses above: healthy-last of tests/traces, edited.
"""

from __future__ import annotations

from tsdiag.diagnostics.case import Case, Record, evidence
from tsdiag.diagnostics.findings import Answer, Clear, Evidence, Finding, Remedy, strength
from tsdiag.diagnostics.measures import greatest, middle
from tsdiag.diagnostics.rules.rule import Plan, Rule
from tsdiag.diagnostics.tensors import (
    Names,
    curves,
    ever,
    is_key_bias,
    is_position,
    listed,
    measured,
    never,
    share,
    wholes,
)

# Share of the model by its children. One of five is .2 and already stalls (above); every healthy
# trace has 0 (tests/traces).
LARGE, MOST = 0.1, 0.4
# A tensor with a gradient this close to the largest, in a model that moves this far per step,
# would show a change even in float32 (rounding: 6e-8).
NOTABLE, MOVING = 1e-2, 1e-5


def check(case: Case) -> Answer:
    """Weigh what was never trained, by one reason or the other."""
    record = case.record
    rate = record.signal("learning_rate")
    if rate is not None and greatest(rate) == 0:
        return Finding(
            cause="frozen-parameters",
            score=1.0,
            summary="the learning rate was 0 at every step: nothing trains",
            evidence=(evidence(rate, 0.0),),
        )
    everything = measured(record, "trainable")
    frozen = frozenset(name for name in never(record, "trainable") if not is_position(name))
    still = frozen | _resting(record)
    observed = share(still, everything)
    if observed < LARGE:
        return Clear()
    # A key bias rests by algebra, and must not break a whole part up into its other tensors.
    paths = wholes(still, [name for name in everything if not is_key_bias(name)])
    why = "they ask for no gradient" if frozen else "no step changes them"
    flag = "trainable" if frozen else "changed"
    return Finding(
        cause="frozen-parameters",
        score=strength(observed, LARGE, MOST),
        summary=f"{len(still)} of {len(everything)} tensors never train ({why}): {listed(paths)}",
        evidence=(
            Evidence(
                signal="share of the model that never trains", observed=observed, reference=LARGE
            ),
            *(evidence(curve, 0.0, 1.0) for curve in curves(record, flag, still, paths)),
        ),
        remedies=_remedies(case) if frozen else (),
    )


def warn(plan: Plan) -> str | None:
    """Say what will stay as it was drawn."""
    patterns = plan.setting("optimizer.frozen")
    if not patterns:
        return None
    return f"optimizer.frozen = {list(patterns)}: these parts stay as they are drawn"


def _resting(record: Record) -> Names:
    """Return tensors that get a gradient and are owned, yet never changed while others moved."""
    pace = middle(record.signal("global_update_ratio"))
    if pace is None or pace < MOVING:
        return frozenset()
    norms = {s.where: greatest(s) or 0.0 for s in record.places("tensor_gradient_norm")}
    limit = NOTABLE * max(norms.values(), default=0.0)
    pushed = {name for name, norm in norms.items() if norm > limit}
    return never(record, "changed") & ever(record, "owned") & pushed


def _remedies(case: Case) -> tuple[Remedy, ...]:
    if not case.setting("optimizer.frozen"):
        return ()
    return (
        Remedy(
            set={"optimizer.frozen": []},
            expects="changed rises to 1 at every tensor, validation_loss falls",
            safety="more to train: a step takes longer and needs memory for gradients",
            source="measured: .63 with a frozen embedding, .19 without",
        ),
    )


RULE = Rule(
    cause="frozen-parameters",
    page=__doc__,
    check=check,
    needs={"trainable": ""},
    warn=warn,
    explains=("under-capacity",),
)
