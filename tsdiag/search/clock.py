"""A study's time: one end of it for all workers, whichever machine they are on."""

from __future__ import annotations

import math
import time
from datetime import datetime, timedelta

from sqlalchemy import select

from tsdiag.store.clock import server_time
from tsdiag.store.database import Store
from tsdiag.store.leases import leases
from tsdiag.store.patience import patient
from tsdiag.store.schema import STUDIES

# Attribute of a study: when its time is over, by the database's clock.
UNTIL = "until"


def others_at_work(store: Store, name: str) -> int:
    """Return how many processes are at a trial, a final run or the floors of a study."""
    return len({lease.owner for lease in leases(store, f"{name}/") if lease.live})


@patient
def join(store: Store, name: str, seconds: float | None, *, anew: bool = False) -> float:
    """Return the time.time() at which a study's time is over; ``inf`` without a limit.

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
    return time.time() + (until - now).total_seconds()
