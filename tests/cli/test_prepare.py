"""Preparing registers a study and trains nothing."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from tsdiag.cli.main import app
from tsdiag.search.spec import StudySpec
from tsdiag.store.database import open_store
from tsdiag.store.runs import find_runs
from tsdiag.store.studies import list_studies, load_study, save_study

STUDY = """
[study]
name = "tiny"
[data]
generate = { kind = "macd", rows = 900, channels = 10 }
target = "level"
transform = "difference"
context_length = 32
"""


@pytest.fixture
def prepare(tmp_path):
    def run(text):
        (tmp_path / "study.toml").write_text(text)
        words = ["prepare", str(tmp_path), "--storage", f"sqlite:///{tmp_path}/tsdiag.db"]
        return CliRunner().invoke(app, words)

    return run


@pytest.fixture
def store(tmp_path):
    return lambda: open_store(f"sqlite:///{tmp_path}/tsdiag.db")


def test_it_registers_a_study_once_and_says_what_is_next(prepare, store):
    for _ in range(2):
        answer = prepare(STUDY)
        assert answer.exit_code == 0
        assert answer.stdout.splitlines()[-1] == "Next: tsdiag worker tiny"
    assert [study.name for study in list_studies(store())] == ["tiny"]
    assert load_study(store(), "tiny").summary is not None
    assert find_runs(store(), "tiny") == []


def test_other_settings_are_misuse_and_change_nothing(prepare, store):
    prepare(STUDY)
    before = load_study(store(), "tiny")
    answer = prepare(STUDY.replace("context_length = 32", "context_length = 16"))
    assert answer.exit_code == 2
    assert "with other settings" in answer.stderr
    assert load_study(store(), "tiny") == before


def test_what_a_search_has_changed_since_stays_and_is_told(prepare, store):
    prepare(STUDY)
    longer = StudySpec.model_validate(load_study(store(), "tiny").spec).with_search(trials=200)
    save_study(store(), "tiny", longer.model_dump(mode="json"))
    answer = prepare(STUDY)
    assert answer.exit_code == 0
    assert load_study(store(), "tiny").spec["search"]["trials"] == 200
    assert "stays as it was" in answer.stderr
    assert "search.trials: 200 -> " in answer.stderr


def test_rows_that_cannot_be_used_are_refused_before_anything_is_stored(prepare, store):
    assert prepare(STUDY.replace('"level"', '"levle"')).exit_code != 0
    assert list_studies(store()) == []
