"""Gradients grow beyond all bounds, over the steps or from block to block.

What it looks for: without clipping, a gradient norm far above what the same run had until then, or
an infinite one; and, with or without it, a first block whose gradient is many times the last one's.

Why training stalls: a step along such a gradient throws the weights far away. The next gradient is
larger still, until nothing is a number, or the weights stay where nothing is left to be learned.

Told apart from: learning-rate-too-high, where steps are too long for a gradient of usual size and
a limit on the gradient does not help; poor-initialization, where the gradient is huge at the first
step and falls.

Remedies: clip the gradient (SGD that was at an end after 28 steps learned with it, at the same
rate); a tenth of the rate with a warmup; the skip at full strength, normalising before the layers.

Limits: a growing stream is no sign of it: with normalisation before the layers one grew from 1 to
360 over 12 blocks and learned. Below a limit on the norm a large gradient is harmless, so growth
is not judged where clipping is on. A gradient that is not a number may come from the data.

References: Pascanu et al. 2013 (clipping); Philipp et al. 2018 (growth from block to block); Zhang
et al. 2020 (why clipping helps).
"""

from __future__ import annotations

from math import isnan
from statistics import median
from typing import Any

from tsdiag.diagnostics.case import Case, Measure, Record, evidence
from tsdiag.diagnostics.findings import Answer, Clear, Finding, Remedy, strength
from tsdiag.diagnostics.measures import known, middle
from tsdiag.diagnostics.rules.rule import Plan, Rule

# Of the largest norm over the usual one before it: healthy traces have 1 to 3 (tests/traces);
# likewise 0.9 to 5 of the first block over the last. The catalogue's limit for both.
GROWN, BOUNDLESS = 70.0, 10_000.0
USUAL_CLIP = 1.0
LARGEST_FLOAT = 3.4e38  # stands for infinity


def growth(record: Record) -> float | None:
    """Return the largest gradient norm over the median of those before it; None where clipped."""
    signal = record.signal("gradient_norm")
    if signal is None or record.setting("optimizer.clip_norm", 0.0) > 0:
        return None
    norms = [min(float(v), LARGEST_FLOAT) for v in signal.values if not isnan(v)]
    before = norms[: norms.index(max(norms))] if norms else []
    usual = median(before) if before else 0.0
    return max(norms) / usual if usual > 0 else None


def backward_growth(record: Record) -> float | None:
    """Return the usual gradient norm of the first block over that of the last."""
    norms = known(middle(block) for block in record.places("block_gradient_norm"))
    return norms[0] / norms[-1] if len(norms) > 1 and norms[-1] > 0 else None


SIGNS: tuple[tuple[Measure, str, str], ...] = (
    (growth, "gradient_norm", "unclipped, the gradient grew to {:.1e} times its usual norm"),
    (
        backward_growth,
        "block_gradient_norm",
        "the first block's gradient is {:.0f} times the last's",
    ),
)


def check(case: Case) -> Answer:
    """Look for growth over the steps and for growth through the blocks."""
    scores, words, shown = [], [], []
    for measure, name, told in SIGNS:
        observed, limit = measure(case.record), case.upper(measure, GROWN)
        if observed is None or observed <= limit:
            continue
        number = evidence(case.record.places(name)[0], observed, limit)
        shown.append(number.model_copy(update={"unit": "ratio"}))
        scores.append(strength(observed, limit, BOUNDLESS))
        words.append(told.format(observed))
    if not scores:
        return Clear()
    return Finding(
        cause="exploding-gradients",
        score=max(scores),
        summary=" and ".join(words),
        evidence=tuple(shown),
        remedies=_remedies(case),
    )


def warn(plan: Plan) -> str | None:
    """Say so where nothing holds back a step."""
    if plan.setting("optimizer.name") != "sgd" or plan.setting("optimizer.clip_norm") != 0:
        return None
    return 'optimizer.name = "sgd" with optimizer.clip_norm = 0: one large gradient ends the run'


def _remedies(case: Case) -> tuple[Remedy, ...]:
    rate = case.setting("optimizer.lr", 0.0)
    slower = {
        "optimizer.lr": float(f"{rate / 10:.2g}"),
        "optimizer.warmup_fraction": max(0.1, case.setting("optimizer.warmup_fraction", 0.0)),
    }
    clip = float(case.setting("optimizer.clip_norm", 0.0))
    held = {"optimizer.clip_norm": USUAL_CLIP} if clip == 0 or clip > USUAL_CLIP else {}
    scale = float(case.setting("model.residual_scale", 1.0))
    upright = {"model.norm": "pre", "model.residual_scale": min(1.0, scale)}
    edits: tuple[tuple[dict[str, Any], str, str], ...] = (
        (held, "none for usual gradients", "Pascanu et al. 2013"),
        (slower if rate > 0 else {}, "needs more steps", "Pascanu et al. 2013"),
        (upright, "a new scale", "Xiong et al. 2020"),
    )
    some = (
        Remedy(
            set={path: new for path, new in edit.items() if case.setting(path) != new},
            expects="gradient_norm stays within ten times its first values",
            safety=cost,
            source=source,
        )
        for edit, cost, source in edits
    )
    return tuple(r for r in some if r.set and r.set.keys() <= case.record.config.keys())


RULE = Rule(
    cause="exploding-gradients",
    page=__doc__,
    check=check,
    needs={"gradient_norm": ""},
    warn=warn,
    explains=("attention-entropy-collapse", "dead-activations"),
)
