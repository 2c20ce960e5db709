"""A database server to load: its own for the occasion, or one that is there; what it has done."""

from __future__ import annotations

import functools
import math
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from uuid import uuid4

import psutil
from sqlalchemy import URL, Connection, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from tsdiag.store.urls import parse

_ADMINS = {"postgresql": "postgres", "mysql": "mysql"}
_START = 60.0  # [s] within which a server must answer


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


_POSTGRES_USAGE = """
    SELECT xact_commit, xact_rollback, sessions,
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
    """Start a server of its own in a temporary folder, and remove both afterwards.

    ``connections`` is its ``max_connections``; 0 leaves it as it comes.
    """
    folder = Path(tempfile.mkdtemp(prefix="tsdiag-scale-"))
    user = _ADMINS[kind]
    try:
        if os.getuid() == 0:  # neither server runs as root
            shutil.chown(folder, user)
        begin = _begin_postgres if kind == "postgresql" else _begin_mariadb
        url, process = begin(folder, user, connections)
        try:
            server = Server(url)
            _wait_until_ready(server, process)
            yield server
        finally:
            process.send_signal(signal.SIGINT if kind == "postgresql" else signal.SIGTERM)
            process.wait(60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _begin_postgres(
    folder: Path, user: str, connections: int
) -> tuple[URL, subprocess.Popen[bytes]]:
    (binaries, *_) = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True) or [Path()]
    port = _free_port()
    with (folder / "log").open("wb") as log:
        run = [str(binaries / "initdb"), "-D", str(folder / "data"), "-U", user, "-A", "trust"]
        subprocess.run([*_as(user), *run], check=True, stdout=log, stderr=log, cwd=folder)
        serve = [str(binaries / "postgres"), "-D", str(folder / "data"), "-p", str(port)]
        serve += ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"]
        serve += ["-c", f"max_connections={connections}"] if connections else []
        process = subprocess.Popen([*_as(user), *serve], stdout=log, stderr=log, cwd=folder)
    return parse(f"postgresql://{user}@127.0.0.1:{port}/postgres"), process


def _begin_mariadb(
    folder: Path, user: str, connections: int
) -> tuple[URL, subprocess.Popen[bytes]]:
    port, data = _free_port(), f"--datadir={folder / 'data'}"
    with (folder / "log").open("wb") as log:
        run = ["mariadb-install-db", "--no-defaults", data]
        run += ["--auth-root-authentication-method=normal"]
        subprocess.run([*_as(user), *run], check=True, stdout=log, stderr=log, cwd=folder)
        serve = ["mariadbd", "--no-defaults", data, f"--port={port}", "--bind-address=127.0.0.1"]
        serve += [f"--socket={folder / 'socket'}", f"--pid-file={folder / 'pid'}"]
        serve += [f"--max-connections={connections}"] if connections else []
        process = subprocess.Popen([*_as(user), *serve], stdout=log, stderr=log, cwd=folder)
    return parse(f"mysql://root@127.0.0.1:{port}/mysql"), process


def _as(user: str) -> list[str]:
    """Return what runs a command as a user, replacing itself so that signals arrive."""
    if os.getuid() != 0:
        return []
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _wait_until_ready(server: Server, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START
    while True:
        try:
            with server.connect():
                return
        except OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
