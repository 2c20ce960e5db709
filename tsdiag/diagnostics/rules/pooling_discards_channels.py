"""The readout averages over the features of each token, and what they held apart is gone.

What it looks for: the pooling has rank 1 over channels, so that all of them are read alike, and a
linear probe finds much more of the target before the pool than the model's output explains. Where
hardly anything reaches the pool, it is asked what the pool makes of the stream before the blocks.

Why training stalls: the mean of many features is small, and only what moves all of them the same
way survives it. The head gets next to nothing until the body has learned to write into that one
direction, and whatever keeps the body from it shows as a plateau.

Told apart from: order-blind, where shuffled rows change nothing; degenerate-normalization, where a
fresh norm before the pool makes that mean exactly 0; feature-bottleneck, where information dies
before the pool.

Remedies: flatten, which keeps everything and needs no positions to keep the order; or a pool over
time together with positions. A mean over time without them is the textbook fix that makes it worse.

Limits: an average over channels is no fault by itself; wide streams with good positions learn
through it. The probe is linear, and knows nothing of what a longer run would make of the stream.

References: the founding question's GlobalAveragePooling1D("channels_first"); Alain and Bengio 2016
(linear probes); measured: a mean over time without positions took validation accuracy from .92 to
.53; flatten took our recorded trace from a loss of .55 to .20, attention with sinusoids to .28.
"""

from __future__ import annotations

from typing import Any

from tsdiag.diagnostics.case import Case, Record, evidence
from tsdiag.diagnostics.findings import (
    Answer,
    Clear,
    Finding,
    NotMeasured,
    Remedy,
    Suspect,
    strength,
)
from tsdiag.diagnostics.measures import last
from tsdiag.diagnostics.rules.rule import Plan, Rule
from tsdiag.diagnostics.waterfall import LEAST_SKILL, Place, Pool, pool, trust, waterfall

# Share of the skill before the pool that is not in the output. Runs that learn through a mean over
# channels lose 0 to 0.26 (tests/traces), stalled ones 0.7 to 1.
LOSES, ALL = 0.4, 0.95
# Share of the window's skill that must have come as far as the pool for it to be judged by that.
ARRIVES = 0.5
# Where less has come, the pool is judged by what it makes of the stream before the blocks: they,
# too, are to blame then, so the score is lower.
SHARED = 0.7
# Positions that stand in the stream from the first step on.
STRONG = ("sinusoidal", "rotary")


def share_lost(record: Record) -> float | None:
    """Return the share of the skill that is lost behind a pool of rank 1, or None."""
    around = pool(record)
    if around is None or around.behind.features >= around.before.features:
        return None
    rank = last(record.signal("readout_channel_rank", around.behind.where))
    return around.lost if rank is not None and rank <= 1 else 0.0


def check(case: Case) -> Answer:
    """Compare what is there before an average over channels with what comes out."""
    around, observed = pool(case.record), share_lost(case.record)
    if around is None:
        return NotMeasured(why="no readout skill on both sides of the pooling")
    limit = case.upper(share_lost, LOSES)
    window, *_, output = waterfall(case.record)
    if around.before.skill < ARRIVES * window.skill:
        return _bypassed(case, around, window, output, limit)
    if observed is None or observed < limit:
        return Clear()
    rank = case.record.signal("readout_channel_rank", around.behind.where)
    least = around.before.skill * (1 - limit)
    before, behind = around.before, around.behind
    return Finding(
        cause="pooling-discards-channels",
        score=trust(case.record) * strength(observed, limit, ALL),
        summary=f"all channels are averaged: of the target, a probe reads {before.skill:z.2f} "
        f"before the pool and {behind.skill:z.2f} after it, the output explains "
        f"{output.skill:z.2f}",
        evidence=(
            evidence(before.curve, before.skill),
            evidence(behind.curve, behind.skill, least),
            evidence(output.curve, output.skill, least),
            *((evidence(rank, 1.0, 1.0),) if rank is not None else ()),
        ),
        remedies=_remedies(case),
    )


def _bypassed(case: Case, around: Pool, window: Place, output: Place, limit: float) -> Answer:
    """Judge a pool that hardly anything reaches by the stream that the blocks begin with."""
    bypass = case.record.signal("bypass_skill", around.behind.where)
    rank = last(case.record.signal("readout_channel_rank", around.behind.where))
    found = last(bypass)
    if bypass is None or found is None or rank is None or rank > 1:
        return Clear()
    least = (1 - limit) * window.skill
    if window.skill < LEAST_SKILL or found >= least or output.skill >= least:
        return Clear()
    return Finding(
        cause="pooling-discards-channels",
        score=SHARED * trust(case.record) * strength(1 - found / window.skill, limit, ALL),
        summary=f"all channels are averaged: a probe reads {window.skill:z.2f} in the window, and "
        f"{found:z.2f} in its average; the output explains {output.skill:z.2f}",
        evidence=(
            evidence(bypass, found, least),
            evidence(window.curve, window.skill),
            evidence(output.curve, output.skill, least),
        ),
        remedies=_remedies(case),
    )


def warn(plan: Plan) -> str | None:
    """Say so where the readout averages over features."""
    if plan.setting("model.pooling") != "mean_channels":
        return None
    return (
        'model.pooling = "mean_channels": each token becomes the mean of its features; "flatten" '
        "keeps them apart"
    )


def suspect(case: Case) -> Suspect | None:
    """Propose another pool where this one averages over channels."""
    if case.setting("model.pooling") != "mean_channels":
        return None
    why = "the readout averages over channels"
    return Suspect(cause="pooling-discards-channels", why=why, remedies=_remedies(case))


def _remedies(case: Case) -> tuple[Remedy, ...]:
    if case.setting("model.pooling") != "mean_channels":
        return ()
    positions, placed = case.setting("model.positions"), {"model.positions": "sinusoidal"}
    # Flatten keeps the tokens in their places; attention pooling does not know their order, and
    # learned positions start too faint to tell it (positions-swamped).
    flat: dict[str, Any] = {"model.pooling": "flatten"} | (placed if positions == "none" else {})
    pooled: dict[str, Any] = {"model.pooling": "attention"} | (
        {} if positions in STRONG else placed
    )
    together = "take pool and positions together: a mean over time without positions is order-blind"
    return (
        Remedy(
            set=flat,
            expects="the output's readout_skill rises to that before the pool",
            safety=f"the head grows with the window, and may overfit; {together} (.92 -> .53)",
            source="measured: recorded plant, loss .55 -> .20; founding shape, .73 -> .24",
        ),
        Remedy(
            set=pooled,
            expects="the output's readout_skill rises to that before the pool",
            safety=f"learns later than flatten, needs more steps; {together} (.92 -> .53)",
            source="Lin et al. 2017 (attention pooling); measured: recorded plant, loss .55 -> .28",
        ),
    )


RULE = Rule(
    cause="pooling-discards-channels",
    page=__doc__,
    check=check,
    needs={"readout_channel_rank": "no pooling between a stream and a head", "readout_skill": ""},
    warn=warn,
    suspect=suspect,
    # Flatten puts every token in its place, whatever the positions.
    explains=("positions-swamped",),
)
