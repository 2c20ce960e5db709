"""One layer is far narrower than what lies around it, and what it cannot carry is gone.

What it looks for: from one place to the next, the numbers of a window fall to a quarter or less and
a linear probe finds half of the target's share or less; in a transformer, that the stream is also
eight times narrower than its heads or its feed-forward layers, which were thus meant to have more.

Why training stalls: a later layer cannot restore what an earlier one has dropped, and with few
numbers a norm mixes what is left. Skips do not help, because they are as narrow.

Told apart from: under-capacity, where every layer is narrow; pooling-discards-channels and
positions-swamped, where the fall is at the pool; degenerate-normalization, where one or two numbers
are all and nothing passes; learning-rate-too-low, where all layers are wide and none is trained.

Remedies: a stream as wide as the layers around it.

Limits: a narrow layer behind a skip (ff_dim) or behind the pool drops nothing that was needed in
our measurements; it is warned of, never found. What is inside a head or an unnamed module is not
seen. The probe is linear: a fall of what only a deeper reader would find goes unnoticed. Weights
that were hardly trained, or lost, are not judged.

References: Tishby and Zaslavsky 2015; Alain and Bengio 2016 (linear probes); measured: a width of 4
where 32 is healthy has a loss of .68 instead of .19, a width of 8 still .24; one feed-forward unit
.18; one unit behind the pool .18.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from tsdiag.diagnostics.case import Case, Record, evidence
from tsdiag.diagnostics.findings import (
    Answer,
    Clear,
    Evidence,
    Finding,
    NotMeasured,
    Remedy,
    Suspect,
    strength,
)
from tsdiag.diagnostics.measures import values
from tsdiag.diagnostics.rules.rule import Plan, Rule
from tsdiag.diagnostics.travel import crawls
from tsdiag.diagnostics.waterfall import Place, lost, trust, waterfall

# Numbers of a window, before over after; a usual patch embedding has 1 to 1.3.
NARROWS = 4.0
# Share of the skill that is lost there: at most 0.07 at the embeddings of healthy runs
# (tests/traces), 0.3 at untrained ones, 0.9 and more in the stalled runs with this fault.
LOSES, ALL = 0.5, 0.9
# Feed-forward layers are 2 to 4 times as wide as the stream; from here on the stream is the neck.
NECK = 8
WIDTH = 64


def narrowest(record: Record, outputs: int) -> tuple[Place, Place] | None:
    """Return the two places between which most is lost to width, pools and outputs aside."""
    places = waterfall(record)
    pools = {signal.where for signal in record.places("readout_token_rank")}
    steps = [
        (before, after)
        for before, after in pairwise(places)
        if after.features * NARROWS <= before.features
        and after.features > outputs
        and after.where not in pools
    ]
    return max(steps, key=lambda step: lost(*step), default=None)


def check(case: Case) -> Answer:
    """Find the place where width and skill fall together."""
    if crawls(case.record):
        return NotMeasured(why="weights that stayed near where they were drawn tell of the draw")
    losses = case.record.signal("validation_loss")
    broken = losses is not None and len(values(losses)) < len(losses.steps)
    if broken or case.record.trace.end_state == "diverged":
        return NotMeasured(why="the run diverged: its best weights tell of a moment before that")
    step = narrowest(case.record, case.facts.outputs)
    neck = _neck(case)
    if step is None or (neck is not None and neck < NECK):
        return Clear()

    def share(record: Record) -> float | None:
        other = narrowest(record, case.facts.outputs)
        return lost(*other) if other else None

    before, after = step
    limit = case.upper(share, LOSES)
    if lost(before, after) < limit:
        return Clear()
    width = Evidence(
        signal="readout_features",
        where=after.where,
        observed=after.features,
        reference=before.features / NARROWS,
        unit="numbers",
    )
    return Finding(
        cause="feature-bottleneck",
        score=trust(case.record) * strength(lost(before, after), limit, ALL),
        summary=f"{after.where} leaves {after.features:.0f} of {before.features:.0f} numbers a "
        f"window; a probe reads {before.skill:z.2f} of the target before, {after.skill:z.2f} after",
        evidence=(
            evidence(before.curve, before.skill),
            evidence(after.curve, after.skill, before.skill * (1 - limit)),
            width,
        ),
        remedies=_remedies(case),
    )


def warn(plan: Plan) -> str | None:
    """Say so where one layer is far narrower than its neighbours."""
    neck, width = _neck(plan), _width(plan)
    if neck is not None and neck >= NECK:
        return f"the stream has {width} numbers a token, layers around it {neck:.0f} times as many"
    units = plan.setting("model.head_units") or ()
    if units and min(units) < plan.facts.outputs:
        return f"model.head_units = {list(units)}: {plan.facts.outputs} outputs through fewer units"
    inner = plan.setting("model.ff_dim")
    if width is not None and inner is not None and inner < width:
        return f"model.ff_dim = {inner} is below the stream's width of {width}"
    return None


def suspect(case: Case) -> Suspect | None:
    """Propose a wider stream where it is far narrower than its neighbours.

    In a run that hardly moved, no probe tells what a width costs: see ``check``.
    """
    neck, width = _neck(case), _width(case)
    if neck is None or neck < NECK:
        return None
    why = f"the stream has {width} numbers a token, layers around it {neck:.0f} times as many"
    return Suspect(cause="feature-bottleneck", why=why, remedies=_remedies(case))


def _neck(of: Case | Plan) -> float | None:
    """Return how much wider than the stream the layers beside it are; None without a stream.

    A stream of unprojected channels is not narrowed by any layer: missing-input-projection.
    """
    width = _width(of)
    if width is None or of.setting("model.d_model") == "channels":
        return None if width is None else 0.0
    heads = of.setting("model.n_heads", 0) * of.setting("model.head_dim", 0)
    return float(max(heads, of.setting("model.ff_dim", 0)) / width)


def _width(of: Case | Plan) -> int | None:
    width = of.setting("model.d_model")
    return of.facts.channels if width == "channels" else width


def _remedies(case: Case) -> tuple[Remedy, ...]:
    width = _width(case)
    if width is None:
        return ()
    edit: dict[str, Any] = {"model.d_model": max(WIDTH, 4 * width)}
    return (
        Remedy(
            set=edit,
            expects="readout_skill no longer falls there, validation_loss falls",
            safety="more parameters and time; a wider stream wants a lower rate",
            source="measured: recorded plant, loss .68 at a width of 4, .19 at 32",
        ),
    )


RULE = Rule(
    cause="feature-bottleneck",
    page=__doc__,
    check=check,
    needs={"readout_skill": ""},
    warn=warn,
    suspect=suspect,
)
