from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.exc import StatementError

from tsdiag.config import RunConfig
from tsdiag.errors import StoreError
from tsdiag.store.runs import (
    RunRow,
    change_running,
    create_run,
    end_run,
    find_runs,
    get_run,
    hand_on_checkpoint,
    update_run,
)

FULL = RunRow(
    study="beijing33",
    role="final",
    config=RunConfig().to_json(),
    seed=2**62,
    max_steps=2000,
    trial=17,
    label="trial 17",
    state="completed",
    reason="every step was taken " * 5000,
    step=1999,
    validation_loss=1 / 3,
    last_validation_loss=0.1 + 0.2,
    metrics={"mse": 1e-300, "ties": 3, "floors": {"ridge": math.inf}, "r2": np.float32(0.5)},
    parameters=3_000_000_000,
    seconds=12.5,
    cpu_seconds=11.75,
    environment={"cpu": "µ-arch 気", "threads": 1},
    checkpoint="a-b",
    weights="c-d",
    parent="0" * 32,
    started=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=8))),
)


def test_a_run_comes_back_as_it_was_created(store):
    created = create_run(store, FULL)
    assert get_run(store, created.id) == created
    assert created == replace(FULL, updated=created.updated, finished=created.finished)
    assert created.started.tzinfo is not None
    assert get_run(store, created.id).started == datetime(2026, 1, 1, 19, 4, 5, 678901, tzinfo=UTC)


def test_a_run_is_followed_from_start_to_end(store):
    run = create_run(store, RunRow("a", "trial", "{}", trial=0))
    assert (run.state, run.finished) == ("running", None)
    update_run(store, run.id, step=100, validation_loss=np.float32(0.5), metrics={"mse": 0.5})
    assert (get_run(store, run.id).step, get_run(store, run.id).finished) == (100, None)
    update_run(store, run.id, state="interrupted", reason="SIGTERM")
    ended = get_run(store, run.id)
    assert (ended.state, ended.validation_loss) == ("interrupted", 0.5)
    assert run.started < ended.finished <= ended.updated
    update_run(store, run.id, state="running")
    assert get_run(store, run.id).finished is None


def test_a_run_that_has_ended_is_not_changed_by_who_was_late(store):
    run = create_run(store, RunRow("a", "trial", "{}"))
    assert change_running(store, run.id, step=100)
    assert end_run(store, run.id, state="interrupted", reason="its worker died")
    assert not change_running(store, run.id, step=150, checkpoint="late")
    assert not end_run(store, run.id, state="completed", step=150)
    found = get_run(store, run.id)
    assert (found.state, found.step, found.checkpoint) == ("interrupted", 100, None)


def test_a_checkpoint_has_one_run_at_any_time(store):
    first = create_run(store, RunRow("a", "trial", "{}", state="interrupted", checkpoint="saved"))
    late, heir = (create_run(store, RunRow("a", "trial", "{}", parent=first.id)) for _ in range(2))

    def named():
        return [get_run(store, run.id).checkpoint for run in (first, late, heir)]

    update_run(store, late.id, state="interrupted")
    assert not hand_on_checkpoint(store, first.id, late.id, "saved")
    assert named() == ["saved", None, None]
    # Once more, as where the answer was lost.
    for _ in range(2):
        assert hand_on_checkpoint(store, first.id, heir.id, "saved")
    assert named() == [None, None, "saved"]


def test_damaged_json_is_told(store):
    run = create_run(store, RunRow("a", "trial", "{}"))
    with store.write() as connection:
        connection.execute(text("UPDATE tsdiag_runs SET metrics = '{\"mse\": 0.'"))
    with pytest.raises(StoreError, match="damaged JSON"):
        get_run(store, run.id)


def test_a_loss_that_is_not_finite_is_none_on_every_database(store):
    for loss in (math.nan, math.inf, np.float32("nan")):
        run = create_run(store, RunRow("a", "trial", "{}", last_validation_loss=loss))
        assert get_run(store, run.id).last_validation_loss is None


def test_a_reason_with_bytes_that_no_database_takes_is_kept(store):
    run = create_run(store, RunRow("a", "trial", "{}"))
    update_run(store, run.id, state="failed", reason="no file \0 \udcff 🙈")
    assert get_run(store, run.id).reason == "no file \ufffd ? 🙈"


def test_runs_are_found_by_what_they_are(store):
    made = [
        create_run(store, RunRow("a", "baseline", "{}")),
        create_run(store, RunRow("a", "trial", "{}", trial=0)),
        create_run(store, RunRow("a", "trial", "{}", trial=1)),
        create_run(store, RunRow("a", "final", "{}", label="trial 1", seed=3)),
        create_run(store, RunRow("A", "trial", "{}", trial=0)),
    ]
    assert find_runs(store, "a") == made[:4]
    assert find_runs(store, "a", role="trial") == made[1:3]
    assert find_runs(store, "a", trial=0) == made[1:2]
    assert find_runs(store, "a", role="final", label="trial 1") == made[3:4]
    assert find_runs(store, "b") == []


def test_mistakes_are_told(store):
    run = create_run(store, RunRow("a", "trial", "{}"))
    with pytest.raises(StoreError, match="it is there already"):
        create_run(store, run)
    with pytest.raises(StoreError, match=r'no run "nothing" in .*tsdiag trials'):
        get_run(store, "nothing")
    with pytest.raises(StoreError, match='no run "nothing"'):
        update_run(store, "nothing", step=1)
    with pytest.raises(ValueError, match='no column "lr"'):
        update_run(store, run.id, lr=1)
    with pytest.raises(ValueError, match='unknown state "done"'):
        update_run(store, run.id, state="done")
    with pytest.raises(StatementError, match="has no time zone"):
        update_run(store, run.id, started=datetime(2026, 1, 1))
