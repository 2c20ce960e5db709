"""A norm leaves nothing: it spans a single number, or what it made equal is averaged away.

What it looks for: before the first step, every sub-layer adds exactly nothing to a stream that is
not zero itself, or the gradient of the body is ten thousand times smaller than the head's.

Why training stalls: a LayerNorm over one number gives 0 whatever comes in, and over two a sign. A
mean over the same axis as a fresh norm before it is 0 for every window. The head then sees a
constant, and what lies before it gets no gradient until the norm's gains have drifted apart.

Told apart from: learning-rate-too-low, where the first gradients are small all over;
poor-initialization, where weights or the stream itself are 0; vanishing-gradients, which fade over
many blocks; frozen-parameters, which have no gradient at all.

Remedies: a wider stream, with an embedding that projects; no final norm before a mean over
channels, or flatten instead of that mean.

Limits: an adaptive optimizer takes a step of full length from any gradient, so the second kind
heals after one step of Adam and shows at step 0 alone; it then costs time, not all of the skill (a
loss of .40 instead of .20). With SGD it stays.

References: Ba et al. 2016 (LayerNorm); measured: a mean over channels behind a fresh norm has a
ratio of 3e-7, and with SGD a loss of .70 instead of .16; a stream of one number .70 instead of .19.
"""

from __future__ import annotations

from typing import Any

from tsdiag.diagnostics.case import Case, Record, evidence
from tsdiag.diagnostics.findings import (
    Answer,
    Clear,
    Evidence,
    Finding,
    NotMeasured,
    Remedy,
    strength,
)
from tsdiag.diagnostics.measures import first, known
from tsdiag.diagnostics.rules.rule import Plan, Rule

# Gradient of the body over that of the head at step 0: 0.4 to 15 in healthy runs (tests/traces),
# 3e-7 behind a mean of normalised channels. Catalogue's limit; beyond 1e-6 it is all rounding.
STARVED, ROUNDING = 1e-4, 1e-6
# A norm over so few numbers keeps a sign at most.
SIGNS_ONLY = 2
WIDTH = 64


def check(case: Case) -> Answer:
    """Look at the first step only; a zero that has another reason is none of this cause's."""
    ratio = case.record.signal("body_head_gradient_ratio")
    if ratio is None or ratio.steps[0] > 0:
        return NotMeasured(why="gradients were not measured at step 0, and only there it shows")
    if _is_zero_anyway(case.record):
        return Clear()
    added = case.record.places("contribution")
    largest = max(known(first(one) for one in added), default=None)
    if largest == 0:
        shown = tuple(evidence(one, 0.0, 0.0) for one in added)
        return _finding(case, 1.0, "every sub-layer adds exactly nothing to the stream", shown)
    observed = first(ratio)
    if observed is None or observed >= STARVED:
        return Clear()
    return _finding(
        case,
        strength(max(observed, ROUNDING / 100), STARVED, ROUNDING),
        f"at step 0 the body's gradient is {observed:.0e} of the head's: a norm leaves it none",
        (evidence(ratio, observed, STARVED),),
    )


def warn(plan: Plan) -> str | None:
    """Say so where a norm can only give a constant."""
    width = _width(plan)
    if isinstance(width, int) and width <= SIGNS_ONLY:
        return f"the stream has {width} numbers a token: a LayerNorm leaves a sign of them at most"
    if plan.setting("model.pooling") == "mean_channels" and plan.setting("model.final_norm"):
        return (
            'model.final_norm = true before model.pooling = "mean_channels": the mean of what a '
            "fresh norm gives is exactly 0"
        )
    return None


def _is_zero_anyway(record: Record) -> bool:
    """Tell whether weights, a residual scale or the stream itself begin at 0."""
    if record.setting("model.residual_scale") == 0:
        return True
    streams = [s for s in record.places("stream_rms") if s.where not in record.blocks]
    if 0.0 in known(first(entering) for entering in streams):
        return True
    matrices = (s for s in record.places("weight_norm") if s.where.endswith(".weight"))
    return 0.0 in known(first(matrix) for matrix in matrices)


def _finding(case: Case, score: float, summary: str, shown: tuple[Evidence, ...]) -> Finding:
    return Finding(
        cause="degenerate-normalization",
        score=score,
        summary=summary,
        evidence=shown,
        remedies=_remedies(case),
    )


def _remedies(case: Case) -> tuple[Remedy, ...]:
    width = _width(case)
    if isinstance(width, int) and width <= SIGNS_ONLY:
        edit: dict[str, Any] = {"model.d_model": WIDTH}
        if case.setting("model.embedding") == "identity":
            edit["model.embedding"] = "linear"
        safety = "more parameters; the best rate may be another"
        return (_remedy(edit, safety, "measured: a width of 32 instead of 1, loss .70 -> .19"),)
    if case.setting("model.pooling") != "mean_channels" or not case.setting("model.final_norm"):
        return ()
    bare = {"model.final_norm": False}
    flat = {"model.pooling": "flatten"}
    source = "measured: recorded plant, loss .70 -> .16"
    return (
        _remedy(bare, "the head then sees streams of any size; warmup helps", source),
        _remedy(flat, "the head grows with the window, and may overfit", "the founding question"),
    )


def _remedy(edit: dict[str, Any], safety: str, source: str) -> Remedy:
    expects = "body_head_gradient_ratio at step 0 rises above 1e-2"
    return Remedy(set=edit, expects=expects, safety=safety, source=source)


def _width(of: Case | Plan) -> Any:
    width = of.setting("model.d_model")
    return of.facts.channels if width == "channels" else width


RULE = Rule(
    cause="degenerate-normalization",
    page=__doc__,
    check=check,
    needs={"body_head_gradient_ratio": ""},
    warn=warn,
    # A stream that no norm lets through looks narrow, small and averaged away.
    explains=("feature-bottleneck", "under-capacity", "pooling-discards-channels"),
)
