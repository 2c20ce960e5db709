"""A fresh database of each kind; the two servers only where their URLs are given."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from tsdiag.store.database import Store, open_store
from tsdiag.store.schema import METADATA
from tsdiag.store.urls import parse

SERVERS = {"postgresql": "TSDIAG_TEST_POSTGRES_URL", "mysql": "TSDIAG_TEST_MYSQL_URL"}
PROCESS = Path(__file__).with_name("process.py")


def pytest_terminal_summary(terminalreporter) -> None:
    for database, variable in SERVERS.items():
        if not os.environ.get(variable):
            terminalreporter.write_line(f"not tested on {database}: {variable} is not set")


@pytest.fixture(scope="session")
def server_url() -> Iterator[Callable[[str], str]]:
    """Of a kind of server, the URL of a new database on it, dropped after the tests."""
    with contextlib.ExitStack() as made:
        yield functools.cache(lambda kind: made.enter_context(_new_database(kind)))


@contextlib.contextmanager
def _new_database(kind: str) -> Iterator[str]:
    variable = SERVERS[kind]
    if not os.environ.get(variable):
        pytest.skip(f"{variable} is not set")
    url = parse(os.environ[variable])
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    name = f"tsdiag_{uuid.uuid4().hex[:12]}"
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield url.set(database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name}"))
        admin.dispose()


@pytest.fixture(params=["sqlite", *SERVERS])
def url(request, tmp_path, server_url) -> Iterator[str]:
    """The URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/tsdiag.db"
        return
    found = server_url(request.param)
    yield found
    engine = create_engine(make_url(found))
    METADATA.drop_all(engine)
    engine.dispose()


@pytest.fixture
def store(url) -> Store:
    return open_store(url)


@pytest.fixture
def sqlite_store(tmp_path) -> Store:
    return open_store(f"sqlite:///{tmp_path}/tsdiag.db")


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start ``process.py`` with arguments; what still runs after the test is killed."""
    running: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(PROCESS), *arguments]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        running.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield begin
    for process in running:
        process.kill()
        process.communicate()
