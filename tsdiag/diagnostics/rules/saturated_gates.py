"""The gates of an LSTM are pinned open or shut, whatever the window says.

What it looks for: the share of input, forget and output gates beyond 5 nats from half open, over
the later half of the run.

Why training stalls: a sigmoid has hardly a slope out there, so what a gate lets through can no
longer be learned. A gate pinned shut forgets everything, one pinned open keeps everything.

Told apart from: poor-initialization, which is the cause where gates are pinned at the first step
because all weights were drawn too large; learning-rate-too-high, where they are free at first;
unscaled-inputs, where large inputs pin them.

Remedies: first weights of the usual size, which open the forget gates a little; inputs brought to
one scale; a tenth of the rate with clipping.

Limits: at a rate sixteen times too high a run went half of the way with 93 % of its gates pinned,
so this is a sign of harm rather than its measure. Only plain LSTM layers can be judged.

References: Hochreiter and Schmidhuber 1997; Jozefowicz et al. 2015 (forget bias of 1); Karpathy
et al. 2015 (gates that saturate).
"""

from __future__ import annotations

from typing import Any

from tsdiag.diagnostics.case import Case, Record, evidence
from tsdiag.diagnostics.findings import Answer, Clear, Finding, Remedy, strength
from tsdiag.diagnostics.measures import extreme, first, known, middle
from tsdiag.diagnostics.rules.rule import Plan, Rule

# Share of gates. Healthy traces below 0.001 (tests/traces), stalled ones 0.57 to 0.99.
PINNED, ALL = 0.5, 0.95
AT_START = 0.25  # pinned before the first step: not training's doing
DRIVEN = 0.5
LARGE = 3.0  # weights drawn this many times as large as usual pinned half of the gates


def pinned_share(record: Record) -> float | None:
    """Return the share of pinned gates in the worst layer, over the later half of the run."""
    layers = record.places("saturated_gates")
    return max(known(middle(layer, layer.steps[-1] / 2) for layer in layers), default=None)


def check(case: Case) -> Answer:
    """Look for a layer whose gates are mostly pinned."""
    layers = case.record.places("saturated_gates")
    observed, limit = pinned_share(case.record), min(case.upper(pinned_share, PINNED), ALL)
    worst = extreme(layers, [middle(s, s.steps[-1] / 2) for s in layers], largest=True)
    if observed is None or worst is None or observed <= limit:
        return Clear()
    begun = first(worst) or 0.0
    return Finding(
        cause="saturated-gates",
        # Driven out in training, they are the sign of what drove them.
        score=strength(observed, limit, ALL) if begun >= AT_START else DRIVEN,
        summary=f"{observed:.0%} of the gates of {worst.where} are pinned open or shut "
        f"({begun:.0%} before the first step)",
        evidence=(evidence(worst, observed, limit),),
        remedies=_remedies(case, begun),
    )


def warn(plan: Plan) -> str | None:
    """Say so where the first weights pin the gates."""
    scale = plan.setting("model.init_scale", 1.0)
    if plan.setting("model.kind") != "lstm" or scale < LARGE:
        return None
    return f"model.init_scale = {scale:g}: weights this large pin the gates of an LSTM"


def _remedies(case: Case, begun: float) -> tuple[Remedy, ...]:
    rate = case.setting("optimizer.lr", 0.0)
    drawn: dict[str, Any] = (
        {"model.init_scale": 1.0} if case.setting("model.init_scale", 1.0) > 1 else {}
    )
    scaled: dict[str, Any] = {"data.scale_inputs": True}
    slower: dict[str, Any] = {
        "optimizer.lr": float(f"{rate / 10:.2g}"),
        "optimizer.clip_norm": case.setting("optimizer.clip_norm") or 1.0,
    }
    edits = (
        (drawn, "none", "Jozefowicz et al. 2015; the defaults of this model"),
        (scaled, "other units of the inputs", "LeCun et al. 1998, section 4.3"),
        (
            slower if rate > 0 and begun < AT_START else {},
            "needs more steps",
            "Pascanu et al. 2013",
        ),
    )
    some = (
        Remedy(
            set={path: new for path, new in edit.items() if case.setting(path) != new},
            expects="saturated_gates falls below 0.1, validation_loss falls",
            safety=cost,
            source=source,
        )
        for edit, cost, source in edits
    )
    return tuple(r for r in some if r.set and r.set.keys() <= case.record.config.keys())


RULE = Rule(
    cause="saturated-gates",
    page=__doc__,
    check=check,
    needs={"saturated_gates": "no LSTM in this model"},
    warn=warn,
)
