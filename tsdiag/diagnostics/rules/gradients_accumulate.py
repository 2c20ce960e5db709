"""Gradients are never cleared: every step repeats all that were ever computed.

What it looks for: successive gradients that are nearly the same, and a norm that outgrows what a
fresh backward pass gives: the noise probe's own gradients at the same weights, or, where these were
not measured, what the loss accounts for.

Why training stalls: a sum of gradients is momentum without friction. It rolls through every minimum
and turns back only when as much speaks against it, so the loss swings and grows. The norm grows by
a fresh gradient a step, tenfold within twenty of them.

Told apart from: exploding-gradients and learning-rate-too-high, where fresh gradients are as large
or successive ones disagree; learning-rate-too-low, where they agree and the norm stays; gradients
summed over micro-batches on purpose, which are the same multiple at every step.

Remedies: none by configuration, since tsdiag's own loop clears them. In a loop of your own call
optimizer.zero_grad() before every backward(), for all that the optimizer holds.

Limits: a clip hides it, because what is kept is cut down with the rest: at a norm of 1 it cost
nothing in two of two models. So a norm that does not grow is called clear.

References: PyTorch documentation, torch.optim.Optimizer.zero_grad and "Zeroing out gradients";
Polyak 1964 (heavy ball). Measured with the line left out, on healthy runs of tests/traces.
"""

from __future__ import annotations

from math import hypot, sqrt

import numpy as np

from tsdiag.diagnostics.case import Case, Record, evidence
from tsdiag.diagnostics.findings import Answer, Clear, Evidence, Finding, strength
from tsdiag.diagnostics.measures import middle
from tsdiag.diagnostics.rules.rule import Rule
from tsdiag.diagnostics.signals import Signal

# Median cosine: .93 to 1.0 in nine runs without clearing or clip; healthy traces -.02 to .65.
REPEATS = 0.9
# Growth of the norm over its fresh twin: 14 to 112 in those nine, .4 to 1.2 in healthy traces, 3.0
# in the worst of other faults. By the loss alone: 5.5 and more against .4 to 1.4 and 5.2.
OUTGROWN, CERTAIN = 4.0, 10.0


def growth(record: Record) -> float | None:
    """Return how far the gradient norm has outgrown what explains it since the first step."""
    return _growth(_by_noise(record)) or _growth(_by_loss(record))


def check(case: Case) -> Answer:
    """Ask both questions; either alone has innocent answers."""
    cosine, norm = case.record.signal("gradient_cosine"), case.record.signal("gradient_norm")
    repeats, outgrown = middle(cosine), growth(case.record)
    limit = case.upper(growth, OUTGROWN)
    if cosine is None or norm is None or repeats is None or outgrown is None:
        return Clear()
    if repeats < REPEATS or outgrown < limit:
        return Clear()
    return Finding(
        cause="gradients-accumulate",
        score=strength(outgrown, limit, CERTAIN),
        summary=f"gradients outgrow fresh ones {outgrown:.0f}-fold and repeat each other (cosine "
        f"{repeats:.2f}): they seem never to be cleared",
        evidence=(
            Evidence(signal="growth over fresh gradients", observed=outgrown, reference=limit),
            evidence(cosine, repeats, REPEATS),
            evidence(norm, middle(norm) or 0.0),
        ),
    )


def _growth(ratios: list[float]) -> float | None:
    """Return the median of the later ratios over the first; it swings too much for a last one."""
    finite = [ratio for ratio in ratios if np.isfinite(ratio) and ratio > 0]
    if len(finite) < 3:
        return None
    return float(np.median(finite[len(finite) // 3 :])) / finite[0]


def _by_noise(record: Record) -> list[float]:
    """Return, at the evaluations, the norm over that of a fresh batch of the same size."""
    body, head = (_at(record.signal(f"{part}_gradient_norm")) for part in ("body", "head"))
    square, trace = (
        _at(record.signal(name)) for name in ("gradient_square", "gradient_covariance_trace")
    )
    size = float(record.setting("training.batch_size", 0) or np.inf)
    fresh = {step: max(square[step], 0.0) + trace[step] / size for step in square if step in trace}
    return [
        hypot(body[step], head.get(step, 0.0)) / sqrt(fresh[step])
        for step in sorted(fresh)
        if step in body and fresh[step] > 0
    ]


def _by_loss(record: Record) -> list[float]:
    """Return the norm over the root of the batch's loss, as a squared error's gradient goes."""
    norms, losses = _at(record.signal("gradient_norm")), _at(record.signal("train_loss"))
    return [norms[s] / sqrt(losses[s]) for s in sorted(norms) if losses.get(s, 0.0) > 0]


def _at(signal: Signal | None) -> dict[float, float]:
    found = () if signal is None else zip(signal.steps, signal.values, strict=True)
    return {float(step): float(value) for step, value in found}


RULE = Rule(
    cause="gradients-accumulate",
    page=__doc__,
    check=check,
    needs={"gradient_cosine": "", "gradient_norm": "", "train_loss": ""},
    explains=("exploding-gradients", "learning-rate-too-high"),
)
