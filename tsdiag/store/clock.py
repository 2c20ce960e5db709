"""The time as the database has it: the clocks of the machines that write to it may disagree."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement

from tsdiag.store.database import Store
from tsdiag.store.patience import patient
from tsdiag.store.schema import Utc


class _ServersTime(FunctionElement[datetime]):
    """A moment that the server fills in as it carries the statement out: one for all columns."""

    type = Utc()
    inherit_cache = True


@compiles(_ServersTime, "postgresql")
def _on_postgresql(*_: Any, **__: Any) -> str:
    return "timezone('utc', statement_timestamp())"


@compiles(_ServersTime, "mysql")
@compiles(_ServersTime, "mariadb")
def _on_mysql(*_: Any, **__: Any) -> str:
    return "UTC_TIMESTAMP(6)"


def now(store: Store) -> datetime | _ServersTime:
    """Return what a time column is to be set to: a file's clock is that of this machine."""
    return datetime.now(UTC) if store.engine.dialect.name == "sqlite" else _ServersTime()


def server_time(connection: Connection) -> datetime:
    """Return the time, as the database of a connection has it."""
    if connection.dialect.name == "sqlite":
        return datetime.now(UTC)
    return connection.execute(select(_ServersTime())).scalar_one()


@patient
def read_clock(store: Store) -> datetime:
    """Return the time, to be kept elsewhere than in a column of its own.

    Raises:
        StoreError: the database could not be reached.
    """
    with store.read() as connection:
        return server_time(connection)
