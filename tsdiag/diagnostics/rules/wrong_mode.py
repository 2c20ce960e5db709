"""The model is evaluated in training mode: two passes over the same windows give two answers.

What it looks for: the outputs of an evaluation differ when it is done again with the same weights.

Why training stalls: it may not; what is reported does. With dropout on, the validation loss is that
of a thinned model, and with batch statistics every window's forecast depends on its neighbours; so
the best weights are chosen by noise, and patience or a pruner ends runs that were still learning.
The reverse, training in evaluation mode, switches the regularisation off that was asked for.

Told apart from: dropout-too-strong, where the passes agree and training with dropout is what costs;
batch-mixing, where they agree and other windows of the batch change a forecast.

Remedies: none by configuration, since tsdiag's own loop sets the mode of every pass. In a loop of
your own call model.eval() and torch.no_grad() before evaluating, and model.train() after. Look for
functional.dropout without training=self.training, and for a model kept in two places.

Limits: a model that draws random numbers on purpose (a variational one, sampled forecasts) differs
as well. On a GPU, sums in another order differ by about 1e-7. Training in evaluation mode shows in
no signal.

References: Srivastava et al. 2014, section 4 (dropout: thinned networks in training, one in test);
Ioffe and Szegedy 2015, section 3.1 (population statistics at inference).
"""

from __future__ import annotations

from tsdiag.diagnostics.case import Case, evidence
from tsdiag.diagnostics.findings import Answer, Clear, Finding, strength
from tsdiag.diagnostics.measures import greatest
from tsdiag.diagnostics.rules.rule import Rule

# Relative change of the output. Float32 rounds at 6e-8 and sums in another order at some 1e-7;
# dropout of .1 changes outputs by some tenths.
REPEATABLE, RANDOM = 1e-6, 1e-2


def check(case: Case) -> Answer:
    """Compare two passes over the same windows."""
    effect = case.record.signal("evaluation_repeat_effect")
    observed = greatest(effect)
    if effect is None or observed is None or observed <= REPEATABLE:
        return Clear()
    return Finding(
        cause="wrong-mode",
        score=strength(observed, REPEATABLE, RANDOM),
        summary=f"two evaluations with the same weights differ by {observed:.1e} of the outputs' "
        "spread: dropout or batch statistics are on",
        evidence=(evidence(effect, observed, REPEATABLE),),
    )


RULE = Rule(
    cause="wrong-mode",
    page=__doc__,
    check=check,
    needs={"evaluation_repeat_effect": "tsdiag's own loop sets the mode of every pass"},
)
