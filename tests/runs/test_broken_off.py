"""A run that was interrupted within an evaluation equals one that never was."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from tsdiag.runs import execute as execution
from tsdiag.runs.artifacts import read_bytes
from tsdiag.store.curves import load_trace
from tsdiag.training import loop
from tsdiag.training.evaluation import evaluate


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    monkeypatch.setattr(loop, "evaluate", partial(evaluate, batch_size=7))


def within(step, state="interrupted"):
    return lambda moment: state if moment.evaluating and moment.step == step else None


@pytest.mark.parametrize("often", [-1.0, 1e9])
@pytest.mark.parametrize("step", [0, 5, 12])
def test_it_goes_on_to_the_same_end(step, often, config, execute, store, artifacts, monkeypatch):
    monkeypatch.setattr(execution, "CHECKPOINT_EVERY", often)
    whole = execute(config)
    part = execute(config, within(step))
    assert (part.row.state, part.row.step) == ("interrupted", step)
    evaluated = load_trace(store, part.row.id).signal("validation_loss")
    assert evaluated is None or step not in evaluated.steps
    resumed = execute(config, parent=part.row.id)
    assert resumed.row.reason == "all 12 steps"
    weights = [read_bytes(artifacts, done.row.weights) for done in (whole, resumed)]
    assert weights[0] == weights[1]
    first, second = (load_trace(store, done.row.id).signals for done in (whole, resumed))
    assert [(s.name, s.where) for s in first] == [(s.name, s.where) for s in second]
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a.steps, b.steps), (a.name, a.where)
        assert np.array_equal(a.values, b.values, equal_nan=True), (a.name, a.where)


def test_out_of_time_before_anything_was_measured_leaves_no_weights(config, execute, artifacts):
    row = execute(config, within(0, "timed_out")).row
    assert (row.state, row.weights, row.validation_loss) == ("timed_out", None, None)
    assert list(artifacts.folder.iterdir()) == []
