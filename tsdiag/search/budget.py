"""Time: one end of it for all workers, and how long to search so that the final runs still fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select

from tsdiag.compare.finals import FINALISTS
from tsdiag.store.clock import server_time
from tsdiag.store.database import Store
from tsdiag.store.leases import leases
from tsdiag.store.patience import patient
from tsdiag.store.schema import STUDIES
from tsdiag.store.tally import Reached, reached
from tsdiag.uptime import uptime

# Attribute of a study: when its time is over, by the database's clock.
UNTIL = "until"
# Keys of what is held for a moment, beside a trial or by who only looks.
_LOCKS = ("/ask", "/verdict")
# Final runs take longer than the trials did on a machine that is busy with all workers at once.
_MARGIN = 1.15
# Scoring the test span and computing the verdict [s].
_SCORING = 10.0
# However dear the final runs are, at least this share of the time is for searching.
_LEAST_SEARCH = 0.4


def others_at_work(store: Store, name: str) -> int:
    """Return how many processes are at a trial, a final run or the floors of a study."""
    at_work = [lease for lease in leases(store, f"{name}/") if lease.live]
    return len({lease.owner for lease in at_work if not lease.key.endswith(_LOCKS)})


@patient
def join(store: Store, name: str, seconds: float | None, *, anew: bool = False) -> float:
    """Return the uptime() at which a study's time is over; ``inf`` without a limit.

    Whoever comes first begins it; others share what is left of it. ``anew`` begins it once more,
    as a person does who asks for a search of so long.
    """
    if seconds is None:
        return math.inf
    query = select(STUDIES.c.attributes).where(STUDIES.c.name == name).with_for_update()
    with store.write() as connection:
        now = server_time(connection)
        attributes = connection.scalar(query) or {}
        until = now + timedelta(seconds=seconds)
        if UNTIL in attributes and not anew:
            until = datetime.fromisoformat(attributes[UNTIL])
        else:
            changed = STUDIES.update().where(STUDIES.c.name == name)
            told = {**attributes, UNTIL: until.isoformat()}
            connection.execute(changed.values(attributes=told))
    # What is left is passed on, not the moment: this machine's clock may be wrong.
    return uptime() + (until - now).total_seconds()


def search_deadline(
    store: Store, study: str, started: float, deadline: float, final_seeds: int, workers: int
) -> float:
    """Return the uptime() at which searching ends; ``inf`` without a timeout."""
    if math.isinf(deadline):
        return deadline
    baseline, best = reached(store, study, FINALISTS)
    reserve = final_seconds(baseline, best, final_seeds, workers) * _MARGIN + _SCORING
    return max(deadline - reserve, started + _LEAST_SEARCH * (deadline - started))


def final_seconds(
    baseline: Reached, best: Sequence[Reached], final_seeds: int, workers: int
) -> float:
    """Return an estimate of the wall clock of the final runs, from what trials took [s]."""
    each = baseline.seconds + sum(trial.seconds for trial in best)
    return each * final_seeds / workers


def is_over(deadline: float) -> bool:
    """Tell whether a uptime() has passed."""
    return uptime() > deadline
