"""Named migrations, applied once and in order, safe when several processes start at once.

To change the schema: change ``schema.py``, append ``(name, function)`` to MIGRATIONS and add the
database of that level to the tests. Each function must be harmless where its work is already
done: new databases get the tables of today from the first migration, and MySQL cannot undo half
a migration.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, Connection, Engine, Index, Table, inspect, select, text
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.schema import CreateColumn

from tsdiag.errors import StoreError
from tsdiag.store.schema import CURVES, FINDINGS, INTERVENTIONS, LEASES, RUNS, SCHEMA, STUDIES

WAIT = 30  # [s] for another process's migration
_LOCK = 0x7473_6469_6167  # "tsdiag", the number of our advisory lock in PostgreSQL


def create(connection: Connection, *tables: Table) -> None:
    """Create the tables that are missing."""
    for table in tables:
        table.create(connection, checkfirst=True)


def add_column(connection: Connection, column: Column[Any]) -> None:
    """Add a column of ``schema.py`` to an older table that lacks it; it must allow NULL."""
    table = column.table.name
    if column.name in {found["name"] for found in inspect(connection).get_columns(table)}:
        return
    definition = CreateColumn(column).compile(dialect=connection.dialect)
    connection.execute(text(f"ALTER TABLE {table} ADD COLUMN {definition}"))


def add_index(connection: Connection, index: Index) -> None:
    """Add an index of ``schema.py`` to an older table that lacks it."""
    assert index.table is not None
    if index.name not in {
        found["name"] for found in inspect(connection).get_indexes(index.table.name)
    }:
        index.create(connection)


def _first_tables(connection: Connection) -> None:
    create(connection, STUDIES, RUNS, CURVES, LEASES)


def _findings(connection: Connection) -> None:
    create(connection, FINDINGS)


def _interventions(connection: Connection) -> None:
    create(connection, INTERVENTIONS)
    add_column(connection, RUNS.c.origin)


def _run_indices(connection: Connection) -> None:
    for index in sorted(RUNS.indexes, key=lambda index: str(index.name)):
        add_index(connection, index)


MIGRATIONS: tuple[tuple[str, Callable[[Connection], None]], ...] = (
    ("first-tables", _first_tables),
    ("findings", _findings),
    ("interventions", _interventions),
    ("run-indices", _run_indices),
)


def applied(connection: Connection) -> list[str]:
    """Return the names of the migrations that a database has: one query where it has any."""
    query = select(SCHEMA.c.name).order_by(SCHEMA.c.version)
    try:
        return list(connection.scalars(query))
    except (OperationalError, ProgrammingError):
        connection.rollback()
        if not inspect(connection).has_table(SCHEMA.name):
            return []
        # Another process made it since. Anything else fails again and is the caller's to tell.
        return list(connection.scalars(query))


def is_current(names: Sequence[str], shown: str) -> bool:
    """Say whether nothing is left to apply.

    Raises:
        StoreError: a newer tsdiag made this database.
    """
    known = [name for name, _ in MIGRATIONS]
    if list(names) != known[: len(names)]:
        newest = names[-1]
        raise StoreError(
            f'cannot use {shown}: a newer tsdiag made it (schema {len(names)}, "{newest}"), '
            f'this one knows {len(known)}; upgrade with: pip install -U "tsdiag"'
        )
    return len(names) == len(known)


def migrate(engine: Engine, shown: str) -> None:
    """Bring a new or older database up to date, while no other process does.

    Raises:
        StoreError: a newer tsdiag made this database, or another process holds it too long.
    """
    if engine.dialect.name == "sqlite":
        _write_ahead(engine)
    with _alone(engine, shown) as connection:
        create(connection, SCHEMA)
        names = applied(connection)
        # Another process may have been first while this one waited for its turn.
        if is_current(names, shown):
            return
        for version, (name, change) in enumerate(MIGRATIONS, start=1):
            if version > len(names):
                change(connection)
                row = {"version": version, "name": name, "applied": datetime.now(UTC)}
                connection.execute(SCHEMA.insert().values(row))


@contextmanager
def _alone(engine: Engine, shown: str) -> Iterator[Connection]:
    """Open a transaction that only one process can have; each database has its own lock for it."""
    with engine.connect() as connection:
        connection.execution_options(sqlite_begin="BEGIN IMMEDIATE")
        with connection.begin():
            if engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
            # MySQL's lock ends with the connection, so after the commit.
            if engine.dialect.name == "mysql":
                query = text("SELECT GET_LOCK(LEFT(CONCAT('tsdiag ', DATABASE()), 64), :seconds)")
                if connection.scalar(query, {"seconds": WAIT}) != 1:
                    raise StoreError(
                        f"cannot migrate {shown}: another process has been at it for {WAIT} s; "
                        "wait for it, or end it, and try again"
                    )
            yield connection


def _write_ahead(engine: Engine) -> None:
    """Switch an SQLite file to WAL, for good: readers and a writer no longer wait on each other.

    The busy timeout does not cover this switch, so that two first starts need a loop. A file
    system without shared memory keeps the old journal, which is slower and correct.
    """
    deadline = time.monotonic() + WAIT
    raw = engine.raw_connection()
    try:
        while True:
            try:
                raw.cursor().execute("PRAGMA journal_mode=WAL")
                return
            except engine.dialect.loaded_dbapi.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise OperationalError("PRAGMA journal_mode=WAL", None, error) from error
                time.sleep(0.02)
    finally:
        raw.close()
