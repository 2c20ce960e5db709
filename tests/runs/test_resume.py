"""A run that was interrupted and resumed equals one that never was, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tsdiag.diagnostics.probes import AT_END, LIVE
from tsdiag.runs import execute as execution
from tsdiag.runs.artifacts import checkpoints_of, read_bytes
from tsdiag.store.curves import load_trace
from tsdiag.store.runs import find_runs, get_run, update_run

OPTIMIZERS = ("adamw", "adam", "sgd", "sam")
# Every optimizer and every kind of attention dropout; they do not depend on each other.
PAIRS = [
    ("adamw", "none"),
    ("adamw", "key"),
    ("adamw", "probability"),
    ("adam", "key"),
    ("sgd", "none"),
    ("sam", "probability"),
]


class LastWeights:
    """Keeps the weights after every update: the stored ones are the best, not the last."""

    def __init__(self):
        self.weights = {}

    def after_backward(self, moment):
        pass

    def after_update(self, moment):
        self.weights = {k: v.clone() for k, v in moment.model.state_dict().items()}

    def after_evaluation(self, moment):
        pass


def require_equal(one, other, store, artifacts):
    names = ("state", "reason", "step", "validation_loss", "last_validation_loss", "parameters")
    for name in names:
        assert getattr(one.row, name) == getattr(other.row, name), name
    weights = [read_bytes(artifacts, done.row.weights) for done in (one, other)]
    assert weights[0] == weights[1]
    first, second = (load_trace(store, done.row.id).signals for done in (one, other))
    assert [signal.name for signal in first] == [signal.name for signal in second]
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a.steps, b.steps), a.name
        assert np.array_equal(a.values, b.values), a.name


def compare(config, stops, execute, at, store, artifacts):
    """Run once without a break and once with breaks, and require the same."""
    unbroken, broken = LastWeights(), LastWeights()
    whole = execute(config, observers=[unbroken])
    parent = None
    for step in stops:
        part = execute(config, at(step), parent=parent)
        assert (part.row.state, part.row.step) == ("interrupted", step)
        parent = part.row.id
    resumed = execute(config, observers=[broken], parent=parent)
    require_equal(whole, resumed, store, artifacts)
    if stops[-1] < whole.row.step:
        assert all(torch.equal(broken.weights[k], v) for k, v in unbroken.weights.items())
    return resumed


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_transformer(name, kind, config, execute, at, store, artifacts):
    changes = {
        "optimizer.name": name,
        "model.attention_dropout": 0.3,
        "model.attention_dropout_kind": kind,
    }
    compare(config.edits(changes), [7], execute, at, store, artifacts)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_lstm(name, lstm_config, execute, at, store, artifacts):
    config = lstm_config.edit("optimizer.name", name)
    compare(config, [7], execute, at, store, artifacts)


@pytest.mark.parametrize("stops", [[1], [5], [11], [12], [3, 10], [5, 6, 7]])
def test_wherever_it_stops_and_however_often(stops, config, execute, at, store, artifacts):
    compare(config, stops, execute, at, store, artifacts)


def test_with_frozen_parts(config, execute, at, store, artifacts):
    frozen = config.edit("optimizer.frozen", ("embedding",))
    compare(frozen, [7], execute, at, store, artifacts)


@pytest.mark.parametrize("step", [4, 5, 6])
def test_with_patience_that_ends_it(step, config, execute, at, store, artifacts):
    changes = {"optimizer.lr": 1e-30, "training.patience": 3, "training.evaluate_every": 2}
    resumed = compare(config.edits(changes), [step], execute, at, store, artifacts)
    assert (resumed.row.state, resumed.row.step) == ("early_stopped", 6)


def test_when_it_diverges_afterwards(config, execute, at, store):
    wild = config.edits({"optimizer.name": "sgd", "optimizer.lr": 1e3, "optimizer.clip_norm": 0.0})
    whole = execute(wild)
    assert whole.row.state == "diverged"
    assert whole.row.step > 1
    part = execute(wild, at(1))
    resumed = execute(wild, parent=part.row.id)
    assert (resumed.row.state, resumed.row.reason) == ("diverged", whole.row.reason)
    assert resumed.row.weights is None


def test_time_and_lineage_go_on(config, execute, at, store):
    part = execute(config, at(7))
    update_run(store, part.row.id, seconds=100.0, cpu_seconds=50.0)
    resumed = execute(config, parent=part.row.id)
    assert resumed.row.parent == part.row.id
    assert 100 < resumed.row.seconds < 130
    assert 50 < resumed.row.cpu_seconds < 80


def test_what_was_measured_is_shown_once_before_it_goes_on(config, execute, at, store):
    part = execute(config, at(7))
    shown = []
    execute(config, parent=part.row.id, on_resume=shown.append)
    (trace,) = shown
    assert trace.signal("validation_loss").steps.tolist() == [0, 5]
    assert trace.signal("train_loss").steps.tolist() == list(range(7))


def test_a_killed_worker_loses_only_what_came_after_its_checkpoint(
    config, execute, at, store, artifacts, monkeypatch
):
    """Die in the ninth step with a checkpoint of the seventh, curves of more being stored."""
    whole = execute(config)
    monkeypatch.setattr(execution, "CHECKPOINT_EVERY", -1.0)
    monkeypatch.setattr(execution.Execution, "_break_off", lambda *_: None)

    def die(moment):
        if moment.step == 8:
            monkeypatch.setattr(execution, "CHECKPOINT_EVERY", 1e9)
        if moment.step == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(config, die, trial=1)
    (killed,) = runs_of(store, 1)
    assert (killed.state, killed.step) == ("running", 7)
    assert killed.checkpoint in checkpoints_of(killed.id)
    resumed = execute(config, parent=killed.id, trial=1)
    require_equal(whole, resumed, store, artifacts)


@pytest.mark.parametrize("told", [True, False])
def test_broken_off_among_the_probes_at_the_end(
    told, config, execute, at, store, artifacts, monkeypatch
):
    """Preempted between two of them, or killed when their curves are stored and the end is not."""
    probes = (*LIVE, *AT_END)
    whole = execute(config, probes=probes)
    monkeypatch.setattr(execution, "CHECKPOINT_EVERY", -1.0)

    def die(*_, **__):
        raise KeyboardInterrupt

    asked = (*probes[:-1], replace(AT_END[-1], measure=die)) if told else probes
    with monkeypatch.context() as patch:
        if not told:
            patch.setattr("tsdiag.runs.outbox.end_run", die)
            patch.setattr(execution.Execution, "_break_off", die)
        with pytest.raises(KeyboardInterrupt):
            execute(config, trial=1, probes=asked)
    (part,) = runs_of(store, 1)
    assert part.state == ("interrupted" if told else "running")
    assert load_trace(store, part.id).signal("time_shuffle_effect") is not None
    resumed = execute(config, parent=part.id, trial=1, probes=probes)
    require_equal(whole, resumed, store, artifacts)


def test_a_second_death_before_a_checkpoint_of_its_own(
    config, execute, at, store, artifacts, monkeypatch
):
    whole = execute(config)
    part = execute(config, at(7), trial=1)
    monkeypatch.setattr(execution.Execution, "_break_off", lambda *_: None)

    def die(moment):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(config, die, parent=part.row.id, trial=1)
    killed = runs_of(store, 1)[-1]
    assert (killed.step, killed.parent) == (7, part.row.id)
    last = execute(config, parent=killed.id, trial=1)
    require_equal(whole, last, store, artifacts)


def test_no_checkpoint_is_left_when_the_last_has_ended(config, execute, at, store, artifacts):
    first = execute(config, at(3))
    second = execute(config, at(7), parent=first.row.id)
    last = execute(config, parent=second.row.id)
    names = {path.name for path in artifacts.folder.iterdir()}
    assert names == {last.row.weights}
    rows = [get_run(store, done.row.id) for done in (first, second, last)]
    assert [row.checkpoint for row in rows] == [None, None, None]


@pytest.mark.parametrize("damage", ["missing", "cut", "another"])
def test_without_its_checkpoint_a_run_begins_anew_and_says_so(
    damage, config, lstm_config, execute, at, store, artifacts
):
    whole = execute(config)
    part = execute(config, at(7))
    file = artifacts.folder / part.row.checkpoint
    if damage == "missing":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-10])
    else:
        other = execute(lstm_config, at(7))
        file.write_bytes((artifacts.folder / other.row.checkpoint).read_bytes())
    seen = []
    again = execute(config, parent=part.row.id, on_resume=seen.append)
    assert seen == []
    assert again.row.reason.startswith("all 12 steps; begun anew: ")
    assert again.row.seconds < 60
    assert read_bytes(artifacts, again.row.weights) == read_bytes(artifacts, whole.row.weights)
    assert load_trace(store, again.row.id).signal("train_loss").steps.tolist() == list(range(12))


def test_a_checkpoint_of_another_configuration_is_not_gone_on_with(config, execute, at, store):
    part = execute(config, at(7))
    hotter = config.edit("optimizer.lr", 0.5)
    again = execute(hotter, parent=part.row.id)
    assert "another configuration" in again.row.reason
    assert again.row.validation_loss == execute(hotter).row.validation_loss


def runs_of(store, trial):
    return find_runs(store, "wind", trial=trial)
