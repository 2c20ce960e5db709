"""What happens to the workers and the database, in which order: all of it from one seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

# How many of each in the long form: as asked of it, and a few more.
LONG = {"kill": 52, "preempt": 10, "stop": 8, "outage": 6, "full": 3}
SHORT = {"kill": 5, "preempt": 1, "stop": 1, "outage": 1, "full": 1}
# Those that befall everybody are spread evenly, or two of them would fall together.
_SPREAD = ("outage", "full")
_FIRST, _LAST = 0.02, 0.97
# The final runs are the last hundredth of a study; some of what hits a worker waits for them.
_IN_FINALS = 0.06


@dataclass(frozen=True)
class Event:
    """One thing that happens, when a share of the study is done."""

    at: float
    kind: str
    seconds: float  # how long it lasts
    pick: float  # which worker, or in which way, as a share of those there are
    idle: bool = False  # also a worker that is not at a run may be hit


def plan(rng: random.Random, counts: dict[str, int], lease: float, finals: float) -> list[Event]:
    """Return all events in order; ``finals`` is the share of a study where its final runs begin."""
    events = []
    for kind, count in counts.items():
        for number in range(count):
            seconds = {"stop": lease * rng.uniform(1.5, 2.5), "outage": rng.uniform(2, 6)}
            at = _when(rng, kind, number, count, finals)
            events.append(
                Event(
                    at=at,
                    kind=kind,
                    seconds=seconds.get(kind, rng.uniform(2, 5)),
                    pick=rng.random(),
                    idle=rng.random() < 0.2,
                )
            )
    return sorted(events, key=lambda event: event.at)


def _when(rng: random.Random, kind: str, number: int, count: int, finals: float) -> float:
    if kind in _SPREAD:
        return _FIRST + (_LAST - _FIRST) * (number + rng.uniform(0.2, 0.8)) / count
    if count > 1 and number < _IN_FINALS * count:
        return rng.uniform(finals, (1 + finals) / 2)
    return rng.uniform(_FIRST, _LAST)
