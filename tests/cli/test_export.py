"""An exported folder: complete, readable, and never written over what is there."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from typer.testing import CliRunner

from tsdiag.cli.main import app
from tsdiag.config import DataConfig, GeneratorConfig, ModelConfig, RunConfig, TrainingConfig
from tsdiag.data.dataset import load_dataset
from tsdiag.data.generator import generate
from tsdiag.models import complete
from tsdiag.runs.execute import Execution, Request
from tsdiag.search.artifacts import artifact_store
from tsdiag.store.database import open_store
from tsdiag.store.runs import RunRow, create_run
from tsdiag.store.studies import save_study
from tsdiag.training.loop import never

DATA = DataConfig(
    generate=GeneratorConfig(kind="lag", rows=240, channels=10),
    transform="difference",
    context_length=12,
)
TINY = {"d_model": 8, "n_layers": 1, "n_heads": 2, "head_dim": 4, "ff_dim": 8, "patch_length": 4}
STEPS = TrainingConfig(batch_size=16, max_steps=4, evaluate_every=2)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A study with a trial of every state."""
    url = f"sqlite:///{tmp_path_factory.mktemp('store')}/tsdiag.db"
    store = open_store(url)
    save_study(store, "wind", {})
    model = ModelConfig(kind="transformer", **TINY)
    config = complete(RunConfig(data=DATA, model=model, training=STEPS))
    dataset = load_dataset(DATA)
    for trial, stop in enumerate((never, lambda _: "pruned", lambda _: "interrupted")):
        request = Request("wind", "trial", config, trial)
        execution = Execution(request, dataset, store, artifact_store(store), torch.device("cpu"))
        execution.carry_out(stop)
    for trial, state in enumerate(("running", "diverged", "failed"), start=3):
        reason = "" if state == "running" else f"why it {state}"
        facts = {"trial": trial, "state": state, "reason": reason, "max_steps": 4}
        create_run(store, RunRow("wind", "trial", config.to_json(), **facts))
    return url


@pytest.fixture
def export(url):
    return lambda *words: CliRunner().invoke(app, ["export", *map(str, words), "--storage", url])


def test_a_folder_with_weights_and_what_belongs_to_them(export, tmp_path):
    from safetensors.torch import load_file

    folder = tmp_path / "made" / "model"
    answer = export(0, folder)
    assert answer.exit_code == 0, answer.stderr
    assert answer.stdout.splitlines() == [
        f"wrote {folder}",
        f"next: tsdiag predict {folder} DATA.csv",
    ]
    assert answer.stderr == ""
    names = {path.name for path in folder.iterdir()}
    assert names == {"model.safetensors", "config.json", "README.md"}
    facts = json.loads((folder / "config.json").read_text())
    dataset = load_dataset(DATA)
    assert (facts["study"], facts["trial"], facts["state"]) == ("wind", 0, "completed")
    assert facts["validation_loss"] > 0
    assert facts["channels"] == list(dataset.series.channels)
    assert facts["targets"] == ["level"]
    for number, name in enumerate(facts["channels"]):
        assert facts["input_scaler"][name]["mean"] == dataset.input_scaler.mean[number]
        assert facts["input_scaler"][name]["std"] == dataset.input_scaler.std[number]
    assert facts["target_scaler"]["level"]["std"] == dataset.target_scaler.std[0]
    assert RunConfig.from_json(json.dumps(facts["config"])).data == DATA
    assert "torch" in facts["environment"]
    tensors = load_file(folder / "model.safetensors")
    assert sum(tensor.numel() for tensor in tensors.values()) >= facts["parameters"]


def test_the_readme_shows_how_to_predict_in_python(export, tmp_path):
    export(0, tmp_path / "model")
    text = (tmp_path / "model" / "README.md").read_text()
    code = text.partition("```python\n")[2].partition("```")[0]
    generate(DATA.generate).to_csv(tmp_path / "model" / "NEW_ROWS.csv", index=False)
    ends = "\nimport sys\nassert len(predictions) == 240 - 11, predictions\n"
    ends += "assert 'optuna' not in sys.modules\n"
    command = [sys.executable, "-c", code + ends]
    subprocess.run(command, cwd=tmp_path / "model", check=True)


def test_a_folder_in_use_is_left_alone(export, tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    answer = export(0, tmp_path)
    assert answer.exit_code == 2
    assert "not empty" in answer.stderr
    assert "--force" in answer.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]
    assert export(0, tmp_path, "--force").exit_code == 0
    assert export(0, tmp_path, "--force").exit_code == 0
    assert (tmp_path / "precious.txt").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 4
    assert export(0, tmp_path / "precious.txt", "--force").exit_code == 2


def test_an_empty_folder_will_do(export, tmp_path):
    assert export(0, tmp_path).exit_code == 0


def test_a_trial_that_was_cut_short_is_exported_with_a_note(export, tmp_path):
    answer = export(1, tmp_path / "model")
    assert answer.exit_code == 0
    assert answer.stderr == "note: trial 1 did not train to its end (pruned at step 1)\n"


@pytest.mark.parametrize(
    ("trial", "found", "do"),
    [
        (2, "is interrupted (interrupted at step 1), at step 1 of 4", "tsdiag search"),
        (3, "is running, at step 0 of 4", "wait until it has ended"),
        (4, "is diverged (why it diverged)", "choose one that completed: tsdiag trials"),
        (5, "is failed (why it failed)", "choose one that completed: tsdiag trials"),
        (6, "it has 0..5", "list them: tsdiag trials"),
    ],
)
def test_a_trial_without_weights_is_told(export, tmp_path, trial, found, do):
    answer = export(trial, tmp_path / "model")
    assert answer.exit_code == 2
    assert f'trial {trial} in study "wind"' in answer.stderr.replace(" of study", " in study")
    assert found in answer.stderr
    assert do in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
    assert not (tmp_path / "model").exists()


def test_an_unknown_study_is_told(export, tmp_path):
    answer = export(0, tmp_path / "model", "--study", "wnd")
    assert answer.exit_code == 2
    assert "wind" in answer.stderr


def test_lost_weights_are_told(url, export, tmp_path, monkeypatch):
    monkeypatch.setenv("TSDIAG_ARTIFACTS", str(tmp_path / "elsewhere"))
    answer = export(0, tmp_path / "model")
    assert answer.exit_code == 1
    assert "folder beside the database" in answer.stderr


def test_a_place_that_cannot_be_written_is_told(export, tmp_path):
    (tmp_path / "file").touch()
    answer = export(0, tmp_path / "file" / "model")
    assert answer.exit_code == 1
    assert "name another folder" in answer.stderr
