"""No embedding widens the input: the stream is as wide as the data, the heads are far wider.

What it looks for: d_model is the number of channels, all heads together are more than four times as
wide, patterns are still uniform at the end, and the output explains little of what a linear probe
reads from the window.

Why training stalls: scores are made of channels + 1 numbers however wide a head is, so most of its
weights are redundant and share one faint gradient. Attention stays a plain average; the channels
themselves are the only room that the layers have to write into, and a norm over them mixes them.

Told apart from: attention-never-specializes, where an embedding exists; learning-rate-too-low,
which makes any attention look so, and which a higher rate cures; pooling-discards-channels, often
beside it: either remedy may do.

Remedies: an embedding to 64 numbers, heads that share that width, and positions where there are
none. Of long windows patches of eight rows first, which fewer windows suffice to train at a
fitting rate; else, and after them, a linear embedding of each row.

Limits: wide heads over a narrow stream can learn, at a rate of 3e-3 and with enough steps; the
pattern alone is a warning. Not judged without attention entropies.

References: the founding question (98.9 % of its parameters are in attention, entropy .99996);
Bhojanapalli et al. 2020 (head size and rank); measured: the recorded plant has a loss of .73,
and with an embedding .20, at the same rate and steps.
"""

from __future__ import annotations

from typing import Any

from tsdiag.diagnostics.case import Case, Record, evidence
from tsdiag.diagnostics.findings import Answer, Clear, Evidence, Finding, Remedy, Suspect, strength
from tsdiag.diagnostics.measures import extreme, known, last
from tsdiag.diagnostics.rules.rule import Plan, Rule
from tsdiag.diagnostics.waterfall import trust, unread, waterfall

# Width of all heads over that of the stream: usually 1; the founding model has 93.
WIDE, FOUNDING = 4.0, 90.0
# Entropy of the head that is furthest from uniform, at the end. The founding shape reaches 0.955
# where it learns (tests/traces) and keeps 0.993 where it does not.
UNIFORM = 0.98
# Share of the window's skill that the output lacks: healthy runs lack at most 0.34.
LOSES = 0.5
WIDTH = 64
# Windows of more rows than this are offered patches [rows]; the model's own space does the same.
LONG, PATCH = 64, 8


def sharpest(record: Record) -> float | None:
    """Return the least of the heads' last entropies."""
    return min(known(last(head) for head in record.places("attention_entropy")), default=None)


def sharpness(record: Record) -> float | None:
    """Return how far the sharpest head is from uniform, which healthy siblings may be near, too."""
    least = sharpest(record)
    return None if least is None else 1 - least


def check(case: Case) -> Answer:
    """Look for idle attention in a stream that nothing widens."""
    ratio = _width_ratio(case)
    limit = 1 - case.lower(sharpness, 1 - UNIFORM)
    least, missed = sharpest(case.record), unread(case.record)
    if ratio is None or ratio <= WIDE or least is None or least < limit:
        return Clear()
    if missed is None or missed < case.upper(unread, LOSES):
        return Clear()
    heads = case.record.places("attention_entropy")
    head = extreme(heads, [last(one) for one in heads], largest=False) or heads[0]
    places = waterfall(case.record)
    window, output = places[0], places[-1]
    width = Evidence(signal="width of heads over stream", observed=ratio, reference=WIDE)
    return Finding(
        cause="missing-input-projection",
        score=trust(case.record) * strength(ratio, WIDE, FOUNDING),
        summary=f"heads are {ratio:.0f} times as wide as the unprojected stream, and stay uniform "
        f"(entropy {least:.3f}); the output explains {output.skill:z.2f} of {window.skill:z.2f}",
        evidence=(
            width,
            evidence(head, least, limit),
            evidence(window.curve, window.skill),
            evidence(output.curve, output.skill, window.skill * (1 - LOSES)),
        ),
        remedies=_remedies(case),
    )


def warn(plan: Plan) -> str | None:
    """Say so where heads are far wider than a stream that nothing widens."""
    ratio = _width_ratio(plan)
    if ratio is None or ratio <= WIDE:
        return None
    return (
        f'model.d_model = "channels": {plan.facts.channels} numbers a token for heads of '
        f"{ratio * plan.facts.channels:.0f} in all; project the input first"
    )


def _width_ratio(of: Case | Plan) -> float | None:
    if of.setting("model.d_model") != "channels":
        return None
    return float(of.setting("model.n_heads") * of.setting("model.head_dim") / of.facts.channels)


def suspect(case: Case) -> Suspect | None:
    """Propose an embedding where heads are far wider than a stream that nothing widens."""
    ratio = _width_ratio(case)
    if ratio is None or ratio <= WIDE:
        return None
    why = f"heads are {ratio:.0f} times as wide as the unprojected stream"
    return Suspect(cause="missing-input-projection", why=why, remedies=_remedies(case))


def _remedies(case: Case) -> tuple[Remedy, ...]:
    heads, width = int(case.setting("model.n_heads")), max(WIDTH, case.facts.channels)
    each = max(2, 2 * (width // heads // 2))  # even, so that rotary positions fit
    edit: dict[str, Any] = {
        "model.d_model": width,
        "model.embedding": "linear",
        "model.head_dim": each,
    }
    if case.setting("model.positions") == "none":
        edit["model.positions"] = "sinusoidal"
    patched = edit | {"model.embedding": "patch", "model.patch_length": PATCH}
    patches = Remedy(
        set=patched,
        expects="attention_entropy falls below 0.98, validation_loss falls",
        safety=f"{PATCH} rows become one token; the embedding must keep what differs within them",
        source="Nie et al. 2023 (PatchTST); measured at 240 rows and 3e-3: .29, linear 1.05",
    )
    return (
        *((patches,) if case.facts.context_length > LONG else ()),
        Remedy(
            set=edit,
            expects="attention_entropy falls below 0.98, validation_loss falls",
            safety="another width has another best rate; a pool over channels may still hide it",
            source="Vaswani et al. 2017 (head_dim = width / heads); measured: loss .73 -> .20",
        ),
    )


RULE = Rule(
    cause="missing-input-projection",
    page=__doc__,
    check=check,
    needs={"attention_entropy": "no attention in this model", "readout_skill": ""},
    warn=warn,
    suspect=suspect,
)
