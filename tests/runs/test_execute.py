"""What a run leaves in the store and in the artifact folder, however it ends."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from tsdiag.config import RunConfig
from tsdiag.errors import ConfigError
from tsdiag.runs import execute as execution
from tsdiag.runs.artifacts import read_bytes
from tsdiag.runs.environment import choose_device
from tsdiag.runs.weights import unpack_trained
from tsdiag.store.curves import load_trace
from tsdiag.store.runs import find_runs, get_run
from tsdiag.training.evaluation import evaluate


def files(artifacts):
    return {path.name for path in artifacts.folder.iterdir()}


def only_run(store):
    (row,) = find_runs(store, "wind")
    return row


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
def test_a_finished_run_leaves_its_best_weights(
    kind, config, lstm_config, dataset, execute, store, artifacts
):
    chosen = {"transformer": config, "lstm": lstm_config}[kind]
    done = execute(chosen)
    assert (done.row.state, done.row.step, done.row.max_steps) == ("completed", 12, 12)
    assert done.row.finished is not None
    assert files(artifacts) == {done.row.weights}
    trained = unpack_trained(read_bytes(artifacts, done.row.weights))
    # What predicts later is what was measured: the best weights, with their running statistics.
    windows = dataset.validation.every(20)
    for model in (trained.model, done.model):
        assert evaluate(model, windows).loss == done.row.validation_loss
    assert trained.config == chosen
    assert done.row.parameters == sum(p.numel() for p in trained.model.parameters())


def test_the_row_holds_all_that_determined_the_run(config, execute):
    row = execute(config, role="final", label="trial 3", trial=3).row
    assert RunConfig.from_json(row.config).to_json() == config.to_json()
    assert (row.seed, row.role, row.label, row.trial) == (config.seed, "final", "trial 3", 3)
    assert {"torch", "python", "device", "threads"} <= set(row.environment)
    assert row.seconds > 0
    assert row.cpu_seconds > 0


@pytest.mark.parametrize("state", ["pruned", "timed_out"])
def test_a_run_that_was_stopped_keeps_its_weights(state, config, execute, at, artifacts):
    row = execute(config, at(6, state)).row
    assert (row.state, row.step, row.reason) == (state, 6, f"{state} at step 6")
    assert files(artifacts) == {row.weights}


def test_a_diverged_run_says_where_and_stores_finite_numbers(config, execute, store, artifacts):
    wild = {"optimizer.name": "sgd", "optimizer.lr": 1e12, "optimizer.clip_norm": 0.0}
    row = execute(config.edits(wild)).row
    assert row.state == "diverged"
    assert "non-finite at step" in row.reason
    assert math.isfinite(row.validation_loss)
    assert row.last_validation_loss is None or math.isfinite(row.last_validation_loss)
    assert (row.weights, row.checkpoint) == (None, None)
    assert files(artifacts) == set()
    losses = load_trace(store, row.id).signal("train_loss").values
    assert not np.isfinite(losses[-1])
    json.dumps(vars(row), default=str, allow_nan=False)


def test_a_running_run_can_be_read(config, execute, store):
    seen = []

    def look(moment):
        if moment.step == 7:
            row = only_run(store)
            trace = load_trace(store, row.id)
            seen.append((row.state, row.step, row.validation_loss, trace))

    execute(config, look)
    ((state, step, loss, trace),) = seen
    assert (state, step) == ("running", 5)
    assert loss == pytest.approx(trace.signal("validation_loss").values.min())
    assert trace.signal("train_loss").steps.tolist() == list(range(5))
    assert trace.signal("validation_loss").steps.tolist() == [0, 5]
    assert trace.end_state == "running"


def test_checkpoints_come_in_time_also_between_evaluations(
    config, execute, store, artifacts, monkeypatch
):
    monkeypatch.setattr(execution, "CHECKPOINT_EVERY", -1.0)
    seen = []
    execute(config, lambda moment: seen.append((only_run(store).checkpoint, files(artifacts))))
    assert seen[0] == (None, set())
    names = [name for name, _ in seen[1:]]
    # Each is another than the one before, which goes when the row names the new one.
    assert all(one != other for one, other in pairwise(names))
    assert [found for _, found in seen[1:]] == [{name} for name in names]
    assert files(artifacts) == {only_run(store).weights}


def test_an_exception_fails_the_run_and_is_raised(config, execute, store, artifacts, monkeypatch):
    monkeypatch.setattr(execution, "CHECKPOINT_EVERY", -1.0)

    def break_down(moment):
        if moment.step == 7:
            raise RuntimeError("the disk is on fire")

    with pytest.raises(RuntimeError, match="on fire"):
        execute(config, break_down)
    row = only_run(store)
    assert (row.state, row.reason) == ("failed", "RuntimeError: the disk is on fire")
    assert row.finished is not None
    assert (row.weights, row.checkpoint) == (None, None)
    assert files(artifacts) == set()
    assert load_trace(store, row.id).signal("train_loss").steps.tolist() == list(range(7))


def test_the_reason_of_a_failed_run_holds_no_password(config, execute, store):
    def break_down(moment):
        raise RuntimeError("no answer from mysql://me:s3cret@db.example/rows?sslpassword=s3cret")

    with pytest.raises(RuntimeError):
        execute(config, break_down)
    found = "RuntimeError: no answer from mysql://me:***@db.example/rows?sslpassword=***"
    assert only_run(store).reason == found


def test_ctrl_c_interrupts_and_does_not_fail(config, execute, store, monkeypatch):
    monkeypatch.setattr(execution, "CHECKPOINT_EVERY", -1.0)

    def ctrl_c(moment):
        if moment.step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(config, ctrl_c)
    row = only_run(store)
    assert row.state == "interrupted"
    assert row.checkpoint.endswith(".checkpoint")
    assert execute(config, parent=row.id).row.reason == "all 12 steps"


def test_an_impossible_configuration_is_a_failed_run_too(config, execute, store):
    with pytest.raises(ConfigError, match="shorter patch"):
        execute(config.edit("model.patch_length", 99))
    row = only_run(store)
    assert row.state == "failed"
    assert "shorter patch" in row.reason


def test_the_exception_is_told_also_when_the_store_is_gone(config, execute, store, artifacts):
    from pathlib import Path

    def lose_everything(moment):
        Path(store.engine.url.database).write_bytes(b"gone" * 5000)
        raise RuntimeError("the disk is on fire")

    with pytest.raises(RuntimeError, match="on fire"):
        execute(config, lose_everything)


def test_the_store_knows_the_run_before_its_first_step(config, execute, store):
    class Looker:
        states: list[str] = []  # noqa: RUF012

        def after_backward(self, moment):
            pass

        after_update = after_backward

        def after_evaluation(self, moment):
            self.states.append(only_run(store).state)

    execute(config, observers=[Looker()])
    assert Looker.states[0] == "running"
    assert get_run(store, only_run(store).id).state == "completed"


def test_a_device_that_is_not_there_is_told():
    assert choose_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match="take one of: auto, cpu, cuda"):
        choose_device("gpu")
    if not torch.cuda.is_available():
        assert choose_device("auto") == torch.device("cpu")
        with pytest.raises(ConfigError, match="use --device cpu"):
            choose_device("cuda")
