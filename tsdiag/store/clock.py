"""The database's clock, by which times of different machines can be compared."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, func, select, text

from tsdiag.errors import StoreError


def server_time(connection: Connection) -> datetime:
    """Return the server's time where there is a server: clocks of workers may disagree."""
    match connection.dialect.name:
        case "postgresql":
            now = connection.scalar(select(func.timezone("utc", func.clock_timestamp())))
        case "mysql":
            now = connection.scalar(text("SELECT UTC_TIMESTAMP(6)"))
        case _:
            return datetime.now(UTC)
    if not isinstance(now, datetime):
        raise StoreError(f"the server's clock says {now!r}; a time was expected; report this")
    return now.replace(tzinfo=UTC)
