"""Old databases open: one file of statements per schema level lies in ``schemas/``.

After a migration was added, write the file of its level with: python tests/store/test_migrations.py
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from pathlib import Path

import pytest
from sqlalchemy import Column, Double, inspect, text

from tsdiag.diagnostics.verdicts import Verification
from tsdiag.store import migrations
from tsdiag.store.database import open_store
from tsdiag.store.interventions import (
    save_plan,
    save_verification,
    settle,
    settled,
    stored_plan,
    stored_verification,
)
from tsdiag.store.migrations import MIGRATIONS, add_column
from tsdiag.store.runs import RunRow, create_run, find_runs, get_run
from tsdiag.store.schema import METADATA, RUNS
from tsdiag.store.studies import load_study, save_study

# What takes today's schema back to a level: the statements that undo each migration after it.
INDICES = ("tsdiag_runs_by_loss", "tsdiag_runs_by_state", "tsdiag_runs_by_parent")
UNDONE = {
    4: tuple(f"DROP INDEX {name} ON tsdiag_runs" for name in INDICES),
    3: ("DROP TABLE tsdiag_interventions", "ALTER TABLE tsdiag_runs DROP COLUMN origin"),
    2: ("DROP TABLE tsdiag_findings",),
}
LEVELS = sorted(Path(__file__).with_name("schemas").glob("*.sql"))


def shape(store) -> dict[str, set[str]]:
    found = inspect(store.engine)
    return {name: {c["name"] for c in found.get_columns(name)} for name in METADATA.tables}


def dump(path: Path) -> str:
    """Return statements that make this database again: tables, levels and a study with a run."""
    raw = sqlite3.connect(path)
    try:
        return "\n".join(raw.iterdump()) + "\n"
    finally:
        raw.close()


def test_every_migration_has_its_old_database():
    assert [int(path.stem) for path in LEVELS] == list(range(1, len(MIGRATIONS) + 1))


@pytest.mark.parametrize("path", LEVELS, ids=lambda path: path.stem)
def test_a_database_of_each_level_opens_and_keeps_its_rows(path, tmp_path, sqlite_store):
    raw = sqlite3.connect(tmp_path / "old.db")
    raw.executescript(path.read_text())
    raw.close()
    for read_only in (True, False):
        old = open_store(f"sqlite:///{tmp_path}/old.db", read_only=read_only)
        assert shape(old) == shape(sqlite_store)
        assert load_study(old, "kept").spec == {"search": {"trials": 3}}
        (run,) = find_runs(old, "kept")
        assert (run.trial, run.origin) == (0, None)
        found = (
            stored_plan(old, run.id),
            settled(old, run.id),
            stored_verification(old, run.id),
        )
        left = ("a plan", "a set", Verification(run=run.id, complete=True))
        assert found == (left if int(path.stem) >= 3 else (None, None, None))


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("broken_off", [False, True])
def test_on_every_database_an_older_level_is_brought_up_and_keeps_its_rows(
    level, broken_off, store, url
):
    kept = keep_one(store)
    as_new = columns(store)
    take_back(store, level, broken_off)
    old = open_store(url)
    assert columns(old) == as_new
    assert get_run(old, kept.id) == kept
    assert load_study(old, "kept").spec == {"search": {"trials": 3}}
    origin = create_run(old, RunRow("kept", "control", "{}", origin=kept.id))
    assert get_run(old, origin.id).origin == kept.id
    keep_verified(old, kept)
    assert stored_verification(open_store(url, read_only=True), kept.id).complete


def take_back(store, level: int, broken_off: bool) -> None:
    """Make a database of an older level; broken off, the last migration had begun on MySQL."""
    with store.write() as connection:
        for number in range(len(MIGRATIONS), level, -1):
            undone = UNDONE[number]
            half = broken_off and number == len(MIGRATIONS)
            for statement in undone[1:] if half else undone:
                connection.execute(text(spoken(connection, statement)))
        connection.execute(text(f"DELETE FROM tsdiag_schema WHERE version > {level}"))


def spoken(connection, statement: str) -> str:
    """Return a statement as this database has it: only MySQL's indices belong to their tables."""
    return statement if connection.dialect.name == "mysql" else statement.partition(" ON ")[0]


def columns(store) -> dict[str, dict[str, str]]:
    """Return the type of every column and whether it may be empty, and every table's indices."""
    found = inspect(store.engine)
    told = {
        name: {c["name"]: f"{c['type']} {c['nullable']}" for c in found.get_columns(name)}
        for name in METADATA.tables
    }
    for name in METADATA.tables:
        told[name] |= {i["name"]: str(i["column_names"]) for i in found.get_indexes(name)}
    return told


def test_the_newest_file_is_today_s_schema(tmp_path, sqlite_store):
    # Fails when schema.py changed and no migration was added.
    raw = sqlite3.connect(tmp_path / "old.db")
    raw.executescript(LEVELS[-1].read_text())
    tables = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
    of_file = raw.execute(tables).fetchall()
    raw.close()
    raw = sqlite3.connect(sqlite_store.engine.url.database)
    assert raw.execute(tables).fetchall() == of_file
    raw.close()


def test_processes_that_open_a_new_database_at_once_all_succeed(url, start):
    processes = [start("open", url) for _ in range(4)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.stdout.readline() for process in processes] == ["opened\n"] * 4
    assert load_study(open_store(url), "same").name == "same"


def test_a_later_migration_adds_its_column_once_and_keeps_rows(store, url, monkeypatch):
    save_study(store, "kept", {})
    added = Column("patience_left", Double)
    newer = RUNS.to_metadata(METADATA.__class__())
    newer.append_column(added)
    # The same one twice: what half a migration leaves behind on MySQL.
    later = (("patience", lambda c: (add_column(c, added), add_column(c, added))),)
    monkeypatch.setattr(migrations, "MIGRATIONS", MIGRATIONS + later)
    for _ in range(2):
        opened = open_store(url, read_only=True)
        assert "patience_left" in shape(opened)["tsdiag_runs"]
        assert load_study(opened, "kept").name == "kept"


def keep_one(store) -> RunRow:
    """Store a study with a run."""
    save_study(store, "kept", {"search": {"trials": 3}})
    return create_run(store, RunRow("kept", "trial", "{}", trial=0, state="completed"))


def keep_verified(store, run: RunRow) -> None:
    """Store what a verification leaves."""
    save_plan(store, run, "a plan")
    settle(store, run.id, "a set")
    save_verification(store, Verification(run=run.id, complete=True))


def write_level() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tsdiag.db"
        store = open_store(f"sqlite:///{path}")
        keep_verified(store, keep_one(store))
        target = Path(__file__).with_name("schemas") / f"{len(MIGRATIONS)}.sql"
        target.parent.mkdir(exist_ok=True)
        target.write_text(dump(path))
        print(f"wrote {target}", file=sys.stderr)


if __name__ == "__main__":
    write_level()
