"""A fresh database of each kind; the two servers only where their URLs are given."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from tests.servers import SERVERS, new_database
from tsdiag.store.database import Store, open_store
from tsdiag.store.schema import METADATA

PROCESS = Path(__file__).with_name("process.py")


def pytest_terminal_summary(terminalreporter) -> None:
    for database, variable in SERVERS.items():
        if not os.environ.get(variable):
            terminalreporter.write_line(f"not tested on {database}: {variable} is not set")


@pytest.fixture(scope="session")
def server_url() -> Iterator[Callable[[str], str]]:
    """Of a kind of server, the URL of a new database on it, dropped after the tests."""
    with contextlib.ExitStack() as made:
        yield functools.cache(
            lambda kind: made.enter_context(new_database(kind)).render_as_string(False)
        )


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
