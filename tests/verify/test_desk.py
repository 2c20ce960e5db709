"""What a verification does next, by the runs in the store: claimed, resumed, given up, in time."""

from __future__ import annotations

import json

import pytest

from tests.verify.simulated import SHAPES, plan
from tsdiag.config import ModelConfig, RunConfig
from tsdiag.diagnostics.verdicts import Repair, Verdict, Verification
from tsdiag.search.verification import _conclude
from tsdiag.store.database import open_store
from tsdiag.store.interventions import save_plan, settled
from tsdiag.store.runs import RunRow, create_run, update_run
from tsdiag.uptime import uptime
from tsdiag.verify.arms import Arm, config_of, loss_of
from tsdiag.verify.desk import Desk

RATE = {"optimizer.lr": 1e-3}
PLAN = plan(RATE, {"model.pooling": "flatten"})


@pytest.fixture
def store(tmp_path):
    found = open_store(f"sqlite:///{tmp_path / 'tsdiag.db'}")
    save_plan(found, RunRow(id="r", study="s", role="trial", config="{}"), PLAN.model_dump_json())
    return found


@pytest.fixture
def desk(store):
    def make(seconds=600.0):
        now = uptime()
        return Desk(store, PLAN, SHAPES, now, now + seconds)

    return make


def stored(store, changes, **columns):
    """Store a run of an arm of the screening."""
    arm = Arm.of(changes, PLAN.screen_seed, PLAN.steps)
    config = config_of(PLAN.base, arm).to_json()
    known = {"state": "completed", "validation_loss": 0.9, "step": 100, "max_steps": 100}
    row = RunRow(
        study="s",
        role=arm.role,
        trial=0,
        seed=arm.seed,
        label=arm.label,
        **known | {"config": config} | columns,
    )
    return create_run(store, row)


def test_control_and_treatment_differ_in_the_named_paths_alone():
    control, treatment = (
        config_of(PLAN.base, Arm.of(changes, 1001, 100)).paths() for changes in ({}, RATE)
    )
    assert {path for path in control if control[path] != treatment[path]} == {"optimizer.lr"}
    assert control["seed"] == 1001


def test_the_control_comes_first_and_no_run_is_given_twice(desk):
    first, second = desk().next(), desk().next()
    assert first is not None
    assert second is not None
    assert first.arm.set == {}
    assert first.request.role == "control"
    # Both are this process's own, which may claim again: what it holds must have ended first.
    assert second.arm == first.arm


def test_a_run_of_another_process_is_left_to_it(desk, store, monkeypatch):
    first = desk().next()
    monkeypatch.setattr("tsdiag.verify.desk.owner", lambda: "elsewhere:1:x")
    other = desk().next()
    assert first is not None
    assert other is not None
    assert other.arm != first.arm


def test_who_finds_others_at_all_that_is_left_waits(desk, store, monkeypatch):
    monkeypatch.setattr("tsdiag.verify.desk.claim", lambda *_: False)
    assert desk().next() == "wait"


def test_who_looks_while_a_wave_ends_waits_for_the_next_one(desk, store, monkeypatch):
    """The last run of a wave ends between two looks: the next wave is nobody's yet, and no end."""
    arms = desk().course().pending()[1]
    for arm in arms[:-1]:
        stored(store, arm.set)

    def ended(*_):
        stored(store, arms[-1].set)
        return False

    monkeypatch.setattr("tsdiag.verify.desk.claim", ended)
    assert desk().next() == "wait"
    monkeypatch.undo()
    assert desk().next().arm not in arms


def test_who_has_no_time_for_a_run_waits_while_others_are_at_it(desk, store, monkeypatch):
    monkeypatch.setattr("tsdiag.verify.desk.holder", lambda *_: "elsewhere:1:x")
    assert desk(seconds=0.5).next() == "wait"


def test_what_is_in_the_store_is_not_run_again(desk, store):
    stored(store, {})
    assignment = desk().next()
    assert assignment is not None
    assert assignment.arm.set == RATE


def test_a_broken_off_run_is_continued(desk, store):
    row = stored(store, {}, state="interrupted", validation_loss=None)
    assignment = desk().next()
    assert assignment is not None
    assert assignment.request.parent == row.id


def test_a_run_whose_process_died_is_continued(desk, store):
    row = stored(store, {}, state="running", validation_loss=None)
    assignment = desk().next()
    assert assignment is not None
    assert assignment.request.parent == row.id


