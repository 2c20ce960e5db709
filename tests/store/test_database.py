from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.engine import make_url

from tsdiag.errors import StoreError
from tsdiag.store import database
from tsdiag.store.database import open_store
from tsdiag.store.schema import SCHEMA
from tsdiag.store.studies import load_study, save_study


def refused(url, **how) -> str:
    with pytest.raises(StoreError) as caught:
        open_store(url, **how)
    return str(caught.value)


def test_a_missing_folder_and_a_folder_are_told(tmp_path):
    message = refused(f"sqlite:///{tmp_path}/not/there.db")
    assert f'no folder "{tmp_path}/not"; create it first' in message
    assert "it is a folder" in refused(f"sqlite:///{tmp_path}")


def test_a_file_of_another_kind_is_told_and_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a database at all, but long enough to have a header" * 40)
    before = path.read_bytes()
    for read_only in (False, True):
        message = refused(f"sqlite:///{path}", read_only=read_only)
        assert message.startswith(f"cannot open sqlite:///{path}: file is not a database; ")
    assert path.read_bytes() == before


def test_reading_where_nothing_was_written_creates_nothing(tmp_path):
    url = f"sqlite:///{tmp_path}/x.db"
    assert refused(url, read_only=True) == (
        f"no database at {url}; run tsdiag search or prepare first, or name another one"
    )
    assert list(tmp_path.iterdir()) == []


def test_reading_another_program_s_database_leaves_it_as_it_is(url):
    engine = open_store(url).engine
    with engine.begin() as connection:
        for table in reversed(SCHEMA.metadata.sorted_tables):
            table.drop(connection)
        connection.execute(text("CREATE TABLE others (x INTEGER)"))
    try:
        assert "run tsdiag search or prepare first" in refused(url, read_only=True)
        assert "run tsdiag search or prepare first" in refused(url, read_only=True)
    finally:
        with engine.begin() as connection:
            connection.execute(text("DROP TABLE others"))


def test_a_newer_schema_is_refused(store, url):
    with store.write() as connection:
        row = {"version": 99, "name": "from-the-future", "applied": datetime.now(UTC)}
        connection.execute(SCHEMA.insert().values(**row))
    for read_only in (False, True):
        message = refused(url, read_only=read_only)
        assert "a newer tsdiag made it" in message
        assert "from-the-future" in message
        assert "pip install -U" in message


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_an_unreachable_server_is_told_without_the_password(scheme):
    pytest.importorskip({"postgresql": "psycopg", "mysql": "pymysql"}[scheme])
    message = refused(f"{scheme}://me:s3cret@127.0.0.1:1/db")
    assert message.startswith(f"cannot open {scheme}://me:***@127.0.0.1:1/db: ")
    assert "check that the server is running" in message
    assert "s3cret" not in message


def test_a_wrong_user_password_or_database_is_told_without_the_password(server_url):
    real = make_url(server_url("mysql"))
    wrong = real.set(password="s3cret").render_as_string(hide_password=False)
    message = refused(wrong)
    assert "check user and password" in message
    assert "s3cret" not in message
    nowhere = real.set(database="nowhere").render_as_string(hide_password=False)
    assert "create it on the server" in refused(nowhere)
    real = make_url(server_url("postgresql"))
    nobody = real.set(username="nobody", password="s3cret").render_as_string(hide_password=False)
    message = refused(nobody)
    assert '"nobody" does not exist' in message
    assert "s3cret" not in message


@pytest.mark.parametrize("url", ["mysql://127.0.0.1:1/db?colour=red", "mysql+best://h/db"])
def test_an_unknown_option_or_driver_is_told(url):
    assert refused(url).startswith(f"cannot open {url}: ")


def test_a_missing_driver_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymysql", None)
    message = refused("mysql://me:s3cret@h/db")
    assert 'no driver pymysql; install it: pip install "tsdiag[mysql]"' in message
    assert "s3cret" not in message


def test_a_store_prints_no_password(server_url):
    # The server's own rule here asks for no password, and takes any.
    url = make_url(server_url("postgresql")).set(password="s3cret")
    store = open_store(url.render_as_string(hide_password=False))
    assert "s3cret" not in repr(store)
    assert "s3cret" in store.full_url


def test_a_store_opened_for_reading_refuses_writes(url, store):
    save_study(store, "a", {})
    reader = open_store(url, read_only=True)
    assert load_study(reader, "a").name == "a"
    with pytest.raises(StoreError, match="opened for reading"):
        save_study(reader, "b", {})


def test_an_exception_undoes_a_transaction(store):
    save_study(store, "a", {"kept": 1})

    def fail() -> None:
        with store.write() as connection:
            connection.execute(text("UPDATE tsdiag_studies SET spec = '{}'"))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert load_study(store, "a").spec == {"kept": 1}


def test_sqlite_writes_ahead_so_that_a_reader_needs_not_wait(sqlite_store, tmp_path):
    save_study(sqlite_store, "a", {})
    raw = sqlite3.connect(tmp_path / "tsdiag.db")
    assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    raw.close()
    with sqlite_store.write() as connection:
        connection.execute(text("UPDATE tsdiag_studies SET looks = 5"))
        assert load_study(sqlite_store, "a").looks == 0
    assert load_study(sqlite_store, "a").looks == 5


def test_a_held_sqlite_file_is_told(sqlite_store, monkeypatch):
    monkeypatch.setitem(database._TIMEOUTS, "sqlite", {"timeout": 0.05})
    impatient = open_store(sqlite_store.full_url)
    with sqlite_store.write(), pytest.raises(StoreError, match="is locked; another program"):
        save_study(impatient, "a", {})


def test_processes_that_read_and_then_write_lose_nothing(store, url, start):
    save_study(store, "same", {})
    processes = [start("look", url, "25") for _ in range(4)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.stdout.readline() for process in processes] == ["looked\n"] * 4
    assert load_study(store, "same").looks == 100


def test_opening_loads_nothing_heavy():
    code = (
        "import sys, tsdiag.store.curves, tsdiag.store.leases, tsdiag.store.studies;"
        "print([m for m in ('torch', 'optuna', 'pandas', 'scipy') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_opening_an_up_to_date_database_costs_one_query(store, url):
    asked = []
    listener = lambda connection, cursor, statement, *rest: asked.append(statement)  # noqa: E731
    event.listen(Engine, "before_cursor_execute", listener)
    try:
        open_store(url)
    finally:
        event.remove(Engine, "before_cursor_execute", listener)
    # A server's dialect asks for versions and the like by itself, on each first connection.
    assert len([statement for statement in asked if "tsdiag" in statement]) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_store_survives_a_fork(store):
    save_study(store, "a", {})
    child = os.fork()
    if child == 0:
        os._exit(0 if load_study(store, "a").name == "a" else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert load_study(store, "a").name == "a"
