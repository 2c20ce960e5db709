"""Attention looks everywhere alike to the end, and what would change that gets little gradient.

What it looks for: nearly all heads still uniform at the end, queries and keys with a small part of
the gradient of the values, and tokens that differ, so that there is something to attend to. Where
the gradient is only somewhat small, W_Q W_K must also have stayed as it was.

Why training stalls: a head that averages all tokens passes on what they have in common. While all
scores are alike, moving a query changes nothing, so queries and keys get no push to differ. What
needs a choice among tokens is out of reach.

Told apart from: rank-collapse, where tokens are alike and any pattern gives the same; late-plateau,
where the first heads have turned sharp; weight-decay-too-strong, where W_Q W_K has shrunk;
degenerate-normalization and poor-initialization, where scores are exactly zero. Uniform patterns
alone are normal at the start and prove nothing.

Remedies: scores scaled by 1/sqrt(head_dim); a higher rate; an input projection, and heads that
share its width; queries and keys normalised.

Limits: a readout that sees all tokens may do without attention, and then heads stay uniform in good
health: six such runs learned here. Only a stall makes this a finding.

References: Henry et al. 2020 (query-key normalisation); Zhai et al. 2023 (entropy of attention);
measured on the founding question: entropy .99996, Q with 1/50 to 1/200 of the gradient of V.
"""

from __future__ import annotations

from statistics import median
from typing import Any

from tsdiag.diagnostics.case import Case, Record, evidence
from tsdiag.diagnostics.findings import Answer, Clear, Finding, Remedy, strength
from tsdiag.diagnostics.measures import first, known, last, middle
from tsdiag.diagnostics.rules.rule import Plan, Rule

# Entropy at the end: healthy traces 0.81 to 0.996, with at most 6 of 16 heads above the limit.
UNIFORM, MOST = 0.99, 0.9
# Gradient of Q and K over V's, later half: healthy traces 0.4 to 1.4, the founding model 0.01 as
# it was and 0.15 with heads of 64. At the catalogue's 1e-2 no flat norm is asked for: Adam moves
# weights by a gradient of any size, without effect here.
STARVED, DRY, NOTHING = 0.2, 0.01, 0.002
FLAT = 2.0  # |W_Q W_K|, last over first; below its inverse weights have decayed
ALIKE = 0.95  # cosine of tokens: healthy traces up to 0.93
FAINT, WIDE = 0.1, 4.0  # scale against 1/sqrt(head_dim); heads together against the stream
WIDTH = 64
SLOW = 1e-3  # rates below it kept the founding model at 55 %


def starvation(record: Record) -> float | None:
    """Return the gradient of Q and K over that of V where heads end uniform on unlike tokens."""
    ends = known(last(head) for head in record.places("attention_entropy"))
    likeness = known(middle(place) for place in record.places("token_cosine"))
    uniform = sum(end > UNIFORM for end in ends)
    if not ends or uniform < MOST * len(ends) or median(likeness or [0.0]) > ALIKE:
        return None
    values = {s.where: middle(s, s.steps[-1] / 2) for s in record.places("value_gradient_norm")}
    ratios = [
        (middle(s, s.steps[-1] / 2) or 0.0) / value
        for s in record.places("query_key_gradient_norm")
        if (value := values.get(s.where))
    ]
    return median(ratios) if ratios else None


def growth(record: Record) -> float | None:
    """Return the usual head's |W_Q W_K| at the end over that at the start."""
    norms = record.places("query_key_norm")
    ratios = [(last(norm) or 0.0) / begun for norm in norms if (begun := first(norm))]
    return median(ratios) if ratios else None


def check(case: Case) -> Answer:
    """Look for patterns that stayed uniform for want of a gradient."""
    record, limit = case.record, case.lower(starvation, STARVED)
    observed, grown = starvation(record), growth(record)
    if observed is None or grown is None or observed >= limit or grown < 1 / FLAT:
        return Clear()
    silent = not any(first(head) for head in record.places("logit_scale"))
    if silent or (grown > FLAT and observed > DRY):
        return Clear()
    heads, layers = record.places("attention_entropy"), record.places("query_key_gradient_norm")
    norm = record.places("query_key_norm")[0]
    entropy = median(known(last(head) for head in heads))
    return Finding(
        cause="attention-never-specializes",
        score=strength(observed, limit, NOTHING),
        summary=f"{len(heads)} heads end with an entropy of {entropy:.4f} (1 = uniform); queries "
        f"and keys get {observed:.2g} of the values' gradient",
        evidence=(
            evidence(heads[0], entropy, UNIFORM),
            evidence(layers[0], observed, limit).model_copy(update={"unit": "of the values'"}),
            evidence(norm, grown).model_copy(update={"unit": "last over first"}),
        ),
        remedies=_remedies(case),
    )


def warn(plan: Plan) -> str | None:
    """Say so where scores are scaled down to nothing."""
    scale, width = plan.setting("model.attention_scale"), plan.setting("model.head_dim")
    if scale is None or not width or scale > FAINT * width**-0.5:
        return None
    return (
        f"model.attention_scale = {scale:g} is far below 1/sqrt(head_dim) = {width**-0.5:.2g}: "
        "patterns stay uniform"
    )


def _remedies(case: Case) -> tuple[Remedy, ...]:
    given, rate = case.setting("model.attention_scale"), case.setting("optimizer.lr", 1.0)
    usual = float(case.setting("model.head_dim", 1)) ** -0.5
    plain: dict[str, Any] = {"model.attention_scale": None} if (given or usual) < usual else {}
    normed = {} if case.setting("model.qk_norm") else {"model.qk_norm": True, **plain}
    faster = {"optimizer.lr": float(f"{10 * rate:.2g}")} if rate < SLOW else {}
    edits = (
        (plain, "none", "Vaswani et al. 2017, section 3.2.1"),
        (faster, "may be too high", "the founding question: 55 % at 1e-4, 84 % at 1e-3"),
        (_projection(case), "changes the size of the model", "the founding question's model"),
        (normed, "a little slower", "Henry et al. 2020"),
    )
    expects = "attention_entropy of some heads falls below 0.95, validation_loss falls"
    some = (Remedy(set=e, expects=expects, safety=cost, source=why) for e, cost, why in edits)
    return tuple(r for r in some if r.set and r.set.keys() <= case.record.config.keys())


def _projection(case: Case) -> dict[str, Any]:
    """Return a stream wide enough for its heads, where they are far wider than it."""
    heads, width = case.setting("model.n_heads", 1), case.setting("model.d_model", 1)
    stream = case.facts.channels if width == "channels" else width
    if width != "channels" and heads * case.setting("model.head_dim", 1) <= WIDE * stream:
        return {}
    wide = max(WIDTH, stream, case.facts.channels)
    shared = {"model.d_model": wide, "model.head_dim": max(2, wide // heads // 2 * 2)}
    return shared | ({"model.embedding": "linear"} if width == "channels" else {})


RULE = Rule(
    cause="attention-never-specializes",
    page=__doc__,
    check=check,
    needs={
        "attention_entropy": "no attention between at least two tokens in this model",
        "query_key_gradient_norm": "",
        "value_gradient_norm": "",
        "query_key_norm": "",
    },
    warn=warn,
)
