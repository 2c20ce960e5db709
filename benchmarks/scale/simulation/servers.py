"""A database server to load: its own for the occasion, or one that is there; what it has done."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from uuid import uuid4

import psutil
from measuring.servers import private
from sqlalchemy import URL, Connection, create_engine, text
from sqlalchemy.pool import NullPool


@dataclass(frozen=True)
class Server:
    """A server by the URL of a database on it that may create others."""

    url: URL

    @property
    def kind(self) -> str:
        """Which of the engines it is: postgresql or mysql."""
        return self.url.get_backend_name()

    @property
    def version(self) -> str:
        """The server's version, as it tells it."""
        with self.connect() as connection:
            return str(connection.scalar(text("SELECT version()"))).split(" on ")[0]

    @property
    def most_connections(self) -> int:
        """``max_connections``, less what is kept for administrators."""
        query = (
            "SELECT current_setting('max_connections')::int"
            " - current_setting('superuser_reserved_connections')::int"
            if self.kind == "postgresql"
            else "SELECT @@max_connections"
        )
        with self.connect() as connection:
            return int(connection.scalar(text(query)) or 0)

    @contextmanager
    def connect(self, database: str | None = None) -> Iterator[Connection]:
        """Open a connection that commits by itself."""
        url = self.url.set(database=database or self.url.database)
        engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            yield connection

    @contextmanager
    def database(self, template: str = "") -> Iterator[URL]:
        """Make a database, a copy of another one where that is named, and drop it afterwards."""
        name = f"tsdiag_{uuid4().hex[:12]}"
        copied = f" TEMPLATE {template}" if template else ""
        force = " WITH (FORCE)" if self.kind == "postgresql" else ""
        with self.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}{copied}"))
        try:
            yield self.url.set(database=name)
        finally:
            with self.connect() as connection:
                connection.execute(text(f"DROP DATABASE {name}{force}"))

    def usage(self, database: str) -> Usage:
        """Return what the server has done so far, for one database where it tells them apart."""
        seconds = _cpu_seconds(self._process)
        with self.connect(database) as connection:
            if self.kind != "postgresql":
                return _mysql_usage(connection, seconds)
            query = text(_POSTGRES_USAGE)
            found = connection.execute(query, {"name": database}).one()
        return Usage(seconds, *(float(value) for value in found))

    @functools.cached_property
    def _process(self) -> psutil.Process | None:
        """The process that listens at the server's port, where this user may see it."""
        port = self.url.port or {"postgresql": 5432, "mysql": 3306}[self.kind]
        found = {}
        for one in psutil.net_connections("tcp"):
            if one.status == psutil.CONN_LISTEN and one.laddr.port == port and one.pid:
                with suppress(psutil.NoSuchProcess):
                    found[psutil.Process(one.pid).create_time()] = psutil.Process(one.pid)
        # Those that serve a connection have inherited the port from the first one.
        return found[min(found)] if found else None


@dataclass(frozen=True)
class Usage:
    """What a server has done since its start."""

    cpu_seconds: float  # nan where the server's processes are out of sight
    committed: float
    rolled_back: float
    sessions: float
    wal_bytes: float
    stored_bytes: float

    def since(self, before: Usage) -> Usage:
        """Return what was done since then."""
        pairs = zip(astuple(self), astuple(before), strict=True)
        return Usage(*(now - then for now, then in pairs))


# PostgreSQL counts the login of a session as a transaction that was committed.
_POSTGRES_USAGE = """
    SELECT xact_commit - sessions, xact_rollback, sessions,
           (SELECT wal_bytes FROM pg_stat_wal), pg_database_size(datname)
    FROM pg_stat_database WHERE datname = :name
"""


def _mysql_usage(connection: Connection, seconds: float) -> Usage:
    names = ("Com_commit", "Com_rollback", "Connections", "Innodb_os_log_written")
    rows = connection.execute(text("SHOW GLOBAL STATUS")).all()
    told = {row[0]: row[1] for row in rows if row[0] in names}
    stored = connection.scalar(
        text(
            "SELECT SUM(data_length + index_length) FROM information_schema.tables "
            "WHERE table_schema = DATABASE()"
        )
    )
    return Usage(seconds, *(float(told[name]) for name in names), float(stored or 0))


def _cpu_seconds(server: psutil.Process | None) -> float:
    """Return the CPU time of a server and its processes, those that have ended included [s]."""
    if server is None:
        return math.nan
    times = server.cpu_times()
    total = times.user + times.system + times.children_user + times.children_system
    for child in server.children():
        with suppress(psutil.NoSuchProcess):  # ended meanwhile: its parent counts it from now on
            total += child.cpu_times().user + child.cpu_times().system
    return float(total)


@contextmanager
def private_server(kind: str, connections: int = 0) -> Iterator[Server]:
    """Start a server of its own and remove it afterwards; see ``measuring.servers.private``."""
    with private(kind, connections) as server:
        yield Server(server.url)
