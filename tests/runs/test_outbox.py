"""What a run has to tell: in order, and nothing of it once another worker goes on with the run."""

from __future__ import annotations

import numpy as np
import pytest

from tsdiag.diagnostics.signals import Signal
from tsdiag.errors import StoreError
from tsdiag.runs.artifacts import read_bytes, write_bytes
from tsdiag.runs.outbox import Outbox, TakenOver
from tsdiag.store.curves import load_trace
from tsdiag.store.runs import RunRow, create_run, end_run, get_run


@pytest.fixture
def run(store):
    return create_run(store, RunRow("a", "trial", "{}"))


def loss(*steps):
    at = np.array(steps, np.float32)
    return Signal("train_loss", "", "", at, at)


def test_what_the_row_no_longer_names_is_removed(run, store, artifacts):
    outbox = Outbox(store, artifacts, run.id)
    for name in ("first", "second"):
        write_bytes(artifacts, name, b"saved")
    outbox.add([loss(0, 1)])
    outbox.set(checkpoint="first")
    outbox.send()
    outbox.set(checkpoint="second")
    outbox.remove("first")
    outbox.send()
    assert get_run(store, run.id).checkpoint == "second"
    assert read_bytes(artifacts, "second") == b"saved"
    with pytest.raises(StoreError, match="not found"):
        read_bytes(artifacts, "first")
    assert load_trace(store, run.id).signal("train_loss").steps.tolist() == [0, 1]


def test_whoever_is_late_leaves_the_checkpoint_to_those_who_went_on(run, store, artifacts):
    outbox = Outbox(store, artifacts, run.id)
    write_bytes(artifacts, "first", b"saved")
    outbox.set(checkpoint="first")
    outbox.send()
    # Stopped here for longer than its lease.
    end_run(store, run.id, state="interrupted", reason="its worker died")
    outbox.set(checkpoint="second")
    outbox.remove("first")
    for _ in range(2):
        with pytest.raises(TakenOver):
            outbox.offer()
    assert get_run(store, run.id).checkpoint == "first"
    assert read_bytes(artifacts, "first") == b"saved"
