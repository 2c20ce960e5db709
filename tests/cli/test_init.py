"""A study.toml that a person can go on from."""

from __future__ import annotations

import stat
import tomllib
from contextlib import nullcontext

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tsdiag.cli.main import app
from tsdiag.cli.study_template import toml
from tsdiag.search.spec import read_spec

ROWS = 600


@pytest.fixture
def folder(tmp_path, monkeypatch):
    hours = pandas.date_range("2024-01-01", periods=ROWS, freq="h")
    table = pandas.DataFrame({"when": hours, "load kW": range(1, ROWS + 1), "site": "north"})
    table["forecast_for"] = hours + pandas.Timedelta(days=1)
    table.to_csv(tmp_path / "plant.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*words):
    return CliRunner().invoke(app, ["init", *words])


def test_what_is_written_is_a_study(folder):
    answer = init("plant.csv", "--target", "load kW")
    assert answer.exit_code == 0, answer.stderr
    assert "wrote study.toml" in answer.stdout
    assert "tsdiag search study.toml" in answer.stdout
    spec = read_spec(folder / "study.toml")
    assert spec.name == "plant"
    assert spec.data.target == "load kW"
    assert spec.data.time == "when"
    assert spec.data.path == str(folder / "plant.csv")
    assert "site" not in spec.data.features


def test_every_guess_stands_with_its_reason(folder):
    init("plant.csv", "--target", "load kW")
    lines = (folder / "study.toml").read_text().splitlines()
    [context] = [line for line in lines if line.startswith("context_length")]
    assert "#" in context
    for section in ("[study]", "[data]", "[baseline]", "[space]", "[training]", "[search]"):
        assert any(line.startswith(section) for line in lines)


def test_the_data_is_named_from_the_studys_own_folder(folder):
    (folder / "studies").mkdir()
    assert init("plant.csv", "--target", "load kW", "--out", "studies/a.toml").exit_code == 0
    assert 'path = "../plant.csv"' in (folder / "studies/a.toml").read_text()
    assert read_spec(folder / "studies/a.toml").data.path == str(folder / "plant.csv")


def test_the_time_can_be_named(folder):
    answer = init("plant.csv", "--target", "load kW", "--time", "forecast_for")
    assert answer.exit_code == 0, answer.stderr
    spec = read_spec(folder / "study.toml")
    assert spec.data.time == "forecast_for"
    assert "when" not in spec.data.features


def test_the_rows_can_come_from_a_database(folder):
    import sqlalchemy

    engine = sqlalchemy.create_engine("sqlite:///plant.db")
    pandas.read_csv("plant.csv").to_sql("plant", engine, index=False)
    engine.dispose()
    words = ("sqlite:///plant.db", "--target", "load kW")
    assert "--query" in init(*words).stderr
    assert init(*words, "--query", "SELECT * FROM plant").exit_code == 0
    data = read_spec(folder / "study.toml").data
    assert (data.url, data.query) == ("sqlite:///plant.db", "SELECT * FROM plant")


def test_nothing_is_overwritten_unasked(folder):
    (folder / "study.toml").write_text("mine")
    refused = init("plant.csv", "--target", "load kW")
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert (folder / "study.toml").read_text() == "mine"
    assert init("plant.csv", "--target", "load kW", "--force").exit_code == 0
    assert read_spec(folder / "study.toml").name == "plant"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("plant.csv", "--target", "lod kW"), 1, 'did you mean "load kW"?'),
        (("plant.csv", "--target", "site"), 1, "north"),
        (("plan.csv", "--target", "load kW"), 1, 'did you mean "plant.csv"?'),
        (("plant.csv", "--target", "load kW", "--time", "wen"), 1, 'did you mean "when"?'),
        (("plant.csv", "--target", "load kW", "--out", "no/study.toml"), 2, "no folder no"),
        (("plant.csv",), 2, "--target"),
    ],
)
def test_what_cannot_be_used_is_refused_and_nothing_written(folder, words, code, said):
    answer = init(*words)
    assert (answer.exit_code, answer.stdout) == (code, "")
    assert said in answer.stderr
    assert list(folder.glob("*.toml")) == []


def test_a_password_is_kept_from_others_and_from_the_output(folder, monkeypatch):
    table = pandas.read_csv("plant.csv")
    monkeypatch.setattr("pandas.read_sql_query", lambda *_: table)
    monkeypatch.setattr("sqlalchemy.engine.Engine.connect", lambda _: nullcontext())
    answer = init(
        "postgresql://me:s3cret@127.0.0.1/plant", "--query", "SELECT 1", "--target", "load kW"
    )
    assert answer.exit_code == 0, answer.stderr
    assert "s3cret" not in answer.output
    assert "password" in answer.stderr
    file = folder / "study.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_spec(file).name == "plant"


KEYS = st.text(st.characters(codec="utf-8"), max_size=8)
VALUES = st.recursive(
    st.text(st.characters(codec="utf-8")) | st.booleans() | st.integers(-9, 9) | st.floats(-1, 1),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
)


@given(VALUES)
def test_values_survive_being_written(value):
    assert tomllib.loads(f"key = {toml(value)}") == {"key": value}
