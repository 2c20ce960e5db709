"""Positions are there, but too faint beside the stream to be used, or so loud that they drown it.

What it looks for: the added positions stay below a tenth of the stream, and what a linear probe
reads from the tokens is gone behind a pool that needs attention to sort them; or they stay above
ten times the stream, and the output explains little of what a probe reads from the window.

Why training stalls: attention can tell tokens apart by their place only if the place shows in
queries and keys. A learned table that starts at 0.02 takes most of a short run to get there.
Drowned tokens look alike in every window, and a norm makes their content smaller still.

Told apart from: order-blind, where there are no positions; pooling-discards-channels, where the
pool averages inside the tokens (both can be true, and flatten then cures both); unscaled-inputs,
which makes the stream large in a few channels.

Remedies: sinusoidal positions, about as large as a normalised stream; or flatten, which lets the
head know each token's place. Where positions drown the stream: learned ones.

Limits: faint positions are usual and harmless where the head knows the places (flatten), so the
ratio alone is no finding. Rotary positions are not added, and not judged.

References: Vaswani et al. 2017, section 3.5; measured: the recorded plant stalls at a loss of .69,
with sinusoids instead of a learned table it reaches .25 in the same 400 steps.
"""

from __future__ import annotations

from typing import Any

from tsdiag.diagnostics.case import Case, Record, evidence
from tsdiag.diagnostics.findings import (
    Answer,
    Clear,
    Evidence,
    Finding,
    NotMeasured,
    Remedy,
    strength,
)
from tsdiag.diagnostics.measures import greatest, last, least
from tsdiag.diagnostics.rules.rule import Plan, Rule
from tsdiag.diagnostics.waterfall import lost, pool, trust, unread, waterfall

# The catalogue's range. Sinusoids have 0.6 to 1.4 of the stream in healthy runs; learned tables
# have 0.015 to 0.1, harmless as long as the next limit holds.
FAINT, LOUD = 0.1, 10.0
# Share of the skill that is gone behind such a pool: below 0 in healthy runs (tests/traces), and
# in two with a pool of the last token that a low rate or batches of one held back.
LOSES, ALL = 0.4, 0.95


def at_pool(record: Record) -> float | None:
    """Return the share of the skill that is gone behind a pool that leaves fewer numbers.

    What the head makes of it is left out: untrained, it would make any pool look guilty.
    """
    around = pool(record)
    if around is None or around.behind.features >= around.before.features:
        return None
    return lost(around.before, around.behind)


def check(case: Case) -> Answer:
    """Judge positions by what is lost, and their size only then."""
    if not waterfall(case.record):
        return NotMeasured(why="no readout skills, so whether positions are missed is not known")
    curve = case.record.places("positions_ratio")[0]
    loudest, faintest = greatest(curve), least(curve)
    if loudest is None or faintest is None:
        return NotMeasured(why="the positions have no finite ratio to the stream")
    missed, limit = at_pool(case.record), case.upper(at_pool, LOSES)
    # Rows that are never read are missed for another reason: blind-time-steps.
    blind = last(case.record.signal("blind_time_share"))
    if loudest < FAINT and missed is not None and missed >= limit and not blind:
        shown = evidence(curve, loudest, FAINT)
        return _finding(case, shown, strength(missed, limit, ALL), faint=True)
    missed, limit = unread(case.record), case.upper(unread, LOSES)
    if faintest > LOUD and missed is not None and missed >= limit:
        shown = evidence(curve, faintest, LOUD)
        return _finding(case, shown, strength(faintest, LOUD, 10 * LOUD), faint=False)
    return Clear()


def warn(plan: Plan) -> str | None:
    """Say so where a learned table has to sort tokens for a mean over them."""
    if plan.setting("model.positions") != "learned":
        return None
    if plan.setting("model.pooling") not in ("mean_time", "attention"):
        return None
    return (
        'model.positions = "learned" starts at 0.02 of the stream, and model.pooling = '
        f'"{plan.setting("model.pooling")}" has no other hold on order: "sinusoidal" starts at 0.7'
    )


def _finding(case: Case, ratio: Evidence, score: float, *, faint: bool) -> Finding:
    places, around = waterfall(case.record), pool(case.record)
    before, after = (around.before, around.behind) if faint and around else (places[0], places[-1])
    told = f"{after.skill:z.2f} behind the pool" if faint else f"the output {after.skill:z.2f}"
    return Finding(
        cause="positions-swamped",
        score=trust(case.record) * score,
        summary=f"positions have {'at most' if faint else 'at least'} {ratio.observed:.2g} times "
        f"the stream's size; a probe reads {before.skill:z.2f} of the target at {before.where}, "
        f"{told}",
        evidence=(
            ratio,
            evidence(before.curve, before.skill),
            evidence(after.curve, after.skill, before.skill * (1 - LOSES)),
        ),
        remedies=_remedies(case, faint),
    )


def _remedies(case: Case, faint: bool) -> tuple[Remedy, ...]:
    positions, expects = case.setting("model.positions"), "positions_ratio comes to 0.1 to 10"
    source = "Vaswani et al. 2017, section 3.5; measured: recorded plant, loss .69 -> .25"
    safety = "sinusoids add no parameters; they are fixed, and all windows share them"
    offered: list[Remedy] = []
    if faint and positions == "learned":
        edit: dict[str, Any] = {"model.positions": "sinusoidal"}
        offered.append(Remedy(set=edit, expects=expects, safety=safety, source=source))
    if faint and case.setting("model.pooling") is not None:
        edit = {"model.pooling": "flatten"}
        wanted, safety = (
            "readout_skill no longer falls at the pool",
            "the head grows with the window",
        )
        source = "measured: the same plant with flatten, loss .19"
        offered.append(Remedy(set=edit, expects=wanted, safety=safety, source=source))
    if not faint and positions == "sinusoidal":
        edit = {"model.positions": "learned"}
        safety = "a learned table starts faint, at 0.02: with a mean over time it may not suffice"
        source = "Devlin et al. 2019 (learned positions, started at 0.02)"
        offered.append(Remedy(set=edit, expects=expects, safety=safety, source=source))
    return tuple(offered)


RULE = Rule(
    cause="positions-swamped",
    page=__doc__,
    check=check,
    needs={"positions_ratio": "no positions are added to the stream"},
    warn=warn,
)
