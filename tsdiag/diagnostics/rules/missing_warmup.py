"""Norms behind the skips and no warmup: the first steps are the longest and cut off early blocks.

What it looks for: a model with post-norm blocks whose first update is much longer than later ones,
and gradients that reached the first block when training began and no longer do after it.

Why training stalls: Adam's first directions have length one for every weight, however unsure the
gradient; with norms behind the skips the last blocks also get the largest gradients. They change
most, the stream before them drowns, and early blocks are left without a gradient.

Told apart from: vanishing-gradients, which depth brings about with any warmup;
learning-rate-too-high, where steps are too long in the middle of training as well.

Remedies: warmup over the first third of the steps, or norms before the sub-layers.

Limits: pre-norm models are not judged: without warmup those measured here learned all the same,
with a loss that first rose up to four times. Twelve blocks stayed cut off with any warmup.

References: Xiong et al. 2020 (gradients near the output of post-norm are large at the start);
Liu et al. 2020 (Admin); Popel and Bojar 2018.
"""

from __future__ import annotations

from math import isfinite

from tsdiag.diagnostics.case import Case, Record, evidence
from tsdiag.diagnostics.findings import Answer, Clear, Evidence, Finding, Remedy, strength
from tsdiag.diagnostics.measures import first, greatest, middle
from tsdiag.diagnostics.rules.rule import Plan, Rule

POST = ("post", "post_sublayer")
# Share of the steps; below it there is no warmup to speak of.
WARMUP = 0.02
EARLY = 0.1
# First update over the median of those behind the first tenth of the steps: 0.01 to 0.8 with
# warmup, 7 to 34 without.
FRONT = 3.0
# First block's gradient over the last's, smallest over that at step 0: healthy traces 0.5 to 0.9,
# six post-norm blocks with a long warmup 0.1, without warmup and stalled 0.002 to 0.03.
CUT, CUT_OFF = 0.08, 0.003
DEEP = 4


def cut(record: Record) -> float | None:
    """Return what was left, at least, of the first block's gradient against the last's."""
    if len(record.blocks) < 2:
        return None
    early = record.signal("block_gradient_norm", record.blocks[0])
    late = record.signal("block_gradient_norm", record.blocks[-1])
    if early is None or late is None:
        return None
    ends = dict(zip(late.steps.tolist(), late.values.tolist(), strict=True))
    pairs = zip(early.steps.tolist(), early.values.tolist(), strict=True)
    ratios = [norm / ends[step] for step, norm in pairs if ends.get(step, 0.0) > 0]
    parts = [ratio for ratio in ratios if isfinite(ratio)]
    return min(parts[1:]) / parts[0] if len(parts) > 1 and parts[0] > 0 else None


def check(case: Case) -> Answer:
    """Look for first steps that are the longest, and early blocks cut off since."""
    record = case.record
    if case.setting("model.norm") not in POST or _has_warmup(case.record):
        return Clear()
    updates = record.signal("global_update_ratio")
    left, opening = cut(record), first(updates)
    usual = middle(updates, EARLY * float(case.setting("training.max_steps", 0)))
    if left is None or updates is None or opening is None or not usual:
        return Clear()
    limit = case.lower(cut, CUT)
    if left >= limit or opening < FRONT * usual:
        return Clear()
    told = Evidence(
        signal="block_gradient_norm",
        where=record.blocks[0],
        observed=left,
        reference=limit,
        unit="share of the last block's, against step 0",
    )
    shown = [told, evidence(updates, opening, FRONT * usual)]
    loss = record.signal("fixed_batch_loss")
    top, start = greatest(loss), first(loss)
    if loss is not None and top is not None and start is not None and top > start:
        shown.append(evidence(loss, top, start))
    return Finding(
        cause="missing-warmup",
        score=strength(left, limit, CUT_OFF),
        summary=f"without warmup the first update was {opening / usual:.0f} times the usual, and "
        f"the first block's gradient fell to {left:.1g} of its share",
        evidence=tuple(shown),
        remedies=_remedies(),
    )


def warn(plan: Plan) -> str | None:
    """Say so where deep post-norm blocks begin at the full rate."""
    if plan.setting("model.norm") not in POST or int(plan.setting("model.n_layers", 0)) < DEEP:
        return None
    share = float(plan.setting("optimizer.warmup_fraction", 0.0))
    if share >= WARMUP:
        return None
    return (
        f'model.norm = "{plan.setting("model.norm")}" with optimizer.warmup_fraction = {share:g}: '
        "the first steps are the longest"
    )


def _has_warmup(record: Record) -> bool:
    return float(record.setting("optimizer.warmup_fraction", 0.0)) >= WARMUP


def _remedies() -> tuple[Remedy, ...]:
    return (
        Remedy(
            set={"optimizer.warmup_fraction": 0.3},
            expects="the first block keeps its share of block_gradient_norm",
            safety="costs a third of the steps; a tenth was not enough for six blocks",
            source="Xiong et al. 2020; measured: .69 without, .28 with (tests/traces)",
        ),
        Remedy(
            set={"model.norm": "pre", "optimizer.warmup_fraction": 0.1},
            expects="block_gradient_norm of all blocks within a factor of ten",
            safety="another model: its best rate may differ",
            source="Xiong et al. 2020",
        ),
    )


RULE = Rule(
    cause="missing-warmup",
    page=__doc__,
    check=check,
    needs={"block_gradient_norm": "no blocks in this model", "global_update_ratio": ""},
    warn=warn,
    explains=("rank-collapse", "vanishing-gradients"),
)
