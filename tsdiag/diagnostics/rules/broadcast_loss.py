"""The loss compares every forecast with every target: the best answer to that is their mean.

What it looks for: outputs and targets that reach the loss in different shapes, such as (batch,) and
(batch, 1), and forecasts that hardly vary.

Why training stalls: of two such shapes broadcasting makes all pairs of the batch. The mean squared
difference over all pairs is least where every forecast is the mean of the targets, and it never
falls below their variance. A patch transformer trained on it for 400 steps ended with .7 % of the
targets' variance and a loss of .69, where it otherwise has 82 % and .19 (the mean: .57).

Told apart from: no-signal and order-blind, where forecasts shrink to the mean though the shapes
agree; misaligned-target, where each forecast has one target, the wrong one.

Remedies: none by configuration, since tsdiag's own loss compares tensors of one shape. In a loop of
your own squeeze the output's last axis, or give the target one more, and check
output.shape == target.shape before every loss.

Limits: shapes may differ and still pair the right values; so forecasts that vary as targets do are
called clear.

References: PyTorch documentation, "Broadcasting semantics", and the warning of
torch.nn.functional.mse_loss ("Using a target size that is different to the input size").
"""

from __future__ import annotations

from tsdiag.diagnostics.case import Case, evidence
from tsdiag.diagnostics.findings import Answer, Clear, Finding, strength
from tsdiag.diagnostics.measures import greatest, last
from tsdiag.diagnostics.rules.rule import Rule

# Variance of forecasts over that of targets: .007 on a broadcast loss; healthy traces .70 to .93.
FLAT, CONSTANT = 0.2, 0.02
# What different shapes alone are worth, where the forecasts were not measured.
BY_SHAPE = 0.8


def check(case: Case) -> Answer:
    """Look at the shapes, then at what came of them."""
    mismatch = case.record.signal("output_target_mismatch")
    if mismatch is None or greatest(mismatch) != 1:
        return Clear()
    variance = case.record.signal("prediction_variance_ratio")
    observed = last(variance)
    told, score = "", BY_SHAPE
    shown = [evidence(mismatch, 1.0)]
    if variance is not None and observed is not None:
        if observed > FLAT:
            return Clear()
        told = f", and forecasts have {100 * observed:.1f} % of the targets' variance"
        score = strength(observed, FLAT, CONSTANT)
        shown.append(evidence(variance, observed, FLAT))
    return Finding(
        cause="broadcast-loss",
        score=score,
        summary=f"outputs and targets reach the loss in different shapes{told}: it compares all "
        "pairs of a batch",
        evidence=tuple(shown),
    )


RULE = Rule(
    cause="broadcast-loss",
    page=__doc__,
    check=check,
    needs={"output_target_mismatch": "tsdiag's own loss compares tensors of one shape"},
)
