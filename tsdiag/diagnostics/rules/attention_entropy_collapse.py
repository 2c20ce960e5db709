"""Scores have grown until each query looks at one token, chosen before the model knew which.

What it looks for: more than half of the heads nearly one-hot over the later half of the run, with
scores that have grown since the start to a size which training does not come back from; and an
output that explains little of what a linear probe finds in the window.

Why training stalls: a softmax this far out is flat. Small changes of the scores change no pattern,
so a wrong choice is not corrected; where two tokens are nearly even, a small change flips all.

Told apart from: unscaled-attention-logits, where scores are as large at the first step;
learning-rate-too-high, which brings this about and moves all other weights too far as well; heads
that have learned to be sharp, with scores of 4 to 90 nats and a loss that has fallen.

Remedies: the scale 1/sqrt(head_dim) where another was set; queries and keys normalised, which
bounds the scores; a tenth of the rate with a warmup.

Limits: sharp heads are healthy where a task wants a choice, so entropy alone is not judged. Where
the readout sees every token, scores of 1,000 nats did little harm. Without readout skills, or where
a probe finds nothing in the window, the scores alone decide.

References: Zhai et al. 2023 (entropy collapse); Dehghani et al. 2023 (ViT-22B, query-key
normalisation); Wortsman et al. 2023 (growth of attention logits).
"""

from __future__ import annotations

from statistics import median
from typing import Any

from tsdiag.diagnostics.case import Case, Record, evidence
from tsdiag.diagnostics.findings import Answer, Clear, Finding, Remedy, strength
from tsdiag.diagnostics.measures import first, known, middle
from tsdiag.diagnostics.rules.rule import Rule
from tsdiag.diagnostics.waterfall import LEAST_SKILL, lost, waterfall

ONE_HOT, MOST = 0.1, 0.5  # entropy, share of heads: the catalogue's
# Largest logit above the mean [nats]: healthy traces 1 to 5 (tests/traces), and up to 85 in runs
# that learned to choose among tokens; stalled ones 280 to 7,000.
LARGE, BEYOND = 100.0, 1000.0
GROWN = 2.0  # deviation of logits, later half over first
# Share of the window's skill that the output lacks: up to 0.34 in healthy runs, 0 and 0.25 in two
# that learned with logits of 440 and 3,200, 0.72 and more in collapsed ones.
LACKS = 0.4


def largest_logit(record: Record) -> float | None:
    """Return the usual head's largest logit where most heads are one-hot in the later half."""
    heads = record.places("attention_entropy")
    entropies = known(middle(head, head.steps[-1] / 2) for head in heads)
    if sum(entropy < ONE_HOT for entropy in entropies) <= MOST * len(entropies):
        return None
    return _usual(record, "largest_logit")


def check(case: Case) -> Answer:
    """Look for one-hot patterns by scores that have grown."""
    record, limit = case.record, case.upper(largest_logit, LARGE)
    observed, scale = largest_logit(record), _usual(record, "logit_scale")
    begun = median(known(first(s) for s in record.places("logit_scale")) or [0.0])
    if observed is None or scale is None or observed <= limit or scale <= GROWN * begun:
        return Clear()
    if _serves(record):
        return Clear()
    heads = record.places("attention_entropy")
    entropy = median(known(middle(head, head.steps[-1] / 2) for head in heads))
    return Finding(
        cause="attention-entropy-collapse",
        score=strength(observed, limit, BEYOND),
        summary=f"heads have become one-hot (entropy {entropy:.1e}): their scores grew from "
        f"{begun:.2g} to {scale:.2g} nats",
        evidence=(
            evidence(heads[0], entropy, ONE_HOT),
            evidence(record.places("largest_logit")[0], observed, limit),
            evidence(record.places("logit_scale")[0], scale, GROWN * begun),
        ),
        remedies=_remedies(case),
    )


def _serves(record: Record) -> bool:
    """Tell whether the output explains most of what a probe finds in the window."""
    places = waterfall(record)
    if len(places) < 2 or places[0].skill < LEAST_SKILL:
        return False
    return lost(places[0], places[-1]) < LACKS


def _usual(record: Record, name: str) -> float | None:
    found = known(middle(s, s.steps[-1] / 2) for s in record.places(name))
    return median(found) if found else None


def _remedies(case: Case) -> tuple[Remedy, ...]:
    given, rate = case.setting("model.attention_scale"), case.setting("optimizer.lr", 0.0)
    usual = float(case.setting("model.head_dim", 1)) ** -0.5
    raised = given is not None and given > usual
    plain: dict[str, Any] = {"model.attention_scale": None} if raised else {}
    normed = {} if case.setting("model.qk_norm") else {"model.qk_norm": True}
    slower = {
        "optimizer.lr": float(f"{rate / 10:.2g}"),
        "optimizer.warmup_fraction": max(0.1, case.setting("optimizer.warmup_fraction", 0.0)),
    }
    expects = "largest_logit stays below 100 nats, attention_entropy above 0.1"
    edits = (
        (plain, "none", "Vaswani et al. 2017, section 3.2.1"),
        (normed | plain if normed else {}, "a little slower", "Dehghani et al. 2023"),
        (slower if rate > 0 and not raised else {}, "needs more steps", "Wortsman et al. 2023"),
    )
    some = (Remedy(set=e, expects=expects, safety=cost, source=why) for e, cost, why in edits)
    return tuple(r for r in some if r.set and r.set.keys() <= case.record.config.keys())


RULE = Rule(
    cause="attention-entropy-collapse",
    page=__doc__,
    check=check,
    needs={
        "attention_entropy": "no attention between at least two tokens in this model",
        "largest_logit": "",
        "logit_scale": "",
    },
)
