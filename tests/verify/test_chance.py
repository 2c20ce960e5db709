"""A repair against random edits, on simulated losses."""

from __future__ import annotations

import pytest

from tests.verify.simulated import (
    BOTH,
    POOL,
    RATE,
    SHAPES,
    carried_out,
    only_both,
    plan,
)
from tsdiag.verify.arms import Arm, canonical
from tsdiag.verify.conclude import conclude
from tsdiag.verify.course import Course


def test_a_repair_that_chance_outdoes_is_none():
    def loss(changes):
        if "optimizer.weight_decay" in changes:  # nobody proposed it
            return 0.2
        return 0.5 if changes.get("model.pooling") == "flatten" else 1.1

    found, _ = carried_out(plan(POOL), loss)
    assert found.random is not None
    assert not found.random.beaten
    assert found.repair is None
    assert "chance goes farther" in found.summary
    assert "with 1 change to" in found.summary
    assert "over 5 seeds" in found.random.why


def test_chance_that_gets_less_far_with_fewer_changes_takes_no_repair_away():
    four = BOTH | {"model.ff_dim": 128, "model.n_heads": 2}

    def loss(changes):
        if four.items() <= changes.items():
            return 0.25
        return 0.3 if "optimizer.weight_decay" in changes else 1.1

    found, _ = carried_out(plan(four), loss)
    assert found.random is not None
    assert found.random.loss == pytest.approx(0.3, abs=0.05)
    assert found.random.better
    assert found.repair is not None


def test_chance_that_learned_nothing_beats_no_repair_that_was_found_at_more_steps():
    """The budget ends before random edits had their time; at few steps all losses are noise."""
    start = plan(RATE, POOL, rungs=(20,))
    known = {Arm.of(s, 1000, 20): 1.1 for s in ({}, RATE, POOL, BOTH)}
    known |= {Arm.of(start.random[0], 1000, 20): 1.05}
    known |= {Arm.of({}, seed, 100): 1.1 for seed in start.seeds}
    known |= {Arm.of(BOTH, seed, 100): 0.25 + seed / 1e5 for seed in start.seeds}
    course = Course(start, SHAPES, known, closed=True, settled=BOTH)
    found = conclude(course, complete=False, runs=0, seconds=0.0)
    assert found.repair is not None
    assert found.random is not None
    assert found.random.beaten
    assert not found.random.complete


def test_random_edits_get_as_much_time_as_screening_took():
    start = plan(RATE, POOL)
    slow = {canonical(edit): 0.02 for edit in start.random}
    found, order = carried_out(start.model_copy(update={"paces": {"{}": 0.01, **slow}}), only_both)
    screened = {
        arm for wave, arm in order if arm.seed == 1000 and arm.set and wave != "random search"
    }
    assert found.random is not None
    assert found.random.runs == len(screened) // 2


def test_random_edits_get_as_many_runs_as_screening_took():
    found, order = carried_out(plan(RATE, POOL), only_both)
    screened = {
        arm for wave, arm in order if arm.seed == 1000 and arm.set and wave != "random search"
    }
    assert found.random is not None
    assert found.random.runs == len(screened)


def test_one_more_seed_of_chance_changes_no_repair():
    def loss(changes):
        return 0.25 if changes.get("model.pooling") == "flatten" else 1.1

    start = plan(POOL)
    done, order = carried_out(start, loss)
    assert done.repair is not None
    lucky = {arm: loss(arm.set) for _, arm in order}
    lucky |= {Arm.of(start.random[0], seed, 100): 0.0 for seed in start.seeds[:1]}
    found = conclude(Course(start, SHAPES, lucky), complete=False, runs=0, seconds=0)
    assert found.repair is not None
