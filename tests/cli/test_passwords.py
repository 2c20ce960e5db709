"""A password that a person types as a part of a URL is repeated nowhere."""

from __future__ import annotations

import json
from contextlib import nullcontext

import pandas
import pytest
import torch
from typer.testing import CliRunner

from tsdiag.cli.main import app
from tsdiag.cli.progress import search_lines
from tsdiag.config import DataConfig, ModelConfig, RunConfig
from tsdiag.data.reading import read_table
from tsdiag.errors import ConfigError, redact, without_passwords
from tsdiag.models import build, complete
from tsdiag.runs.environment import describe
from tsdiag.runs.export import write_export
from tsdiag.runs.weights import pack_trained, shapes_of
from tsdiag.search.conduct import Snapshot
from tsdiag.search.spec import StudySpec, read_spec
from tsdiag.store.database import open_store
from tsdiag.store.runs import RunRow, create_run
from tsdiag.store.studies import save_study
from tsdiag.store.tally import tally_of

SECRET = "s3cret"
URLS = {
    "unreachable": "postgresql://me:s3cret@127.0.0.1:9/rows",
    "unreachable, of MySQL": "mysql://me:s3cret@127.0.0.1:9/rows",
    "in the query": "postgresql://127.0.0.1:9/rows?user=me&password=s3cret",
    "an @ in it": "postgresql://me:s3@s3cret@127.0.0.1:9/rows",
    "a slash in it": "postgresql://me:s3cret/s3cret@127.0.0.1:9/rows",
    "a space in it": "postgresql://me:my s3cret@127.0.0.1:9/rows",
    "no host": "postgresql://me:s3cret/rows",
    "no port": "postgresql://me:s3cret@127.0.0.1:port/rows",
    "no database": "mysql://me:s3cret@127.0.0.1:9",
    "another kind": "oracle://me:s3cret@127.0.0.1:9/rows",
    "unknown option": "mysql://me:s3cret@127.0.0.1:9/rows?colour=red",
    "no such host": "postgresql://me:s3cret@..../rows",
    "an @ and a slash in it": "postgresql://me:x@s3cret/s3cret@127.0.0.1:9/rows",
    "no scheme": "me:s3cret@127.0.0.1:9/rows",
    "half a scheme": "postgresql:/me:s3cret@127.0.0.1:9/rows",
    "as libpq has it": "host=127.0.0.1 user=me password=s3cret dbname=rows",
    "a file of that name": "sqlite:///host=127.0.0.1 password=s3cret/rows.db",
}
COMMANDS = {
    "trials": ["trials"],
    "explain": ["explain", "0", "--html", "page.html"],
    "compare": ["compare"],
    "export": ["export", "0", "model"],
    "dashboard": ["dashboard"],
    "worker": ["worker", "wind", "--patience", "0s"],
    "prepare": ["prepare", "study.toml"],
    "search": ["search", "study.toml"],
}
READERS = {
    "init": ["init", "URL", "--query", "SELECT 1", "--target", "speed"],
    "search": ["search", "--data", "URL", "--query", "SELECT 1", "--target", "speed"],
    "search without a target": ["search", "--data", "URL"],
    "dry run": ["search", "mine.toml", "--dry-run"],
}


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text('[data]\ngenerate = { rows = 900 }\ntarget = "level"\n')


def refused(words):
    """Return all that a command prints, with the traceback that it is asked for."""
    answer = CliRunner().invoke(app, [*words, "--traceback"])
    assert answer.exit_code in (1, 2), answer.output
    assert "Traceback" in answer.output
    return answer.output


@pytest.mark.parametrize("url", URLS.values(), ids=URLS)
@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_no_command_repeats_that_of_a_storage(words, url, monkeypatch):
    assert SECRET not in refused([*words, "--storage", url])
    monkeypatch.setenv("TSDIAG_STORAGE", url)
    assert SECRET not in refused(words)


@pytest.mark.parametrize("url", URLS.values(), ids=URLS)
@pytest.mark.parametrize("words", READERS.values(), ids=READERS)
def test_no_command_repeats_that_of_the_rows(words, url, tmp_path):
    study = f'[data]\nurl = {json.dumps(url)}\nquery = "SELECT 1"\ntarget = "x"\n'
    (tmp_path / "mine.toml").write_text(study)
    assert SECRET not in refused([url if word == "URL" else word for word in words])


