"""New databases on the real servers, where their URLs are given."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator

import pytest
from sqlalchemy import URL, Dialect, create_engine, text

from tsdiag.store.urls import parse

SERVERS = {"postgresql": "TSDIAG_TEST_POSTGRES_URL", "mysql": "TSDIAG_TEST_MYSQL_URL"}
_LOST: dict[str, tuple[object, ...]] = {
    "sqlite": ("database is locked",),
    "postgresql": ("consuming input failed: server closed the connection unexpectedly",),
    "mysql": (2013, "Lost connection to MySQL server during query"),
}


def lost(dialect: Dialect) -> Exception:
    """Return what a driver says when a connection breaks off."""
    return dialect.loaded_dbapi.OperationalError(*_LOST[dialect.name])


@contextlib.contextmanager
def new_database(kind: str) -> Iterator[URL]:
    """Give a new database on a kind of server, and drop it afterwards."""
    variable = SERVERS[kind]
    if not os.environ.get(variable):
        pytest.skip(f"{variable} is not set")
    url = parse(os.environ[variable])
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    name = f"tsdiag_{uuid.uuid4().hex[:12]}"
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    # A process that a test has killed may still be connected.
    force = " WITH (FORCE)" if kind == "postgresql" else ""
    try:
        yield url.set(database=name)
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name}{force}"))
        admin.dispose()
