"""All heads of a layer look at the same tokens, so that one would do.

What it looks for: layers whose heads deviate from the uniform pattern in the same way, while they
do deviate; it counts when that is so in most of the layers that can be judged.

Why training stalls: heads that begin alike get the same gradient and stay alike. The model pays for
many and can gather one mixture of tokens where the task wants several.

Told apart from: attention-never-specializes, where heads are alike because all are uniform;
rank-collapse, where any pattern gives the same; poor-initialization, where units are copies of each
other as well.

Remedies: fewer heads, each with more of the width; other first weights.

Limits: no configuration path was found that plants it: heads drawn at a hundredth of the usual size
part when the task asks for it, and where they stayed alike (.97, near uniform) the run learned. So
the limit is the catalogue's, and tested on made-up numbers. Heads that agree because the task wants
one thing do no harm.

References: Michel et al. 2019 (most heads can go); Voita et al. 2019 (which ones matter);
Bhojanapalli et al. 2021 (patterns alike across heads).
"""

from __future__ import annotations

from statistics import median
from typing import Any

from tsdiag.diagnostics.case import Case, Record, evidence
from tsdiag.diagnostics.findings import Answer, Clear, Finding, NotMeasured, Remedy, strength
from tsdiag.diagnostics.measures import known, middle
from tsdiag.diagnostics.rules.rule import Rule
from tsdiag.diagnostics.signals import Signal

# 1 - mean cosine of two heads' deviations, later half: healthy traces 0.6 to 1.1 (tests/traces).
ALIKE, SAME = 0.05, 0.001
# Entropy from here on leaves deviations too small to matter.
FLAT = 0.95
MOST = 0.5  # of the layers that can be judged


def layers(record: Record) -> list[tuple[Signal, float]]:
    """Return the layers whose patterns are not flat, with 1 - the likeness of their heads."""
    found = []
    for layer in record.places("head_similarity"):
        of_it = f"{layer.where}["
        heads = [h for h in record.places("attention_entropy") if h.where.startswith(of_it)]
        entropies = known(middle(head, head.steps[-1] / 2) for head in heads)
        likeness = middle(layer, layer.steps[-1] / 2)
        if likeness is not None and entropies and median(entropies) < FLAT:
            found.append((layer, max(0.0, 1 - likeness)))
    return found


def difference(record: Record) -> float | None:
    """Return 1 - the likeness of heads, of the usual layer that is not flat."""
    found = [unlike for _, unlike in layers(record)]
    return median(found) if found else None


def check(case: Case) -> Answer:
    """Look for layers of heads that deviate alike."""
    judged, limit = layers(case.record), case.lower(difference, ALIKE)
    if not judged:
        return NotMeasured(why="all patterns are near uniform: how heads deviate says nothing")
    same = [(layer, unlike) for layer, unlike in judged if unlike < limit]
    if len(same) <= MOST * len(judged):
        return Clear()
    usual = median(unlike for _, unlike in same)
    return Finding(
        cause="redundant-heads",
        score=strength(usual, limit, SAME),
        summary=f"in {len(same)} of {len(judged)} layers all heads look at the same tokens (cosine "
        f"of their patterns {1 - usual:.3f})",
        evidence=tuple(evidence(layer, 1 - unlike, 1 - limit) for layer, unlike in same),
        remedies=_remedies(case),
    )


def _remedies(case: Case) -> tuple[Remedy, ...]:
    heads, wide = case.setting("model.n_heads", 1), case.setting("model.head_dim", 1)
    fewer: dict[str, Any] = {"model.n_heads": max(1, heads // 4)}
    fewer["model.head_dim"] = heads * wide // fewer["model.n_heads"] // 2 * 2 or 1
    some = (
        Remedy(
            set=fewer if heads > 1 else {},
            expects="head_similarity falls below 0.9, or validation_loss stays with fewer heads",
            safety="fewer mixtures of tokens per layer",
            source="Michel et al. 2019",
        ),
        Remedy(
            set={"seed": case.setting("seed", 0) + 1},
            expects="head_similarity falls below 0.9",
            safety="if heads agree again, the task wants it so",
            source="other first weights show whether the likeness was drawn or learned",
        ),
    )
    return tuple(r for r in some if r.set and r.set.keys() <= case.record.config.keys())


RULE = Rule(
    cause="redundant-heads",
    page=__doc__,
    check=check,
    needs={
        "head_similarity": "no layer with at least two heads",
        "attention_entropy": "no attention between at least two tokens in this model",
    },
)
