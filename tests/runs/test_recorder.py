"""Curves come in chunks that join to the whole."""

from __future__ import annotations

import math

import numpy as np

from tsdiag.diagnostics.signals import BY_NAME
from tsdiag.runs.recorder import Recorder
from tsdiag.store.curves import load_trace
from tsdiag.training.observer import Moment


def moment(step, **values):
    return Moment(model=None, optimizer=None, step=step, **values)


def test_a_chunk_holds_what_came_since_the_last():
    recorder = Recorder()
    assert recorder.take() == []
    recorder.after_evaluation(moment(0, validation_loss=3.0))
    for step in range(4):
        recorder.after_backward(
            moment(
                step, train_loss=step / 2, learning_rate=0.1, gradient_norm=2.0, clipped=step > 1
            )
        )
        if step == 1:
            first = {signal.name: signal for signal in recorder.take()}
    second = {signal.name: signal for signal in recorder.take()}
    assert set(first) == set(BY_NAME)
    assert set(second) == set(BY_NAME) - {"validation_loss"}
    assert first["train_loss"].steps.tolist() == [0, 1]
    assert second["train_loss"].steps.tolist() == [2, 3]
    assert second["train_loss"].values.tolist() == [1.0, 1.5]
    assert second["clipped"].values.tolist() == [1.0, 1.0]
    assert all(signal.unit == BY_NAME[name].unit for name, signal in first.items())
    assert recorder.take() == []


def test_what_is_not_finite_is_noted_too():
    recorder = Recorder()
    recorder.after_backward(moment(0, train_loss=math.nan, gradient_norm=math.inf))
    recorder.after_evaluation(moment(0, validation_loss=math.nan))
    found = {signal.name: signal.values[0] for signal in recorder.take()}
    assert np.isnan(found["train_loss"])
    assert np.isinf(found["gradient_norm"])
    assert np.isnan(found["validation_loss"])


def test_a_stored_run_has_every_step_once(config, execute, store):
    trace = load_trace(store, execute(config).row.id)
    for name in ("train_loss", "learning_rate", "gradient_norm", "clipped"):
        assert trace.signal(name).steps.tolist() == list(range(12)), name
    assert trace.signal("validation_loss").steps.tolist() == [0, 5, 10, 12]
