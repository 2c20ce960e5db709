"""Block by block the tokens of a window become equal, until nothing tells them apart.

What it looks for: tokens behind the last block that point the same way, at least ten times closer
to each other than before the first block, under patterns that are near uniform.

Why training stalls: attention averages tokens, and only the skips keep what is particular to each.
Where the skips are weak, the differences shrink from block to block. The readout then sees one
token many times, and the gradient of queries and keys fades with the differences.

Told apart from: attention-never-specializes, where tokens differ and patterns do not; positions
that are too weak, or a series so slow that tokens are alike before the first block;
attention-entropy-collapse, where all queries pick one token and patterns are sharp.

Remedies: the skip at full strength with the normalisation before the layers; where it comes after
them, a smaller share for what a layer adds; fewer blocks.

Limits: a mean cosine hides single tokens that differ. Deep healthy stacks reach .93, and a large
common part of all tokens raises it without harm.

References: Dong et al. 2021 (rank collapse with depth); Noci et al. 2022 (it starves queries and
keys of gradient); Wang et al. 2022 (DeepNet: a scale of the skip by depth).
"""

from __future__ import annotations

from statistics import median
from typing import Any

from tsdiag.diagnostics.case import Case, Record, evidence
from tsdiag.diagnostics.findings import Answer, Clear, Finding, Remedy, strength
from tsdiag.diagnostics.measures import known, middle
from tsdiag.diagnostics.rules.rule import Plan, Rule

# 1 - mean cosine of tokens behind the last block, later half: healthy traces 0.07 to 0.8
# (tests/traces), stalled ones 0.007 and less. The catalogue's limit.
EQUAL, ONE = 0.01, 0.0001
BY_DEPTH = 0.1  # of the spread before the first block: less is left of it
NEAR_UNIFORM = 0.9  # entropy of the last block's heads; healthy traces 0.8 to 0.99
WEAK = 3.0  # contributions this many times as strong as set out leave little of the skip


def spread(record: Record) -> float | None:
    """Return 1 - the cosine of tokens behind the last block, over the later half of the run."""
    cosine = record.signal("token_cosine", record.blocks[-1]) if record.blocks else None
    found = None if cosine is None else middle(cosine, cosine.steps[-1] / 2)
    return None if found is None else max(0.0, 1 - found)


def check(case: Case) -> Answer:
    """Compare how far apart tokens are on both ends of the stack."""
    record, limit = case.record, case.lower(spread, EQUAL)
    observed, entering = spread(record), _entering(record)
    uniform = _last_entropy(record)
    if observed is None or uniform is None or observed >= limit or uniform < NEAR_UNIFORM:
        return Clear()
    if entering is not None and observed >= BY_DEPTH * entering:
        return Clear()  # they were as close before the first block
    cosine = record.signal("token_cosine", record.blocks[-1])
    assert cosine is not None
    return Finding(
        cause="rank-collapse",
        score=strength(observed, limit, ONE),
        summary=f"behind {len(record.blocks)} blocks the tokens of a window are equal (cosine "
        f"{1 - observed:.4f}" + (f", before them {1 - entering:.2f})" if entering else ")"),
        evidence=(
            evidence(cosine, 1 - observed, 1 - limit),
            evidence(record.places("attention_entropy")[-1], uniform, NEAR_UNIFORM),
        ),
        remedies=_remedies(case),
    )


def warn(plan: Plan) -> str | None:
    """Say so where normalising after strong layers leaves nothing of the skips."""
    scale = plan.setting("model.residual_scale", 1.0)
    if plan.setting("model.norm") != "post" or scale < WEAK:
        return None
    return (
        f'model.residual_scale = {scale:g} with model.norm = "post": skips hold little of the '
        "stream, and tokens become equal with depth"
    )


def _entering(record: Record) -> float | None:
    """Return 1 - the cosine of the tokens that enter the first block."""
    places = record.places("token_cosine")
    before = known(middle(place) for place in places if place.where not in record.blocks)
    return max(0.0, 1 - before[0]) if before else None


def _last_entropy(record: Record) -> float | None:
    block = f"{record.blocks[-1]}." if record.blocks else ""
    heads = [h for h in record.places("attention_entropy") if h.where.startswith(block)]
    found = known(middle(head, head.steps[-1] / 2) for head in heads)
    return median(found) if found else None


def _remedies(case: Case) -> tuple[Remedy, ...]:
    scale = float(case.setting("model.residual_scale", 1.0))
    upright: dict[str, Any] = {"model.norm": "pre", "model.residual_scale": min(1.0, scale)}
    post, blocks = case.setting("model.norm") == "post", len(case.record.blocks)
    fewer: dict[str, Any] = {"model.n_layers": max(1, blocks // 6)}
    softer: dict[str, Any] = {"model.residual_scale": min(scale, round((2 * blocks) ** -0.25, 3))}
    edits = (
        (upright, "the stream grows with depth", "Noci et al. 2022"),
        (softer if post else {}, "a slower start", "Wang et al. 2022 (DeepNet), alpha"),
        ({} if post else fewer, "less depth", "Dong et al. 2021"),
    )
    some = (
        Remedy(
            set={path: new for path, new in edit.items() if case.setting(path) != new},
            expects="token_cosine behind the last block falls below 0.95, validation_loss falls",
            safety=cost,
            source=source,
        )
        for edit, cost, source in edits
    )
    return tuple(r for r in some if r.set and r.set.keys() <= case.record.config.keys())


RULE = Rule(
    cause="rank-collapse",
    page=__doc__,
    check=check,
    needs={
        "token_cosine": "no stream of at least two tokens in this model",
        "block_gradient_norm": "no blocks with gradients in this model",
        "attention_entropy": "no attention between at least two tokens in this model",
    },
    warn=warn,
    explains=("vanishing-gradients",),
)
