"""Leases: which process does what, until when; claimed atomically on every database.

A holder renews its lease while it works. When it dies, the lease runs out, or a process of the
same machine sees at once that the holder is gone.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, select, update
from sqlalchemy.exc import IntegrityError

from tsdiag.errors import StoreError
from tsdiag.store.clock import server_time
from tsdiag.store.database import Store
from tsdiag.store.failures import is_deadlock
from tsdiag.store.owners import is_gone
from tsdiag.store.patience import patient
from tsdiag.store.schema import LEASES

_ATTEMPTS = 5
_LONGEST_PAUSE = 0.5  # between two looks at a lock that others have [s]


@dataclass(frozen=True)
class Lease:
    """A claim on a key; ``live`` is False once it ran out or its process is gone."""

    key: str
    owner: str
    claimed: datetime
    expires: datetime
    live: bool


@patient
def claim(store: Store, key: str, owner: str, seconds: float, *, spare: bool = True) -> bool:
    """Take the lease if it is free, run out, already this owner's, or of a process that is gone.

    After an outage the living are given time to renew what ran out meanwhile, unless told not to
    ``spare`` them: a lock for a moment is not renewed.

    Raises:
        StoreError: the database refused or could not be reached.
    """
    settling = spare and store.patience.is_settling()
    for _ in range(_ATTEMPTS):
        try:
            with store.write() as connection:
                return _take(connection, key, owner, seconds, settling)
        except IntegrityError:  # another process inserted the row first
            return False
        except StoreError as error:
            if not is_deadlock(error):
                raise
    return False


@patient
def renew(store: Store, key: str, owner: str, seconds: float) -> bool:
    """Put off the end of a lease; False where somebody else holds it now, so stop that work."""
    with store.write() as connection:
        expires = server_time(connection) + timedelta(seconds=seconds)
        mine = (LEASES.c.key == key) & (LEASES.c.owner == owner)
        return connection.execute(update(LEASES).where(mine).values(expires=expires)).rowcount == 1


@patient
def release(store: Store, key: str, owner: str) -> bool:
    """Give a lease back; False where it was no longer this owner's."""
    with store.write() as connection:
        mine = (LEASES.c.key == key) & (LEASES.c.owner == owner)
        return connection.execute(delete(LEASES).where(mine)).rowcount == 1


@contextmanager
def held(store: Store, key: str, owner: str, seconds: float = 60) -> Iterator[None]:
    """Do a short thing once at a time over all processes, waiting for those who came first.

    Optuna's first opening of a database is such a thing: two at once and one of them fails.

    Raises:
        StoreError: one holder kept the lease for three times as long as this one asks for.
    """
    first: Lease | None = None
    since, longest, pause = time.monotonic(), 3 * seconds, 0.02
    while not claim(store, key, owner, seconds, spare=False):
        waited = min(time.monotonic() - since, store.patience.since_back())
        if waited > (longest if first else seconds):
            # Where they take turns, or the database was away, nobody is to blame for the time.
            found = holder(store, key)
            if found and first and (found.owner, found.claimed) == (first.owner, first.claimed):
                raise StoreError(
                    f'cannot take the lease "{key}" in {store.url}: {found.owner} had it for '
                    f"{longest:g} s; end that one"
                )
            first, since = found, time.monotonic()
        # Rarely enough that hundreds who wait leave the server to the one that works.
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(1.5 * pause, _LONGEST_PAUSE)
    try:
        yield
    finally:
        release(store, key, owner)


def holder(store: Store, key: str) -> Lease | None:
    """Return the live lease on a key, or None where the key could be claimed."""
    found = [lease for lease in leases(store, key) if lease.key == key and lease.live]
    return found[0] if found else None


@patient
def leases(store: Store, prefix: str = "") -> list[Lease]:
    """Return the leases whose keys begin so, dead ones included, in order of their keys."""
    query = select(LEASES).where(LEASES.c.key.startswith(prefix, autoescape=True))
    with store.read() as connection:
        now = server_time(connection)
        rows = connection.execute(query).all()
    settling = store.patience.is_settling()
    found = [Lease(**row._mapping, live=_is_live(row, now, settling)) for row in rows]
    # SQLite's LIKE ignores case, and collations order differently: both are settled here.
    return sorted((x for x in found if x.key.startswith(prefix)), key=lambda lease: lease.key)


def _take(connection: Connection, key: str, owner: str, seconds: float, settling: bool) -> bool:
    now = server_time(connection)
    expires = now + timedelta(seconds=seconds)
    row = connection.execute(select(LEASES).where(LEASES.c.key == key)).one_or_none()
    if row is None:
        values = {"key": key, "owner": owner, "claimed": now, "expires": expires}
        connection.execute(LEASES.insert().values(**values))
        return True
    if row.owner != owner and _is_live(row, now, settling):
        return False
    # The row is changed only as it was seen: a renewal or another taker in between wins.
    seen = (LEASES.c.key == key) & (LEASES.c.owner == row.owner) & (LEASES.c.expires == row.expires)
    change = update(LEASES).where(seen).values(owner=owner, claimed=now, expires=expires)
    return connection.execute(change).rowcount == 1


def _is_live(row: Row[Any], now: datetime, settling: bool) -> bool:
    return (settling or bool(row.expires > now)) and not is_gone(row.owner)
