"""Windows of one batch influence each other's outputs: an axis is in the wrong place.

What it looks for: a window's output changes when the other windows of its batch are replaced, or
has a gradient on their rows, by more than rounding.

Why training stalls: attention, a norm or a reshape that runs over the batch mixes unrelated
windows. The model fits what came together by chance, and another batch gives other outputs.

Told apart from: order-blind, where rows inside a window are mixed; wrong-mode, where a batch norm
left in training mode mixes batches: this is measured in evaluation mode, so a batch norm shows here
only if it is never switched.

Remedies: none by configuration, because the models of this package keep windows apart. In your own:
check batch_first in attention and recurrent layers, and every reshape, transpose and squeeze.

Limits: measured on the best weights and 64 windows. Where attention hardly matters, so does mixing:
harmless swaps exist.

References: PyTorch's documentation of MultiheadAttention and LSTM (batch_first is off by default);
Wu and Johnson 2021 (batch norm's pitfalls).
"""

from __future__ import annotations

from tsdiag.diagnostics.case import Case, evidence
from tsdiag.diagnostics.findings import Answer, Clear, Finding, strength
from tsdiag.diagnostics.measures import greatest
from tsdiag.diagnostics.rules.rule import Rule

# Relative change, or share of the gradient's norm: exactly 0 in all our traces, and float32
# rounding of other kernels makes about 1e-7.
MIXES, PLAIN = 1e-5, 1e-2
SIGNALS = ("batch_influence", "batch_gradient_share")


def check(case: Case) -> Answer:
    """Take whichever of the two measurements shows it more clearly."""
    curves = [curve for name in SIGNALS for curve in case.record.places(name)]
    shown = [(greatest(curve) or 0.0, curve) for curve in curves]
    beyond = [(observed, curve) for observed, curve in shown if observed > MIXES]
    if not beyond:
        return Clear()
    largest, curve = max(beyond, key=lambda pair: pair[0])
    told = {
        "batch_influence": f"replacing a batch's other windows moves an output by {largest:.1e} of "
        "the spread",
        "batch_gradient_share": f"{100 * largest:.2g} % of an output's gradient is on other windows"
        " of its batch",
    }
    return Finding(
        cause="batch-mixing",
        score=strength(largest, MIXES, PLAIN),
        summary=told[curve.name],
        evidence=tuple(evidence(one, observed, MIXES) for observed, one in beyond),
    )


RULE = Rule(
    cause="batch-mixing",
    page=__doc__,
    check=check,
    needs={"batch_gradient_share": "no gradient of the output with respect to the window"},
)
