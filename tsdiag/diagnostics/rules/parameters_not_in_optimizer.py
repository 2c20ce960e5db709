"""The optimizer does not hold parts of the model: they get gradients that nobody uses.

What it looks for: tensors that a gradient reaches, that the optimizer does not hold, and that no
step has changed.

Why training stalls: they stay as they were drawn, like frozen ones, and every gradient for them is
computed in vain. With the embedding left out a patch transformer ended at a loss of .62 where it
otherwise reaches .19 (the mean: .57).

Told apart from: frozen-parameters, where tensors ask for no gradient, or where the optimizer holds
them at a rate of zero; detached-graph, where no gradient arrives.

Remedies: none by configuration, since tsdiag's own loop hands every trained parameter over. In a
loop of your own, make the optimizer last: after every layer exists (lazy layers, a new head, a list
that is no ModuleList), after weights were replaced, and from the model that is trained, with
model.parameters().

Limits: tensors that a second optimizer changes are not counted, because they change. Which parts
matter is not told by their size: with the blocks left out the same model reached .23.

References: PyTorch documentation, torch.optim, "Constructing it" (parameters must be those of the
model as it is trained); the losses above: healthy-last of tests/traces, edited in its loop.
"""

from __future__ import annotations

from tsdiag.diagnostics.case import Case, evidence
from tsdiag.diagnostics.findings import Answer, Clear, Evidence, Finding, strength
from tsdiag.diagnostics.measures import last
from tsdiag.diagnostics.rules.rule import Rule
from tsdiag.diagnostics.tensors import curves, ever, listed, measured, never, share, wholes

# Share of the model by its children: unlike freezing, this is never meant, so the limit is low. A
# single vector of a block stays below it; every healthy trace has 0 (tests/traces).
SOME, MOST = 0.05, 0.3


def check(case: Case) -> Answer:
    """Weigh the tensors with gradients that nobody uses."""
    record = case.record
    everything = measured(record, "owned")
    lost = ever(record, "has_gradient") & never(record, "owned") & never(record, "changed")
    observed = share(lost, everything)
    if observed < SOME:
        return Clear()
    paths = wholes(lost, everything)
    wasted = curves(record, "tensor_gradient_norm", lost, paths)
    return Finding(
        cause="parameters-not-in-optimizer",
        score=strength(observed, SOME, MOST),
        summary=f"the optimizer does not hold {len(lost)} of {len(everything)} tensors that get "
        f"gradients: {listed(paths)}",
        evidence=(
            Evidence(
                signal="share of the model outside of the optimizer",
                observed=observed,
                reference=SOME,
            ),
            *(evidence(curve, last(curve) or 0.0) for curve in wasted),
            *(evidence(curve, 0.0, 1.0) for curve in curves(record, "owned", lost, paths)),
        ),
    )


RULE = Rule(
    cause="parameters-not-in-optimizer",
    page=__doc__,
    check=check,
    needs={"owned": "", "changed": "", "has_gradient": ""},
)
