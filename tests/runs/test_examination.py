"""The dear probes are asked about what a run has left, at its end and later."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tsdiag.diagnostics.probes import AT_END, LIVE, ON_DEMAND
from tsdiag.errors import StoreError
from tsdiag.runs.examination import examine_run
from tsdiag.store.curves import load_trace

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
    assert trace.signal("time_shuffle_effect").steps.tolist() == [row.step]


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


def test_a_run_without_weights_cannot_be_examined(config, execute, store, artifacts, dataset, at):
    row = execute(config, at(3)).row
    with pytest.raises(StoreError, match="it is interrupted and has left no weights; take a trial"):
        examine_run(store, artifacts, dataset, row.id, CPU)
