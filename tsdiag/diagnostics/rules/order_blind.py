"""The model cannot tell in which order the rows came.

What it looks for: the output stays the same when the rows of each window are shuffled, although the
order matters to a linear model on the same windows. Where a token holds several rows: there are no
positions, the pool treats all tokens alike, and what a linear probe reads before it is lost behind.

Why training stalls: without positions every part of an encoder treats its tokens alike, and a mean
or an attention pool forgets the last trace of order. What remains are averages over the window,
and the loss settles at what they can explain.

Told apart from: pooling-discards-channels, whose pool keeps the tokens apart and averages inside
them; blind-time-steps, where some rows are never read at all; positions-swamped, where positions
exist and are too faint.

Remedies: positions, and best together with a readout that knows each token's place. Swapping the
axis of a pool without adding positions is how many models became order-blind.

Limits: measured on the best weights with 128 windows. A model whose outputs hardly vary is not
judged by shuffling. Rotary positions count as positions.

References: Vaswani et al. 2017, section 3.5 (an encoder without positions is permutation
equivariant); measured on the founding question: with a mean over time instead of channels, and no
positions, validation accuracy fell from .92 to .53. On the recorded plant (loss .69) sinusoids give
.44, flatten .19, both .16; a convolution before the blocks did not help (.72).
"""

from __future__ import annotations

from tsdiag.diagnostics.case import Case, Record, evidence
from tsdiag.diagnostics.findings import Answer, Clear, Evidence, Finding, Remedy, strength
from tsdiag.diagnostics.measures import last
from tsdiag.diagnostics.rules.rule import Plan, Rule
from tsdiag.diagnostics.waterfall import pool, trust

# Relative change of the output: float32 alone makes 3e-7; healthy runs have 1.3 to 1.5, and the
# least of the ill ones that know the order 0.35 (tests/traces).
BLIND = 1e-5
# What shuffling must cost ridge [skill] before order is known to matter in these data.
MATTERS = 0.02
SYMMETRIC_POOLS = ("mean_time", "attention")
# Share of the skill that is lost at such a pool: at most 0.14 in healthy runs, 1 without positions.
LOSES, ALL = 0.4, 0.95


def at_pool(record: Record) -> float | None:
    """Return the share of the skill that is lost at the pool."""
    around = pool(record)
    return around.lost if around else None


def check(case: Case) -> Answer:
    """Ask whether order is worth something, then whether the model knows it."""
    order = case.audit.order
    if order is not None and order.skill - order.shuffled_skill < MATTERS:
        return Clear()
    effect = case.record.signal("time_shuffle_effect")
    observed = last(effect)
    if effect is None or observed is None:
        return Clear()
    if observed >= BLIND:
        return _between_tokens(case)
    shown = [evidence(effect, observed, BLIND)]
    if order is not None:
        shown.append(
            Evidence(
                signal="ridge skill lost by shuffling rows",
                observed=order.skill - order.shuffled_skill,
                reference=MATTERS,
                unit="skill",
            )
        )
    return Finding(
        cause="order-blind",
        score=strength(max(observed, 1e-9), BLIND, BLIND / 10),
        summary=f"shuffling the rows of each window changes the output by {observed:.1e} of its "
        "spread: the model does not know their order",
        evidence=tuple(shown),
        remedies=_remedies(case),
    )


def warn(plan: Plan) -> str | None:
    """Say so where no part of the model could know the order."""
    if not _is_symmetric(plan) or plan.setting("model.embedding") == "inverted":
        return None
    kept = plan.setting("model.embedding") in ("patch", "conv")
    return (
        f'model.positions = "none" with model.pooling = "{plan.setting("model.pooling")}": no part '
        f"of this model knows the order of {'tokens' if kept else 'rows'}"
    )


def _between_tokens(case: Case) -> Answer:
    """Judge tokens that keep the order inside: is what they hold lost where they are mixed?"""
    around, missed, limit = pool(case.record), at_pool(case.record), case.upper(at_pool, LOSES)
    # A token a channel has its rows in order, and its own place among channels is another matter.
    if not _is_symmetric(case) or case.setting("model.embedding") == "inverted":
        return Clear()
    if around is None or missed is None or missed < limit:
        return Clear()
    before, output = around.before, around.output
    return Finding(
        cause="order-blind",
        score=trust(case.record) * strength(missed, limit, ALL),
        summary="no part knows the order of tokens: a probe reads "
        f"{before.skill:z.2f} of the target before the pool, the output explains "
        f"{output.skill:z.2f}",
        evidence=(
            evidence(before.curve, before.skill),
            evidence(output.curve, output.skill, before.skill * (1 - limit)),
        ),
        remedies=_remedies(case),
    )


def _is_symmetric(of: Case | Plan) -> bool:
    pooling, positions = of.setting("model.pooling"), of.setting("model.positions")
    return positions == "none" and pooling in SYMMETRIC_POOLS


def _remedies(case: Case) -> tuple[Remedy, ...]:
    if case.setting("model.positions") != "none":
        return ()
    expects = "time_shuffle_effect rises above 1e-2, validation_loss falls"
    placed, flat = {"model.positions": "sinusoidal"}, {"model.pooling": "flatten"}
    return (
        Remedy(
            set=placed | flat,
            expects=expects,
            safety="the head grows with the window, and may overfit",
            source="Vaswani et al. 2017, section 3.5; measured: recorded plant, loss .69 -> .16",
        ),
        Remedy(
            set=placed,
            expects=expects,
            safety="adds no parameters; the loss may need more steps than before to fall",
            source="Vaswani et al. 2017, section 3.5; measured: recorded plant, loss .69 -> .44",
        ),
    )


RULE = Rule(
    cause="order-blind",
    page=__doc__,
    check=check,
    needs={"time_shuffle_effect": "no output that varies, or a window of one row"},
    warn=warn,
)