@pytest.mark.parametrize("url", URLS.values(), ids=URLS)
def test_no_complaint_about_a_study_or_configuration_repeats_it(url, tmp_path):
    for key in ("url", "path = 5\nurll", "offset"):
        (tmp_path / "mine.toml").write_text(f"[data]\n{key} = {json.dumps(url)}\n")
        with pytest.raises(ConfigError) as told:
            read_spec(tmp_path / "mine.toml")
        assert SECRET not in str(told.value)
    assert SECRET not in refused(["search", "mine.toml"])
    for tree in ({"data": {"url": url}}, {"data": {"offset": url}}, {"daata": url}):
        with pytest.raises(ConfigError) as told:
            RunConfig.from_json(json.dumps(tree))
        assert SECRET not in str(told.value)
        assert told.value.__cause__ is None
    with pytest.raises(ConfigError) as told:
        RunConfig().edit("data.offset", url)
    assert SECRET not in str(told.value)


@pytest.fixture
def rows(monkeypatch):
    """A database that answers, whatever its URL."""
    frame = pandas.DataFrame({"level": [1.0, 2.0, 4.0, 3.0] * 20})
    monkeypatch.setattr("pandas.read_sql_query", lambda *_: frame)
    monkeypatch.setattr("sqlalchemy.engine.Engine.connect", lambda _: nullcontext())


@pytest.mark.parametrize("name", ["unreachable", "in the query", "a space in it"])
def test_what_is_stored_of_the_data_holds_none(rows, name):
    table = read_table(DataConfig(url=URLS[name], query="SELECT 1"))
    assert SECRET not in table.source
    assert "127.0.0.1" in table.source


@pytest.mark.parametrize("name", ["unreachable", "in the query", "a space in it", "an @ in it"])
def test_an_export_holds_none(name, config, dataset, tmp_path):
    source = DataConfig(url=URLS[name], query="SELECT 1", context_length=12, prediction_length=2)
    whole = complete(config.model_copy(update={"data": source}))
    model = build(whole, shapes_of(dataset), torch.Generator().manual_seed(0))
    row = RunRow(
        "wind", "trial", whole.to_json(), trial=0, environment=describe(torch.device("cpu"))
    )
    write_export(tmp_path / "model", row, pack_trained(model, whole, dataset))
    files = sorted((tmp_path / "model").iterdir())
    assert len(files) == 3
    assert [file.name for file in files if SECRET.encode() in file.read_bytes()] == []


def test_what_a_run_ran_on_holds_nothing_of_the_environment(monkeypatch):
    monkeypatch.setenv("TSDIAG_STORAGE", URLS["unreachable"])
    monkeypatch.setenv("PGPASSWORD", SECRET)
    assert SECRET not in json.dumps(describe(torch.device("cpu")))


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://h:5432/rows",
        "http://127.0.0.1:8080/ (Ctrl-C stops it)",
        "cannot open mysql://127.0.0.1:1: refused",
        "write postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
        "postgresql://[::1]:5432/rows",
        "sqlite:///C:/rows.db and me@example.org",
        "C:/me@home/rows.csv",
        "trial 3: state running@host",
    ],
)
def test_what_is_no_password_is_shown(text):
    assert without_passwords(text) == text
    if "PASSWORD" not in text and " " not in text:
        assert redact(text) == text


@pytest.fixture
def stored(tmp_path):
    """A study whose rows are in a database with a password, as its workers need to know it."""
    data = DataConfig(url=URLS["unreachable"], query="SELECT 1", target="x")
    spec = StudySpec.model_validate({"study": {"name": "wind"}, "data": data.model_dump()})
    store = open_store(f"sqlite:///{tmp_path}/tsdiag.db")
    save_study(store, "wind", spec.model_dump(mode="json"))
    config = RunConfig(data=data, model=ModelConfig(kind="lstm")).to_json()
    assert SECRET in config
    for role, trial in (("baseline", None), ("trial", 0)):
        facts = {"trial": trial, "state": "completed", "validation_loss": 0.5, "max_steps": 9}
        create_run(store, RunRow("wind", role, config, **facts))
    return store, spec


@pytest.mark.parametrize(
    "words",
    [
        *("trials", "trials --json", "trials --csv", "explain 0", "explain 0 --json"),
        *("explain 0 --markdown", "explain baseline", "explain 0 --html page.html"),
    ],
)
def test_no_result_of_a_stored_study_repeats_it(words, stored, tmp_path):
    answer = CliRunner().invoke(app, words.split())
    assert answer.exit_code == 0, answer.output
    assert SECRET not in answer.output
    pages = [file.read_text() for file in tmp_path.glob("*.html")]
    assert len(pages) == words.count("--html")
    assert [page for page in pages if SECRET in page] == []


def test_the_progress_of_a_search_holds_none(stored):
    store, spec = stored
    told = search_lines(Snapshot(spec, tally_of(store, "wind", 2), {"ridge": 0.6}, 0.0, 60.0, 2))
    assert SECRET not in repr(told)
    assert "trial 0 with 0.5" in repr(told)
