"""Nothing that was measured knows more about the target than a naive floor does.

What it looks for: ridge on whole windows explains no more of the target than of the same target
shuffled in blocks, and neither a learned floor nor the baseline is surely better than a naive one.

Why training stalls: there is nothing to find. The best forecast is the naive one, and whatever a
model learns beyond it is noise of the train span.

Told apart from: every cause that lies with the model, because no model is better;
misaligned-target, where the same columns do explain the target some rows away; overfitting, where
something else does better on the same windows.

Remedies: none by configuration. Other columns, a longer horizon, or another target; the smallest
skill that would have been detected says what is ruled out, and what is not.

Limits: never "no signal", but none above that skill, for a linear model. What only a nonlinear
model can see shows in the baseline, if it was given the time. One data set in twenty without any
signal is not called so.

References: Fisher 1935 (permutation tests); Künsch 1989 (blocks); Ojala and Garriga 2010 (shuffled
targets as a test of a model); Makridakis et al. 2018 (naive forecasts are hard to beat).
"""

from __future__ import annotations

from tsdiag.diagnostics.audit import Permutation
from tsdiag.diagnostics.case import Case
from tsdiag.diagnostics.findings import Answer, Clear, Evidence, Finding, NotMeasured, strength
from tsdiag.diagnostics.rules.rule import Rule

# The customary error of the first kind, and a p that leaves no doubt. Series with a signal of a
# tenth of the variance have .05, the least that 19 shuffles can give.
CHANCE, PLAIN = 0.05, 0.5
# A signal that could have been missed; the audit gives no answer where half of all could be.
VAGUE, SHARP = 0.5, 0.1


def check(case: Case) -> Answer:
    """Ask whether anything is better than naive, then whether shuffling costs anything."""
    permutation = case.audit.permutation
    # Set only where a learned floor or the baseline surely beats the naive ones.
    if case.standing.scores.attained is not None:
        return Clear()
    if permutation is None:
        return NotMeasured(why=case.audit.why_not("permutation"))
    if permutation.p <= CHANCE:
        return Clear()
    return Finding(
        cause="no-signal",
        score=min(
            strength(permutation.p, CHANCE, PLAIN),
            strength(permutation.detectable, VAGUE, SHARP),
        ),
        summary=f"ridge has a skill of {permutation.skill:.3f}, and of up to "
        f"{max(permutation.shuffled):.3f} on shuffled targets: no signal above "
        f"{permutation.detectable:.3f}",
        evidence=_evidence(permutation),
    )


def _evidence(found: Permutation) -> tuple[Evidence, ...]:
    shuffles = f"share of {len(found.shuffled)} shuffles that reach the skill"
    return (
        Evidence(
            signal="skill of ridge",
            observed=found.skill,
            reference=found.detectable,
            unit="skill",
        ),
        Evidence(signal=shuffles, observed=found.p, reference=CHANCE, unit="share"),
    )


RULE = Rule(cause="no-signal", page=__doc__, check=check)
