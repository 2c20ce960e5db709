"""The graph is cut: the parts before the cut work on every window and no gradient reaches them.

What it looks for: tensors that ask for a gradient and never get one while others do, in modules
that take part: no gradient reaches the inputs either, or the modules were seen at work.

Why training stalls: what lies before a detach(), a .data, a no_grad block or a detour over numpy
stays as it was drawn. Cut behind the embedding, a patch transformer ended at a loss of .63 where
it otherwise reaches .19 (the mean: .57).

Told apart from: frozen-parameters, where tensors do not ask; parameters-not-in-optimizer, where
gradients arrive; vanishing-gradients, where they are small; a registered module that nothing uses,
which is harmless and does not keep gradients from the inputs; blind-time-steps, where some rows
alone get none.

Remedies: none by configuration, since tsdiag's own models have no cut. In a model of your own, look
behind the last of the modules named here for detach(), .data, .item(), torch.tensor(x), .numpy(),
torch.no_grad(), an argmax or a rounding.

Limits: where only a branch is cut, gradients reach the inputs by the others; then a module counts
that was seen at work. One that works for an output that no loss reads looks the same.

References: PyTorch documentation, "Autograd mechanics" (no_grad, detach); the losses above:
healthy-last of tests/traces, edited in its forward pass.
"""

from __future__ import annotations

from tsdiag.diagnostics.case import Case, Record, evidence
from tsdiag.diagnostics.findings import Answer, Clear, Evidence, Finding, NotMeasured, strength
from tsdiag.diagnostics.measures import last
from tsdiag.diagnostics.rules.rule import Rule
from tsdiag.diagnostics.tensors import Names, curves, ever, listed, measured, never, share, wholes

# Share of the model by its children: at the limit a single sub-layer of a block of two; healthy
# traces have 0 (tests/traces).
SOME, MOST = 0.03, 0.3
# Signals of modules that the data pass.
AT_WORK = ("contribution", "stream_rms", "attention_entropy", "readout_order")


def check(case: Case) -> Answer:
    """Tell a cut from a module that nobody uses, by the inputs or by the modules' own work."""
    record = case.record
    everything = measured(record, "has_gradient")
    silent = never(record, "has_gradient") & ever(record, "trainable")
    if not silent or not ever(record, "has_gradient"):
        return Clear()
    blind, effect = record.signal("blind_time_share"), last(record.signal("time_shuffle_effect"))
    cut = last(blind) == 1 and effect != 0
    cause = silent if cut else _at_work(record, silent, everything)
    observed = share(cause, everything)
    if not cut and observed < SOME:
        if blind is None:
            return NotMeasured(why=f"{len(silent)} tensors get no gradient; are they used at all?")
        return Clear()
    paths = wholes(cause, everything)
    return Finding(
        cause="detached-graph",
        # without a gradient at the inputs the cut is a fact; else the module may be a by-way
        score=1.0 if cut else 0.9 * strength(observed, SOME, MOST),
        summary=f"{len(cause)} of {len(everything)} tensors ask for a gradient and never get one: "
        f"the graph is cut behind {listed(paths)}",
        evidence=(
            Evidence(
                signal="share of the model that no gradient reaches",
                observed=observed,
                reference=SOME,
            ),
            *([evidence(blind, 1.0, 1.0)] if cut and blind is not None else []),
            *(evidence(c, 0.0, 1.0) for c in curves(record, "has_gradient", cause, paths)),
        ),
    )


def _at_work(record: Record, silent: Names, everything: Names) -> Names:
    """Return the tensors of wholly silent modules that the data were seen to pass."""
    seen = {signal.where.split("[")[0] for name in AT_WORK for signal in record.places(name)}
    busy = [path for path in wholes(silent, everything) if any(_within(at, path) for at in seen)]
    return frozenset(name for name in silent if any(_within(name, path) for path in busy))


def _within(name: str, path: str) -> bool:
    return name == path or name.startswith(f"{path}.")


RULE = Rule(
    cause="detached-graph",
    page=__doc__,
    check=check,
    needs={"has_gradient": "", "trainable": ""},
    explains=("blind-time-steps", "vanishing-gradients"),
)
