"""An attention mask lets through what it should hide: padding, or the future.

What it looks for: probability in attention patterns at keys that the mask forbids, or patterns that
are not finite because a query may look at nothing.

Why training stalls: a query that sees padding averages in noise, and one that sees the future
learns a shortcut that is missing later. A row with every key masked is a softmax of nothing: NaN,
which one step spreads over all weights.

Told apart from: attention-never-specializes, where uniform patterns stay among allowed keys;
leaking-baseline, where the data and not the model give the future away.

Remedies: none by configuration, because the models of this package take no mask. In your own: True
means "hidden" in some interfaces and "visible" in others; add the mask before the softmax, at the
right axis, and leave each query at least one key.

Limits: needs masked_probability, the mass that a pattern puts where it may not, which only a model
with a mask has. A mask that hides too much goes unnoticed here: see blind-time-steps.

References: Vaswani et al. 2017, section 3.2.3; PyTorch's documentation of
scaled_dot_product_attention and MultiheadAttention, whose boolean masks mean opposite things.
"""

from __future__ import annotations

import numpy as np

from tsdiag.diagnostics.case import Case, evidence
from tsdiag.diagnostics.findings import Answer, Clear, Finding, strength
from tsdiag.diagnostics.measures import extreme, greatest, known
from tsdiag.diagnostics.rules.rule import Rule

# A masked softmax gives exactly 0, and one with -1e4 instead of infinity 0 in float32. Rounding in
# half precision stays below 1e-4; a mask that is ignored puts its share of keys there.
LEAKS, PLAIN = 1e-4, 1e-2


def check(case: Case) -> Answer:
    """Look for mass where none may be."""
    heads = case.record.places("masked_probability")
    broken = [head for head in heads if not np.isfinite(head.values).all()]
    if broken:
        return Finding(
            cause="faulty-mask",
            score=1.0,
            summary=f"patterns of {broken[0].where} are not finite: some query may look at nothing",
            evidence=tuple(
                evidence(head, float(np.isfinite(head.values).mean()), 1.0) for head in broken
            ),
        )
    most = [greatest(head) for head in heads]
    largest = max(known(most), default=0.0)
    head = extreme(heads, most, largest=True)
    if head is None or largest <= LEAKS:
        return Clear()
    return Finding(
        cause="faulty-mask",
        score=strength(largest, LEAKS, PLAIN),
        summary=f"{head.where} puts {100 * largest:.2g} % of its attention where its mask forbids",
        evidence=(evidence(head, largest, LEAKS),),
    )


RULE = Rule(
    cause="faulty-mask",
    page=__doc__,
    check=check,
    needs={"masked_probability": "tsdiag's own models take no mask"},
)
