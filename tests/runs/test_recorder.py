"""Curves come in chunks that join to the whole."""

from __future__ import annotations

import math

import numpy as np

from tsdiag.diagnostics.signals import SignalName
from tsdiag.runs.recorder import Recorder
from tsdiag.store.curves import load_trace

LOSS = SignalName("train_loss", "target variance", "loss of a batch", "update")
NORM = SignalName("weight_norm", "weights", "norm of a tensor", "state")


def test_a_chunk_holds_what_came_since_the_last():
    recorder = Recorder()
    assert recorder.take() == []
    for step in range(4):
        recorder.note(LOSS, "", step, step / 2)
        if step == 1:
            recorder.note(NORM, "head.projection", step, 3.0)
            recorder.note(NORM, "head.hidden.0", step, 4.0)
            first = {(signal.name, signal.where): signal for signal in recorder.take()}
    second = {(signal.name, signal.where): signal for signal in recorder.take()}
    assert set(second) == {("train_loss", "")}
    assert set(first) - set(second) == {
        ("weight_norm", "head.projection"),
        ("weight_norm", "head.hidden.0"),
    }
    assert first["train_loss", ""].steps.tolist() == [0, 1]
    assert second["train_loss", ""].steps.tolist() == [2, 3]
    assert second["train_loss", ""].values.tolist() == [1.0, 1.5]
    assert first["train_loss", ""].unit == "target variance"
    assert recorder.take() == []


def test_what_is_not_finite_is_noted_too():
    recorder = Recorder()
    recorder.note(LOSS, "", 0, math.nan)
    recorder.note(NORM, "", 0, math.inf)
    found = {signal.name: signal.values[0] for signal in recorder.take()}
    assert np.isnan(found["train_loss"])
    assert np.isinf(found["weight_norm"])


def test_what_float32_cannot_hold_is_infinite():
    recorder = Recorder()
    recorder.note(NORM, "", 0, 1e39)
    assert np.isinf(recorder.take()[0].values[0])


def test_a_stored_run_has_every_step_once(config, execute, store):
    trace = load_trace(store, execute(config).row.id)
    for name in ("train_loss", "learning_rate", "gradient_norm", "clipped"):
        assert trace.signal(name).steps.tolist() == list(range(12)), name
    assert trace.signal("validation_loss").steps.tolist() == [0, 5, 10, 12]