def test_what_fails_again_and_again_is_given_up(desk, store):
    for _ in range(3):
        stored(store, {}, state="failed", validation_loss=None)
    assignment = desk().next()
    assert assignment is not None
    assert assignment.arm.set == RATE


def test_nothing_is_begun_that_cannot_end_in_time(desk, store):
    assert desk(seconds=0.5).next() is None
    row = stored(store, {})
    update_run(store, row.id, seconds=1000.0, step=100)
    left = [assignment.arm for assignment in [desk(seconds=60.0).next()] if assignment]
    assert all(arm.set for arm in left)


@pytest.mark.parametrize(
    ("state", "loss", "counts"),
    [
        ("completed", 0.3, 0.3),
        ("diverged", 0.3, 1.0),
        ("diverged", None, 1.0),
        ("diverged", 3.0, 3.0),
    ],
)
def test_a_run_that_diverged_is_worth_no_more_than_the_training_mean(state, loss, counts):
    config = PLAN.base.to_json()
    row = RunRow(study="s", role="treatment", config=config, state=state, validation_loss=loss)
    assert loss_of(row, PLAN.base, constant=1.0, variance=4.0) == counts


def test_a_loss_is_told_in_the_unit_of_the_run_that_is_verified():
    """The target's variance is 4, so that a loss of .5 of it is one of 2."""
    bare = PLAN.base.edit("data.scale_target", False)
    known = {"study": "s", "role": "treatment", "state": "completed", "validation_loss": 0.5}
    scaled = RunRow(config=PLAN.config, **known)
    assert loss_of(scaled, bare, constant=9.0, variance=4.0) == 2.0
    assert loss_of(RunRow(config=bare.to_json(), **known), PLAN.base, 9.0, 4.0) == 0.125
    assert loss_of(scaled, PLAN.base, constant=9.0, variance=4.0) == 0.5


def test_what_kills_its_worker_again_and_again_is_given_up(desk, store):
    for _ in range(3):
        stored(store, {}, state="interrupted", reason="its worker died", validation_loss=None)
    assignment = desk().next()
    assert assignment is not None
    assert assignment.arm.set == RATE


def test_screening_that_time_cut_off_is_not_whole(desk, store):
    stored(store, {}, validation_loss=1.1)
    stored(store, RATE, validation_loss=0.3)
    late = Desk(store, PLAN, SHAPES, uptime() - 100, uptime() + 1)
    assert late.course().chosen() == RATE
    assert not late.is_screened()


def test_runs_of_the_baseline_with_the_same_number_do_not_count(desk, store):
    """Both are trial 0, each of its own study in the sampler's eyes."""
    stored(store, {})
    lstm = RunConfig(model=ModelConfig(kind="lstm"))
    stored(store, {}, config=lstm.to_json(), cpu_seconds=1e6)
    runs, seconds = desk().used()
    assert runs == 1
    assert seconds < 1e6


def test_a_longer_verification_that_was_broken_off_is_not_called_complete(desk):
    shown = Verdict(outcome="confirmed", why="", set=RATE, effect=-1.0, seeds=5, steps=50)
    repair = Repair(set=RATE, verdict=shown, minimal=True)
    before = Verification(run="r", complete=True, repair=repair)
    found = _conclude(desk(), before)
    assert found.repair == repair
    assert not found.complete


def test_a_confirmation_has_the_steps_that_its_set_turned_out_to_afford(store):
    """By the time that it took when it was screened, whatever was thought of it before."""
    plan = PLAN.model_copy(update={"share": 5 * 0.02 * 60})
    save_plan(store, RunRow(id="r", study="s", role="trial", config="{}"), plan.model_dump_json())
    stored(store, {}, validation_loss=1.1)
    stored(store, RATE, validation_loss=0.3, cpu_seconds=0.001)
    late = Desk(store, plan, SHAPES, uptime() - 100, uptime() + 1)
    assert late.course().steps > plan.steps_of(RATE)
    assert json.loads(settled(store, "r")) == {"settled": RATE, "steps": late.course().steps}
    again = Desk(store, plan, SHAPES, uptime() - 100, uptime() + 1)
    stored(store, RATE, validation_loss=0.3, cpu_seconds=1e-9)
    assert again.course().steps == late.course().steps


def test_looking_settles_nothing(desk, store):
    stored(store, {}, validation_loss=1.1)
    stored(store, RATE, validation_loss=0.3)
    late = Desk(store, PLAN, SHAPES, uptime() - 100, uptime() + 1)
    assert late.look().chosen() is None
    assert settled(store, "r") is None
    assert late.course().chosen() == RATE
    assert settled(store, "r") is not None
