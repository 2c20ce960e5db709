"""How many connections a worker has open at most, and what is said of them beforehand."""

import uuid
from contextlib import ExitStack

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.pool import NullPool

from tests.servers import SERVERS, new_database
from tsdiag.search.conduct import prepare
from tsdiag.search.connections import MOST, Connections, connections, connections_line
from tsdiag.search.interruption import Interruption
from tsdiag.search.spec import read_spec
from tsdiag.search.worker import Place, Worker
from tsdiag.store.database import Store, open_store


@pytest.fixture(params=SERVERS)
def served(request):
    """A store on a server's new database."""
    with new_database(request.param) as url:
        yield open_store(url.render_as_string(hide_password=False))


@pytest.fixture
def most_open():
    """Count the connections that are open, over all engines, and return the most at once."""
    now, most = set(), [0]

    def opened(connection, record):
        now.add(id(record))
        most[0] = max(most[0], len(now))

    def closed(connection, record):
        now.discard(id(record))

    event.listen(Engine, "connect", opened)
    event.listen(Engine, "close", closed)
    yield lambda: most[0]
    event.remove(Engine, "connect", opened)
    event.remove(Engine, "close", closed)


def test_a_worker_has_no_more_than_is_said(served, write_study, tmp_path, monkeypatch, most_open):
    monkeypatch.setenv("TSDIAG_ARTIFACTS", str(tmp_path / "artifacts"))
    prepare(served, read_spec(write_study(("trials = 3", "trials = 1"))))
    Worker(served, "tiny", Place(device="cpu"), Interruption()).work()
    assert most_open() == MOST


def test_a_server_is_asked(served):
    found = connections(served)
    assert found.allowed > 10
    assert found.used > 0


@pytest.fixture
def ordinary():
    """A PostgreSQL server as an ordinary role sees it, and as the role that made that one."""
    role = f"tsdiag_{uuid.uuid4().hex[:12]}"
    with new_database("postgresql") as url:
        admin = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with admin.connect() as connection:
            connection.execute(text(f"CREATE ROLE {role} LOGIN"))
        engine = create_engine(url.set(username=role, password=None), poolclass=NullPool)
        yield Store("here", engine), Store("here", admin)
        with admin.connect() as connection:
            connection.execute(text(f"DROP ROLE {role}"))


def test_an_ordinary_role_is_told_of_the_others_sessions(ordinary):
    store, admin = ordinary
    with ExitStack() as opened:
        for _ in range(5):
            opened.enter_context(admin.engine.connect())
        found = connections(store)
    assert found.used >= 6
    assert found.allowed == connections(admin).allowed


def test_of_a_file_there_is_nothing_to_say(store):
    assert connections(store) is None


def test_what_is_said():
    room = Connections(allowed=97, used=3)
    assert connections_line(room, 8, 1) == (
        "connections: 8 workers x at most 2 at once (and 1 for this command), 97 allowed by the "
        "server, 3 in use now"
    )
    crowded = connections_line(room, 60, 1)
    assert "too many at once" in crowded
    assert "max_connections" in crowded
