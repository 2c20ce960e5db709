"""The dear probes are asked about what a run has left, at its end and later."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tsdiag.diagnostics.probes import AT_END, LIVE, ON_DEMAND
from tsdiag.errors import DataError, StoreError
from tsdiag.runs.examination import examine_run
from tsdiag.store.curves import load_trace
from tsdiag.store.runs import RunRow, create_run

CPU = torch.device("cpu")


def names(probes):
    return {signal.name for probe in probes for signal in probe.signals}


def test_a_run_is_examined_at_its_end(config, execute, store):
    row = execute(config, probes=(*LIVE, *AT_END)).row
    trace = load_trace(store, row.id)
    assert {s.name for s in trace.signals} & names(AT_END) >= {
        "time_shuffle_effect",
        "readout_channel_rank",
        "input_gradient",
    }
    assert trace.signal("time_shuffle_effect").steps.tolist() == [row.metrics["best_step"]]


def test_a_stored_run_is_examined_on_demand_and_keeps_what_it_had(
    config, execute, store, artifacts, dataset
):
    row = execute(config).row
    before = {(s.name, s.where): s.values for s in load_trace(store, row.id).signals}
    assert examine_run(store, artifacts, dataset, row.id, CPU, ON_DEMAND) == {}
    after = {(s.name, s.where): s.values for s in load_trace(store, row.id).signals}
    new = set(after) - set(before)
    assert {name for name, _ in new} == names(ON_DEMAND)
    places = {where for name, where in new if name == "readout_skill"}
    assert {"input", "embedding", "blocks.0", "pooling", ""} <= places
    assert all(np.array_equal(after[key], before[key]) for key in before)


def test_it_finds_what_the_end_of_the_run_found(config, execute, store, artifacts, dataset):
    ended = load_trace(store, execute(config, probes=AT_END).row.id)
    bare = execute(config, probes=()).row
    examine_run(store, artifacts, dataset, bare.id, CPU, AT_END)
    asked = load_trace(store, bare.id)
    assert [(s.name, s.where, s.values.tobytes()) for s in asked.signals] == [
        (s.name, s.where, s.values.tobytes()) for s in ended.signals
    ]


def test_what_is_examined_is_told_by_the_step_of_the_best_weights(
    config, execute, store, artifacts, dataset
):
    # Every update makes it worse, so the best weights are the first.
    wild = config.edits({"optimizer.lr": 3.0, "optimizer.warmup_fraction": 0.0})
    row = execute(wild, probes=AT_END).row
    assert (row.step, row.metrics["best_step"]) == (12, 0)
    assert load_trace(store, row.id).signal("time_shuffle_effect").steps.tolist() == [0]
    examine_run(store, artifacts, dataset, row.id, CPU, ON_DEMAND)
    assert {s.steps.tolist()[0] for s in load_trace(store, row.id).signals} == {0}


def test_a_run_that_left_no_weights_is_examined_as_it_began(
    config, execute, store, artifacts, dataset
):
    row = execute(config.edits({"optimizer.lr": 1e30, "optimizer.warmup_fraction": 0.0})).row
    assert (row.state, row.weights) == ("diverged", None)
    assert examine_run(store, artifacts, dataset, row.id, CPU, ON_DEMAND) == {}
    assert load_trace(store, row.id).signal("rate_ratio").steps.tolist() == [0]


def test_asked_twice_it_is_told_once(config, execute, store, artifacts, dataset):
    row = execute(config, probes=()).row
    for _ in range(2):
        examine_run(store, artifacts, dataset, row.id, CPU, AT_END)
    assert all(len(signal.steps) == 1 for signal in load_trace(store, row.id).signals)


def test_a_run_is_not_examined_on_other_data(config, execute, store, artifacts, dataset):
    row = execute(config, probes=()).row
    other = replace(dataset, config=dataset.config.model_copy(update={"context_length": 8}))
    with pytest.raises(DataError, match=r"data\.context_length = 12, not 8; load the data of its"):
        examine_run(store, artifacts, other, row.id, CPU)
    assert load_trace(store, row.id).signals == ()


def test_a_run_that_is_under_way_is_left_alone(config, store, artifacts, dataset):
    row = create_run(store, RunRow("wind", "trial", config.to_json()))
    with pytest.raises(StoreError, match="it is still running; wait for its end"):
        examine_run(store, artifacts, dataset, row.id, CPU)


@pytest.mark.parametrize("lr", [1e-3, 1e30], ids=["completed", "diverged"])
def test_probes_that_failed_are_told_however_the_run_ended(lr, config, execute):
    def fail(_):
        raise ValueError("no such layer")

    broken = tuple(replace(probe, measure=fail) for probe in LIVE[:1])
    row = execute(config.edit("optimizer.lr", lr), probes=broken).row
    assert row.metrics["failed_probes"] == {broken[0].name: "step 0: ValueError: no such layer"}


def test_a_resumed_run_does_not_ask_a_probe_that_failed_before(config, execute, at):
    asked = []

    def fail(moment):
        asked.append(moment.step)
        raise ValueError("no such layer")

    broken = (replace(LIVE[0], measure=fail),)
    first = execute(config, at(3), probes=broken).row
    second = execute(config, parent=first.id, probes=broken).row
    assert asked == [0]
    assert second.metrics["failed_probes"] == first.metrics["failed_probes"] != {}
