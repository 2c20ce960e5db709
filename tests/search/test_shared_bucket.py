"""Workers that share a database and a bucket, and no folder: a trial goes on at another one."""

from __future__ import annotations

import json
import urllib.request
from contextlib import closing
from threading import Thread
from wsgiref.simple_server import make_server

import boto3
import pytest
import torch
from typer.testing import CliRunner

from tsdiag.cli import dashboard
from tsdiag.cli.main import app
from tsdiag.config import RunConfig
from tsdiag.runs.artifacts import read_bytes
from tsdiag.runs.execute import Execution, Request
from tsdiag.search.artifacts import FOLDER, AtomicFolder, artifact_store
from tsdiag.store.database import open_store
from tsdiag.store.runs import find_runs
from tsdiag.training.loop import never

# Long enough to be interrupted, and only the transformer.
LONGER = (
    ('"model.n_layers" = 1', '"model.n_layers" = 1\n"training.max_steps" = 60'),
    ("trials = 3", "trials = 1"),
    ("final_seeds = 2", "final_seeds = 1"),
)


class AtStep:
    """Somebody who asks a worker to stop once a trial has come so far."""

    def __init__(self, store, step):
        self.store, self.step = store, step

    def __bool__(self):
        return any(row.step >= self.step for row in find_runs(self.store, "tiny", role="trial"))


@pytest.fixture
def listed(bucket):
    """Return what the names in the bucket end with."""

    def names():
        with closing(boto3.Session().client("s3")) as client:
            found = client.list_objects_v2(Bucket=bucket.removeprefix("s3://"))
        return [item["Key"].rpartition(".")[2] for item in found.get("Contents", [])]

    return names


@pytest.fixture
def whole(tmp_path):
    """Carry a run's configuration out in one go, with its artifacts in a folder."""

    def carry_out(row, dataset):
        request = Request("tiny", "trial", RunConfig.from_json(row.config), 0)
        store = open_store(f"sqlite:///{tmp_path}/whole.db")
        folder = AtomicFolder(tmp_path / "whole")
        done = Execution(request, dataset, store, folder, torch.device("cpu")).carry_out(never)
        return done.row.validation_loss, read_bytes(folder, done.row.weights)

    return carry_out


def test_a_trial_goes_on_from_the_bucket_at_another_worker(
    bucket, listed, whole, prepared, store, work, command, monkeypatch, tmp_path
):
    monkeypatch.setenv("TSDIAG_ARTIFACTS", f"{bucket}/studies")
    _, dataset = prepared(*LONGER)
    work(interruption=AtStep(store, 20))
    (first,) = find_runs(store, "tiny", role="trial")
    assert (first.state, first.weights) == ("interrupted", None)
    assert 20 <= first.step < 60
    assert listed().count("checkpoint") == 1

    second = command("worker", "tiny", "--device", "cpu")
    assert second.wait() == 0, second.text
    last = find_runs(store, "tiny", role="trial")[-1]
    assert (last.parent, last.step, last.reason) == (first.id, 60, "all 60 steps")
    resumed = last.validation_loss, read_bytes(artifact_store(store), last.weights)
    assert resumed == whole(last, dataset)
    assert "checkpoint" not in listed()

    monkeypatch.chdir(tmp_path)
    for words in (["explain", "0"], ["compare", "tiny"], ["export", "0", "model"]):
        answer = CliRunner().invoke(app, words)
        assert answer.exit_code == 0, answer.output
    assert (tmp_path / "model" / "model.safetensors").exists()
    assert not (tmp_path / FOLDER).exists()
    check_figure(store)


def check_figure(store):
    """See a figure of a trial as the dashboard serves it."""
    server = make_server("127.0.0.1", 0, dashboard._application(store.full_url))
    Thread(target=server.serve_forever, daemon=True).start()
    at = f"http://127.0.0.1:{server.server_port}"
    try:
        studies = json.loads(ask(f"{at}/api/studies"))["study_summaries"]
        (study,) = [s["study_id"] for s in studies if s["study_name"] == "tiny"]
        trial = json.loads(ask(f"{at}/api/studies/{study}?after=0"))["trials"][-1]
        figure = trial["artifacts"][0]["artifact_id"]
        assert b"<svg" in ask(f"{at}/artifacts/{study}/{trial['trial_id']}/{figure}")
    finally:
        server.shutdown()
        server.server_close()


def ask(address):
    with urllib.request.urlopen(address, timeout=30) as answer:
        return answer.read()
