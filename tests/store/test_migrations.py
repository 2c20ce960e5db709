"""Old databases open: one file of statements per schema level lies in ``schemas/``.

After a migration was added, write the file of its level with: python tests/store/test_migrations.py
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from pathlib import Path

import pytest
from sqlalchemy import Column, Double, inspect

from tsdiag.store import migrations
from tsdiag.store.database import open_store
from tsdiag.store.migrations import MIGRATIONS, add_column
from tsdiag.store.runs import find_runs
from tsdiag.store.schema import METADATA, RUNS
from tsdiag.store.studies import load_study, save_study

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
        assert [run.trial for run in find_runs(old, "kept")] == [0]


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


def write_level() -> None:
    from tsdiag.store.runs import RunRow, create_run

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tsdiag.db"
        store = open_store(f"sqlite:///{path}")
        save_study(store, "kept", {"search": {"trials": 3}})
        create_run(store, RunRow("kept", "trial", "{}", trial=0, state="completed"))
        target = Path(__file__).with_name("schemas") / f"{len(MIGRATIONS)}.sql"
        target.parent.mkdir(exist_ok=True)
        target.write_text(dump(path))
        print(f"wrote {target}", file=sys.stderr)


if __name__ == "__main__":
    write_level()
