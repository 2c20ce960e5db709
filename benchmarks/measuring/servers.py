"""Database servers of a benchmark's own, which may be loaded, stopped or killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

_START = 60.0  # recovery after a crash takes a second or two [s]


class Server(ABC):
    """A database server at a URL that goes away, in one of several ways, and comes back."""

    # In the order of how gently it goes.
    ways: tuple[str, ...]

    def __init__(self, url: URL) -> None:
        self.url = url

    @abstractmethod
    def go(self, way: str) -> None:
        """Go away."""

    @abstractmethod
    def come(self) -> None:
        """Come back, with all that was committed."""


class PostgreSQL(Server):
    """A cluster of its own in a folder of its own, by initdb and pg_ctl."""

    ways = ("fast", "immediate")

    def __init__(self, folder: Path, connections: int) -> None:
        port = free_port()
        super().__init__(URL.create("postgresql+psycopg", "postgres", None, "127.0.0.1", port))
        self._folder, self._programs = folder, programs("initdb", "/usr/lib/postgresql/*/bin")
        self._user = "postgres" if os.geteuid() == 0 else None
        give(folder, self._user)
        self._run("initdb", "--username=postgres", "--auth=trust", "--no-instructions")
        settings = f"port = {port}\nunix_socket_directories = ''\n"
        settings += f"max_connections = {connections}\n" if connections else ""
        with (folder / "postgresql.conf").open("a") as file:
            file.write(settings)

    def go(self, way: str) -> None:
        """Stop; "immediate" leaves the log to be replayed at the next start, as a crash does."""
        self._run("pg_ctl", "stop", "-m", way)

    def come(self) -> None:
        """Start and wait until it answers."""
        log = self._folder / "server.log"
        self._run("pg_ctl", "start", "-w", "-t", f"{_START:g}", "-l", str(log))

    def _run(self, program: str, *words: str) -> None:
        command = [self._programs / program, "-D", self._folder, *words]
        run(command, self._folder, self._user)


class MariaDB(Server):
    """A data directory of its own, by mariadb-install-db and mariadbd."""

    ways = ("SIGTERM", "SIGKILL")

    def __init__(self, folder: Path, connections: int) -> None:
        port = free_port()
        super().__init__(URL.create("mysql+pymysql", "root", None, "127.0.0.1", port))
        self._folder, self._user = folder, "mysql" if os.geteuid() == 0 else None
        give(folder, self._user)
        install = programs("mariadb-install-db", "/usr/bin") / "mariadb-install-db"
        common = ("--no-defaults", f"--datadir={folder}")
        how = ("--auth-root-authentication-method=normal", "--skip-test-db")
        run([install, *common, *how], folder, self._user)
        socket_file, errors = folder / "socket", folder / "server.log"
        self._command = [
            *(programs("mariadbd", "/usr/sbin") / "mariadbd", *common, f"--port={port}"),
            *("--bind-address=127.0.0.1", "--skip-name-resolve"),
            *(f"--socket={socket_file}", f"--log-error={errors}"),
            *([f"--max-connections={connections}"] if connections else []),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def go(self, way: str) -> None:
        """End the server process: asked to, or killed, which its log repairs at the next start."""
        if self._process is not None:
            self._process.send_signal(signal.Signals[way])
            self._process.wait(_START)
            self._process = None

    def come(self) -> None:
        """Start and wait until it answers."""
        self._process = subprocess.Popen(
            self._command,
            cwd=self._folder,
            user=self._user,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for_answer(self.url)


@contextlib.contextmanager
def private(kind: str, connections: int = 0) -> Iterator[Server]:
    """Start a private server with an empty database, and remove both at the end.

    ``connections`` is its ``max_connections``; 0 leaves it as it comes.

    Raises:
        FileNotFoundError: its programs are not installed here.
    """
    server_of = {"postgresql": PostgreSQL, "mysql": MariaDB, "mariadb": MariaDB}[kind]
    with tempfile.TemporaryDirectory(prefix="tsdiag-server-") as name:
        above = Path(name)
        above.chmod(0o755)  # the server's own user must be able to enter it
        folder = above / "data"
        folder.mkdir(mode=0o700)
        server = server_of(folder, connections)
        try:
            server.come()
            server.url = make_database(server.url, "benchmark")
            yield server
        finally:
            with contextlib.suppress(RuntimeError):  # it is away already
                server.go(server.ways[0])


def make_database(url: URL, name: str) -> URL:
    """Make a database on a server."""
    _administer(url, f"CREATE DATABASE {name}")
    return url.set(database=name)


def drop_database(url: URL, name: str) -> None:
    """Drop a database, whoever is still connected to it."""
    force = " WITH (FORCE)" if kind(url) == "postgresql" else ""
    _administer(url, f"DROP DATABASE {name}{force}")


def _administer(url: URL, statement: str) -> None:
    neutral = {"postgresql": "postgres", "mysql": "mysql"}[kind(url)]
    admin = create_engine(url.set(database=neutral), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(statement))
    admin.dispose()


def kind(url: URL) -> str:
    """Return "postgresql" or "mysql"."""
    return url.get_backend_name()


def programs(name: str, usual: str) -> Path:
    """Return the folder of a server's programs, which is often not on the PATH: the newest.

    Raises:
        FileNotFoundError: they are not installed here.
    """
    on_path = shutil.which(name)
    pattern = Path(usual)
    found = sorted(pattern.parent.parent.glob(f"{pattern.parent.name}/{pattern.name}/{name}"))
    found += [Path(on_path).resolve()] if on_path else []
    if not found:
        raise FileNotFoundError(f"start a private server: no {name} in {usual}; install it")
    return found[-1].parent


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def give(folder: Path, user: str | None) -> None:
    """Make a folder a user's own: database servers refuse to be run by root."""
    if user is not None:
        shutil.chown(folder, user, user)


def run(command: list[str | Path], folder: Path, user: str | None) -> None:
    """Run a server's program as its user, and say what it said if it fails.

    A file takes what it says: a server that it starts would hold a pipe open.
    """
    with tempfile.TemporaryFile() as said:
        found = subprocess.run(
            command,
            cwd=folder,
            user=user,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            check=False,
        )
        said.seek(0)
        if found.returncode:
            words = said.read().decode(errors="replace")
            raise RuntimeError(f"{' '.join(map(str, command))}: {words}")


def wait_for_answer(url: URL) -> None:
    """Wait until a server takes connections."""
    engine = create_engine(make_url(url).set(database=None), poolclass=NullPool)
    end = time.monotonic() + _START
    while True:
        try:
            engine.connect().close()
        except OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return
