"""The readout waterfall as rules read it: what a linear probe finds at each place of a model.

Skills scatter by about 0.05, and are lower bounds at wide places, so small steps say nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from tsdiag.diagnostics.case import Record
from tsdiag.diagnostics.measures import last
from tsdiag.diagnostics.signals import Signal
from tsdiag.diagnostics.travel import crawls

# Less than this is not much to lose: where nothing can be found, probes gave -0.16 to 0.03.
LEAST_SKILL = 0.1

# Skills of weights that could not be trained tell of the draw, not of the design, so a finding from
# them counts half: at a rate far below the tolerated one (runs with a fault of design and a usual
# rate have 0.03 to 1, the founding shape at 1e-4 has 0.003: tests/traces), with half of the units
# switched off, or with parts that are frozen. So does what stayed near where it began (travel.py).
CRAWLS, DROPS, HALF = 0.01, 0.5, 0.5


@dataclass(frozen=True, eq=False)
class Place:
    """A place that the data pass, what a probe finds there, and from how many numbers."""

    where: str
    skill: float
    features: float
    curve: Signal


@dataclass(frozen=True, eq=False)
class Pool:
    """What is found just before the pooling, just behind it, and in the output."""

    before: Place
    behind: Place
    output: Place

    @property
    def lost(self) -> float:
        """Share of the skill before the pool that it passes on neither to the head nor by it."""
        return lost(self.before, min(self.behind, self.output, key=lambda place: place.skill))


def waterfall(record: Record) -> tuple[Place, ...]:
    """Return the measured places in the order of the data, the output last."""
    found: list[tuple[float, Place]] = []
    for curve in record.places("readout_skill"):
        order = last(record.signal("readout_order", curve.where))
        features = last(record.signal("readout_features", curve.where))
        skill = last(curve)
        if order is not None and features is not None and skill is not None:
            found.append((order, Place(curve.where, skill, features, curve)))
    return tuple(place for _, place in sorted(found, key=lambda pair: pair[0]))


def pool(record: Record) -> Pool | None:
    """Return what is found around the pooling, or None where that was not measured."""
    places = waterfall(record)
    pools = {signal.where for signal in record.places("readout_token_rank")}
    for before, behind in pairwise(places):
        if behind.where in pools:
            return Pool(before, behind, places[-1])
    return None


def lost(before: Place, after: Place) -> float:
    """Return the share of the skill before that is not found after; 0 where there was none."""
    if before.skill < LEAST_SKILL:
        return 0.0
    return 1 - max(0.0, after.skill) / before.skill


def trust(record: Record) -> float:
    """Return what a score from skills is worth: 1, or half where the weights were held back."""
    ratio = last(record.signal("rate_ratio"))
    slow = (ratio is not None and ratio < CRAWLS) or crawls(record)
    paths = ["model.dropout"] + ["model.head_dropout"] * bool(record.setting("model.head_units"))
    dropped = max(record.setting(path, 0.0) for path in paths)
    return HALF if slow or dropped >= DROPS or record.setting("optimizer.frozen") else 1.0


def unread(record: Record) -> float | None:
    """Return the share of what a probe finds in the window that the output does not explain."""
    places = waterfall(record)
    return lost(places[0], places[-1]) if len(places) > 1 else None
