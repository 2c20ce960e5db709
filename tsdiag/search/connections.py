"""Connections that a study's processes use, against those that the server allows."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text

from tsdiag.store.database import Store
from tsdiag.store.patience import patient

# Of one process: it opens one for each transaction and closes it, so most of the time none. Optuna
# opens two while it looks at its tables at the start, and a worker that is asked to stop may hand
# its trial back while a statement is under way.
MOST = 2


@dataclass(frozen=True)
class Connections:
    """How many a server allows its users at once, and how many there are now."""

    allowed: int
    used: int


@patient
def connections(store: Store) -> Connections | None:
    """Return a server's connections; None of SQLite, which has none to count."""
    kind = store.engine.dialect.name
    if kind not in ("postgresql", "mysql"):
        return None
    with store.read() as connection:
        return _postgresql(connection) if kind == "postgresql" else _mysql(connection)


def _postgresql(connection: Connection) -> Connections:
    # reserved_connections is there from PostgreSQL 16 on. What kind of session another role has, an
    # ordinary role is not told, only how many of them a database has.
    query = (
        "SELECT current_setting('max_connections')::int"
        " - current_setting('superuser_reserved_connections')::int"
        " - coalesce(current_setting('reserved_connections', true), '0')::int,"
        " (SELECT sum(numbackends) FROM pg_stat_database)"
    )
    allowed, used = connection.execute(text(query)).one()
    return Connections(int(allowed), int(used))


def _mysql(connection: Connection) -> Connections:
    allowed = connection.scalar(text("SELECT @@max_connections"))
    status = connection.execute(text("SHOW GLOBAL STATUS LIKE 'Threads_connected'")).one()
    return Connections(int(allowed or 0), int(status[1]))


def connections_line(found: Connections, workers: int, others: int) -> str:
    """Say what the workers of this machine may add to what others use already."""
    processes = f"{workers} worker{'s' if workers != 1 else ''}"
    most = (workers + others) * MOST
    line = (
        f"connections: {processes} x at most {MOST} at once"
        + (f" (and {others} for this command)" if others else "")
        + f", {found.allowed} allowed by the server, {found.used} in use now"
    )
    if found.used + most <= found.allowed:
        return line
    return (
        f"{line}; that may be too many at once: workers wait for each other then. Raise "
        "max_connections"
    )
