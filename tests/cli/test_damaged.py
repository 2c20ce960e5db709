"""What is damaged is told in one line with what to do, by every command, without a traceback."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

import pytest
import torch
from typer.testing import CliRunner

from tsdiag.cli.main import app
from tsdiag.config import DataConfig, GeneratorConfig, ModelConfig, RunConfig, TrainingConfig
from tsdiag.data.dataset import load_dataset
from tsdiag.models import complete
from tsdiag.runs.execute import Execution, Request
from tsdiag.search.artifacts import FOLDER, artifact_store
from tsdiag.search.registration import register
from tsdiag.search.spec import StudySpec
from tsdiag.search.storage import open_storage
from tsdiag.store.database import open_store
from tsdiag.training.loop import never

NAME = "<img src=x onerror=alert(1)>|`x`'; DROP TABLE tsdiag_runs; --"
DATA = DataConfig(
    generate=GeneratorConfig(kind="lag", rows=240, channels=10),
    transform="difference",
    target="level",
    context_length=12,
)
TINY = {"d_model": 8, "n_layers": 1, "n_heads": 2, "head_dim": 4, "ff_dim": 8, "patch_length": 4}
STEPS = {"batch_size": 16, "max_steps": 4, "evaluate_every": 2}
READING = {
    "trials": ["trials"],
    "explain": ["explain", "0"],
    "export": ["export", "0", "model"],
    "compare": ["compare"],
    "worker": ["worker", NAME],
    "dashboard": ["dashboard"],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study of one trial, in a database and a folder that tests damage copies of."""
    folder = tmp_path_factory.mktemp("made")
    store = open_store(f"sqlite:///{folder}/tsdiag.db")
    dataset = load_dataset(DATA)
    spec = StudySpec.model_validate({"study": {"name": NAME}, "data": DATA, "training": STEPS})
    register(store, open_storage(store), spec, dataset)
    model = ModelConfig(kind="transformer", **TINY)
    config = complete(RunConfig(data=DATA, model=model, training=TrainingConfig(**STEPS)))
    request = Request(NAME, "trial", config, 0)
    Execution(request, dataset, store, artifact_store(store), torch.device("cpu")).carry_out(never)
    with closing(sqlite3.connect(folder / "tsdiag.db")) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    return folder


@pytest.fixture(autouse=True)
def _serves_nothing(monkeypatch):
    """Let the dashboard fail rather than serve, should it take the database for a good one."""
    monkeypatch.delattr("tsdiag.cli.dashboard._server")


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def told(*words, code=1):
    answer = CliRunner().invoke(app, [*map(str, words)])
    assert answer.exit_code == code, answer.output
    assert len(answer.stderr.splitlines()) == 1, answer.stderr
    assert answer.stderr.startswith("Error: ")
    assert "unexpected" not in answer.stderr
    return answer.stderr


def write(folder, statement, *values):
    with closing(sqlite3.connect(folder / "tsdiag.db")) as connection, connection:
        assert connection.execute(statement, values).rowcount > 0


@pytest.mark.parametrize("words", READING.values(), ids=READING)
@pytest.mark.parametrize("start", [0, 100, 4096, 20_000])
def test_a_database_overwritten_or_cut_is_told(folder, words, start):
    file = folder / "tsdiag.db"
    whole = file.read_bytes()
    file.write_bytes(whole[:start] + b"\xa5" * (len(whole) - start))
    assert "restore it from a copy" in told(*words) or "name another one" in told(*words)
    file.write_bytes(whole[: start + 1000])
    told(*words)


def test_damage_in_the_tables_of_optuna_is_told(folder):
    with closing(sqlite3.connect(folder / "tsdiag.db")) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'studies'"
        (page,) = connection.execute(query).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    content = bytearray((folder / "tsdiag.db").read_bytes())
    content[(page - 1) * size : page * size] = b"\xa5" * size
    (folder / "tsdiag.db").write_bytes(content)
    assert "malformed" in told("dashboard")


@pytest.mark.parametrize(
    ("words", "statement"),
    [
        ("compare", "UPDATE tsdiag_studies SET spec = '{\"study\": 5}'"),
        ("compare", "UPDATE tsdiag_studies SET spec = '{'"),
        ("trials", "UPDATE tsdiag_studies SET created = 'yesterday'"),
        ("trials", "UPDATE tsdiag_runs SET config = '{\"model\": '"),
        ("explain 0", "UPDATE tsdiag_runs SET config = '[]'"),
        ("explain 0", "UPDATE tsdiag_runs SET started = 'long ago'"),
        ("explain 0", 'UPDATE tsdiag_studies SET attributes = \'{"audit": {"tables": 5}}\''),
        ("explain 0", "UPDATE tsdiag_curves SET steps = x'00' WHERE name = 'validation_loss'"),
        ("explain 0", "UPDATE tsdiag_curves SET length = 'many' WHERE name = 'validation_loss'"),
        ("export 0 model", "UPDATE tsdiag_runs SET weights = '../tsdiag.db'"),
    ],
)
def test_a_damaged_cell_is_told(folder, words, statement):
    write(folder, statement)
    assert "restore" in told(*words.split())


def test_damaged_weights_and_a_damaged_export_are_told(folder):
    (weights,) = (folder / FOLDER).glob("*.safetensors")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-9] + b"\xa5" + whole[-8:])
    assert "is damaged" in told("export", 0, "model")
    weights.write_bytes(whole)
    assert CliRunner().invoke(app, ["export", "0", "model"]).exit_code == 0
    file = folder / "model" / "model.safetensors"
    for content in (b"", whole[:500], b"\x80\x04\x95" + whole):
        file.write_bytes(content)
        (folder / "rows.csv").write_text("level\n1\n")
        assert "is damaged" in told("predict", "model", "rows.csv")


def test_a_hostile_name_of_a_study_is_a_name_like_any_other(folder):
    for words in (["trials", NAME], ["explain", "0", "--study", NAME, "--html", "page.html"]):
        answer = CliRunner().invoke(app, words)
        assert answer.exit_code == 0, answer.stderr
        assert NAME in answer.stdout
    page = (folder / "page.html").read_text()
    assert "<img" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert CliRunner().invoke(app, ["export", "0", "model", "--study", NAME]).exit_code == 0
    title = (folder / "model" / "README.md").read_text().splitlines()[0]
    assert title.startswith("# Trial 0 of the study &lt;img src=x onerror=alert(1)\\>\\|\\`x\\`")
    assert CliRunner().invoke(app, ["trials", "--csv"]).exit_code == 0
