"""The gradient fades from block to block, so the first ones do not learn.

What it looks for: the gradient norm of the first block against that of the last, over the later
half of the run, with the loss of it spread over the blocks rather than at one place.

Why training stalls: where the skips carry little, every block multiplies the gradient by less than
one. The first blocks stay as they were drawn, and the last ones learn from what those mangle.

Told apart from: rank-collapse, where tokens have become equal by depth and a fading gradient is
what follows; detached-graph and frozen-parameters, where a gradient is missing or exactly zero;
feature-bottleneck, where all of the loss is at one layer.

Remedies: normalise before the layers with the skip at full strength; fewer blocks; in a model that
is normalised after its layers, a smaller share for what a layer adds.

Limits: Adam divides by the size of a gradient, so a steady gradient that is merely small still
moves weights. Early readings are left out: the fading often comes with the first fifty steps. A
model of one block cannot be judged.

References: Hochreiter 1991; He et al. 2016 (identity mappings); Xiong et al. 2020 (normalising
after the layers); Wang et al. 2022 (DeepNet: a scale of the skip by depth).
"""

from __future__ import annotations

from itertools import pairwise
from math import log
from typing import Any

from tsdiag.diagnostics.case import Case, Record, evidence
from tsdiag.diagnostics.findings import Answer, Clear, Finding, NotMeasured, Remedy, strength
from tsdiag.diagnostics.measures import known, middle
from tsdiag.diagnostics.rules.rule import Plan, Rule

# First over last block. Healthy traces: 0.9 to 2.5 (tests/traces), 5 with 12 blocks. Below the
# catalogue's 1e-3 there is no doubt; a run of 12 blocks stalled at 4e-3.
FADED, GONE = 0.01, 0.0001
# Share of the whole decay that one step between blocks may hold: more is a break, not a fading.
ONE_PLACE = 0.8
# Blocks normalised after their layers: 12 stalled here with the usual warmup, 2 did not.
DEEP = 12


def block_norms(record: Record) -> list[float]:
    """Return the usual gradient norm of each block, over the later half of the run."""
    blocks = record.places("block_gradient_norm")
    return known(middle(block, block.steps[-1] / 2) for block in blocks)


def decay(record: Record) -> float | None:
    """Return the first block's gradient norm over the last one's."""
    norms = block_norms(record)
    return norms[0] / norms[-1] if len(norms) > 1 and all(norm > 0 for norm in norms) else None


def check(case: Case) -> Answer:
    """Compare the ends of the stack, and see that the loss is not all at one place."""
    blocks = case.record.places("block_gradient_norm")
    if len(blocks) < 2:
        return NotMeasured(why="one block: there is no depth for a gradient to fade over")
    observed, limit = decay(case.record), case.lower(decay, FADED)
    if observed is None or observed >= limit or _breaks(block_norms(case.record)):
        return Clear()
    norms = block_norms(case.record)
    return Finding(
        cause="vanishing-gradients",
        score=strength(observed, limit, GONE),
        summary=f"of the gradient at the last of {len(blocks)} blocks, {observed:.1e} reaches the "
        "first: the first blocks hardly learn",
        evidence=(
            evidence(blocks[0], norms[0], limit * norms[-1]),
            evidence(blocks[-1], norms[-1]),
        ),
        remedies=_remedies(case, len(blocks)),
    )


def warn(plan: Plan) -> str | None:
    """Say so where many blocks are normalised after their layers."""
    if plan.setting("model.norm") != "post" or plan.setting("model.n_layers", 0) < DEEP:
        return None
    return (
        f'model.norm = "post" with model.n_layers = {plan.setting("model.n_layers")}: gradients '
        'often fade in so deep a stack; "pre" keeps them'
    )


def _breaks(norms: list[float]) -> bool:
    steps = [log(later / earlier) for earlier, later in pairwise(norms)]
    return len(steps) > 1 and max(steps) > ONE_PLACE * sum(steps)


def _remedies(case: Case, blocks: int) -> tuple[Remedy, ...]:
    scale = float(case.setting("model.residual_scale", 1.0))
    upright: dict[str, Any] = {"model.norm": "pre", "model.residual_scale": min(1.0, scale)}
    fewer = max(2, blocks // 6)
    scaled = round((2 * blocks) ** -0.25, 3)
    expects = "block_gradient_norm of the first block rises to that of the last"
    some = [
        Remedy(
            set={path: new for path, new in upright.items() if case.setting(path) != new},
            expects=expects,
            safety="the stream is no longer normalised between blocks, and grows with depth",
            source="Xiong et al. 2020",
        ),
        Remedy(
            set={"model.n_layers": fewer} if fewer < blocks else {},
            expects=expects,
            safety="less depth",
            source="measured: tests/traces",
        ),
    ]
    if case.setting("model.norm") == "post" and scaled < scale:
        edit: dict[str, Any] = {"model.residual_scale": scaled}
        source = "Wang et al. 2022, alpha of an encoder"
        some.append(Remedy(set=edit, expects=expects, safety="slower start", source=source))
    return tuple(r for r in some if r.set and r.set.keys() <= case.record.config.keys())


RULE = Rule(
    cause="vanishing-gradients",
    page=__doc__,
    check=check,
    needs={"block_gradient_norm": "no blocks with gradients in this model"},
    warn=warn,
)
