"""The target is not of size 1, which is what a fresh model's outputs and its steps are made for.

What it looks for: a target that is not standardised, and whose size as trained on is far from 1.

Why training stalls: steps have a length that the rate fixes. Of a target in the thousands a model
with Adam covers a few units in a thousand steps; of one in thousandths its first outputs are far
beyond the target, and the noise of each step is as large.

Told apart from: poor-initialization, where outputs are far from a target of size 1;
learning-rate-too-low, where more rate helps, and of which a large target shows the signs.

Remedies: standardise the target.

Limits: an optimizer whose steps grow with the gradient (SGD) bears more than Adam, on which the
limits were measured.

References: Bishop 1995 (Neural Networks for Pattern Recognition, section 8.2); Kingma and Ba 2015,
section 2.1 (the step is bounded by the rate); measured on the macd series: deviations from .3 to 30
learn .64 to .91 of what is within reach, .1 and 100 stall.
"""

from __future__ import annotations

from math import hypot

from tsdiag.diagnostics.audit import TargetFacts
from tsdiag.diagnostics.case import Case, evidence
from tsdiag.diagnostics.findings import (
    Answer,
    Clear,
    Evidence,
    Finding,
    NotMeasured,
    Remedy,
    strength,
)
from tsdiag.diagnostics.measures import first
from tsdiag.diagnostics.rules.rule import Plan, Rule

# Root mean square of the target as trained on. See References for what was measured between them.
LARGE, HUGE = 50.0, 1000.0
# Standard deviation of the same.
SMALL, TINY = 0.2, 0.01


def check(case: Case) -> Answer:
    """Judge the size of the target as the model is trained on it."""
    target = case.audit.target
    if case.setting("data.scale_target") is True:
        return Clear()
    if target is None:
        return NotMeasured(why=case.audit.why_not("target"))
    size, spread = hypot(target.mean, target.standard_deviation), target.standard_deviation
    if size > LARGE:
        return _finding(case, target, size, LARGE, HUGE)
    if spread < SMALL:
        return _finding(case, target, spread, SMALL, TINY)
    return Clear()


def warn(plan: Plan) -> str | None:
    """Say so where the target keeps its unit."""
    if plan.setting("data.scale_target") is not False:
        return None
    return "data.scale_target = false: the target keeps its unit, and steps are made for size 1"


def _finding(case: Case, target: TargetFacts, size: float, limit: float, sure: float) -> Finding:
    shown = [Evidence(signal="size of the target", observed=size, reference=limit, unit="as given")]
    start = case.record.signal("validation_loss_ratio")
    found = first(start)
    if start is not None and found is not None:
        shown.append(evidence(start, found))
    return Finding(
        cause="unscaled-target",
        score=strength(size, limit, sure),
        summary=f"the target is not scaled: its mean is {target.mean:.3g} and its standard "
        f"deviation {target.standard_deviation:.3g}, where steps are made for 0 and 1",
        evidence=tuple(shown),
        remedies=(
            Remedy(
                set={"data.scale_target": True},
                expects="validation_loss_ratio begins near 1 and falls",
                safety="losses are then in units of the target's variance",
                source="Bishop 1995, section 8.2; measured on the macd series",
            ),
        ),
    )


RULE = Rule(
    cause="unscaled-target",
    page=__doc__,
    check=check,
    warn=warn,
    # With a target far from size 1 every rate is too low or too high, and every start is poor.
    explains=(
        "learning-rate-too-low",
        "learning-rate-too-high",
        "poor-initialization",
        "clipping-saturated",
        "bounded-output",
        "under-capacity",
    ),
)
