"""One database, opened: SQLite, PostgreSQL or MySQL/MariaDB, migrated, with short transactions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, update
from sqlalchemy.exc import IntegrityError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from tsdiag.errors import StoreError, redact
from tsdiag.store.failures import told
from tsdiag.store.migrations import applied, is_current, migrate
from tsdiag.store.patience import Patience
from tsdiag.store.tls import share_context
from tsdiag.store.urls import check_file, parse

# SQLite waits so long for another process's write [s]. A server that vanishes without a word is
# noticed within half a minute or so [s, ms]; the longest of our statements takes seconds.
_TIMEOUTS: dict[str, dict[str, int]] = {
    "sqlite": {"timeout": 30},
    "postgresql": {
        "connect_timeout": 10,
        "keepalives_idle": 15,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
    },
    "mysql": {"connect_timeout": 10, "read_timeout": 60, "write_timeout": 60},
}
_EXTRAS = {"psycopg": "postgres", "pymysql": "mysql"}


@dataclass(frozen=True)
class Store:
    """An opened database; it holds no connection between two calls, so it survives a fork."""

    url: str  # password hidden
    engine: Engine = field(repr=False)
    read_only: bool = False
    patience: Patience = field(default_factory=Patience, repr=False, compare=False)

    @property
    def full_url(self) -> str:
        """The URL with its password, for opening the same database by another library."""
        return self.engine.url.render_as_string(hide_password=False)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open one consistent view.

        Raises:
            StoreError: the database refused or could not be reached.
        """
        with told(self.url, "read"), self.engine.connect() as connection, _legible(self.url):
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that is committed at the end, or undone by an exception.

        Raises:
            StoreError: the database refused or could not be reached.
        """
        if self.read_only:
            raise StoreError(f"cannot write {self.url}: opened for reading; open it for writing")
        with told(self.url, "write"), self.engine.connect() as connection:
            # SQLite: a transaction that begins with a read and then writes can die of another's
            # write in between, whatever the busy timeout; so the lock is taken at once.
            connection.execution_options(sqlite_begin="BEGIN IMMEDIATE")
            with connection.begin():
                yield connection

    def put(self, table: Table, values: Mapping[str, object]) -> None:
        """Write the one row that a table has of a run, ``values["run"]``, in place of an older one.

        Raises:
            StoreError: the database refused or could not be reached.
        """
        change = update(table).where(table.c.run == values["run"]).values(**values)
        try:
            with self.write() as connection:
                if connection.execute(change).rowcount == 0:
                    connection.execute(table.insert().values(**values))
        except IntegrityError:  # another process wrote it in between
            with self.write() as connection:
                connection.execute(change)


def open_store(url: str, *, read_only: bool = False, patience: Patience | None = None) -> Store:
    """Open a database, creating or updating tsdiag's tables in it.

    ``read_only`` creates no database and no first tables, and refuses later writes; an older
    schema is still brought up to date, since nothing could be read from it otherwise. What is done
    with the store waits for a database that is away as ``patience`` says; without it, not at all.

    Raises:
        StoreError: there is none to read, it cannot be reached, or a newer tsdiag made it.
    """
    parsed, shown = parse(url), redact(url)
    check_file(parsed, shown, must_exist=read_only)
    engine, patience = _engine(parsed, shown), patience or Patience()
    patience(lambda: _make_ready(engine, shown, read_only))
    return Store(shown, engine, read_only, patience)


def _make_ready(engine: Engine, shown: str, read_only: bool) -> None:
    with told(shown, "open"):
        names = _applied(engine, shown)
        if read_only and not names:
            raise StoreError(
                f"no study at {shown}; run tsdiag search or prepare first, or name another one"
            )
        if not is_current(names, shown):
            migrate(engine, shown)


@contextmanager
def _legible(shown: str) -> Iterator[None]:
    """Turn what SQLAlchemy complains about in a damaged cell into a StoreError."""
    try:
        yield
    except (ValueError, TypeError) as error:  # such as a time that is none
        raise StoreError(
            f"cannot read {shown}: {error}; the database is damaged: restore it from a copy"
        ) from error


def _applied(engine: Engine, shown: str) -> list[str]:
    try:
        with engine.connect() as connection:
            return applied(connection)
    except TypeError as error:  # how PyMySQL answers to an option it does not know
        raise StoreError(f"cannot open {shown}: {error}; check what follows the ?") from error


def timeouts(url: URL) -> dict[str, int]:
    """Return what a driver is told about waiting, as far as the URL does not say it."""
    known = _TIMEOUTS.get(url.get_backend_name(), {})
    return {option: value for option, value in known.items() if option not in url.query}


def _engine(url: URL, shown: str) -> Engine:
    arguments: dict[str, Any] = {"poolclass": NullPool, "connect_args": timeouts(url)}
    if url.get_backend_name() == "mysql":
        # MySQL's default locks the gaps between rows too, and two inserts end in a deadlock.
        arguments["isolation_level"] = "READ COMMITTED"
    try:
        engine = create_engine(url, **arguments)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(error.name or "", "")
        do = f'pip install "tsdiag[{extra}]"' if extra else f"pip install {error.name}"
        raise StoreError(f"cannot open {shown}: no driver {error.name}; install it: {do}") from None
    except NoSuchModuleError:
        raise StoreError(
            f"cannot open {shown}: no driver {url.drivername}; leave out the + and what follows"
        ) from None
    share_context(engine)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _own_transactions)
        event.listen(engine, "begin", _begin)
    return engine


def _own_transactions(connection: Any, _: Any) -> None:
    # Python's sqlite3 would begin transactions by itself, late and deferred.
    connection.isolation_level = None
    # With WAL, NORMAL survives a killed process; only a power cut can take the last commits.
    connection.execute("PRAGMA synchronous=NORMAL")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))
