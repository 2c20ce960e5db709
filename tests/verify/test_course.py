"""The course of a verification, on simulated losses: which set is found, and in what order."""

from __future__ import annotations

import pytest

from tests.verify.simulated import SHAPES, carried_out, plan
from tsdiag.verify.arms import Arm
from tsdiag.verify.course import Course, forkable

RATE = {"optimizer.lr": 1e-3}
POOL = {"model.pooling": "flatten"}
WIDE = {"model.ff_dim": 128}
BOTH = RATE | POOL


def is_repaired(changes):
    return changes.get("optimizer.lr", 0) >= 5e-4 and changes.get("model.pooling") == "flatten"


def only_both(changes):
    """Neither helps alone, as measured on the founding model (causes.md)."""
    return 0.25 if is_repaired(changes) else 1.1


def test_a_pair_is_found_where_neither_member_helps_alone():
    found, order = carried_out(plan(WIDE, RATE, POOL), only_both)
    assert found.repair is not None
    assert found.repair.set == BOTH
    assert found.repair.minimal
    assert found.repair.verdict.outcome == "confirmed"
    assert found.repair.verdict.seeds == 5
    waves = list(dict.fromkeys(wave for wave, _ in order))
    assert waves.index("screening") < waves.index("pairs") < waves.index("confirmation")


def test_members_of_a_pair_are_tried_alone_and_their_interaction_is_told():
    repair = carried_out(plan(RATE, POOL), only_both)[0].repair
    assert repair is not None
    alone = {member.path: member.alone for member in repair.members}
    assert {path: v.outcome for path, v in alone.items() if v} == dict.fromkeys(BOTH, "refuted")
    without = {member.path: member.without for member in repair.members}
    assert all(v is not None and v.outcome == "confirmed" for v in without.values())
    assert repair.interaction == pytest.approx(-0.85, abs=0.05)


def test_causes_whose_remedies_help_only_together_say_so():
    found, _ = carried_out(plan(RATE, POOL, WIDE), only_both)
    rate, pool, wide = (found.verdicts[f"cause-{i}"] for i in range(3))
    assert (rate.outcome, rate.alone, rate.others) == ("confirmed", False, ("model.pooling",))
    assert (pool.outcome, pool.alone, pool.others) == ("confirmed", False, ("optimizer.lr",))
    assert (wide.outcome, wide.alone) == ("refuted", True)


def test_one_change_that_suffices_is_preferred_to_more_that_reach_a_little_further():
    def loss(changes):
        return 0.25 - 0.01 * len(changes) if changes.get("optimizer.lr", 0) >= 5e-4 else 1.1

    found, order = carried_out(plan(POOL, RATE, WIDE), loss)
    assert found.repair is not None
    assert found.repair.set.keys() == {"optimizer.lr"}
    assert "pairs" not in {wave for wave, _ in order}


def test_what_a_remedy_of_several_paths_does_not_need_is_left_out():
    def loss(changes):
        return 0.25 if changes.get("model.pooling") == "flatten" else 1.1

    remedy = POOL | {"model.positions": "sinusoidal", "model.ff_dim": 128}
    found, _ = carried_out(plan(remedy), loss)
    assert found.repair is not None
    assert found.repair.set == POOL


def test_another_rate_is_tried_where_the_remedy_s_rate_is_too_small():
    def loss(changes):
        return {1e-3: 0.7, 3e-3: 0.25}.get(changes.get("optimizer.lr"), 1.0)

    found, _ = carried_out(plan(RATE, POOL), loss)
    assert found.repair is not None
    assert found.repair.set == {"optimizer.lr": 3e-3}
    assert found.verdicts["cause-0"].outcome == "confirmed"


def test_another_rate_is_tried_of_a_remedy_that_changes_more_than_the_rate():
    def loss(changes):
        reached = {1e-3: 0.7, 3e-3: 0.25}.get(changes.get("optimizer.lr"), 1.0)
        return reached if changes.get("model.pooling") == "flatten" else 1.0

    found, _ = carried_out(plan(WIDE, BOTH), loss)
    assert found.repair is not None
    assert found.repair.set == POOL | {"optimizer.lr": 3e-3}


def test_remedies_that_do_nothing_are_refuted_and_make_no_repair():
    found, _ = carried_out(plan(RATE, POOL), lambda _: 1.1)
    assert found.repair is None
    assert {verdict.outcome for verdict in found.verdicts.values()} == {"refuted"}
    assert "no repair" in found.summary


def test_a_help_that_does_not_bring_the_run_to_learning_is_no_repair():
    found, _ = carried_out(plan(RATE), lambda changes: 0.85 if changes else 1.1)
    assert found.repair is None
    assert found.verdicts["cause-0"].outcome == "confirmed"
    assert "learning means surely above 50 %" in found.summary


def test_a_repair_that_chance_outdoes_is_none():
    def loss(changes):
        if "optimizer.weight_decay" in changes:  # nobody proposed it
            return 0.2
        return 0.5 if changes.get("model.pooling") == "flatten" else 1.1

    found, _ = carried_out(plan(POOL), loss)
    assert found.random is not None
    assert not found.random.beaten
    assert found.repair is None
    assert "chance" in found.summary


def test_screening_at_fewer_steps_comes_first_and_half_of_it_goes_on():
    found, order = carried_out(plan(WIDE, RATE, POOL, rungs=(20, 50)), only_both)
    assert found.repair is not None
    screened = [arm for wave, arm in order if wave not in ("confirmation", "random search")]
    sets = {
        steps: {arm.edits for arm in screened if arm.steps == steps and arm.seed == 1000}
        for steps in (20, 50)
    }
    assert sets[50] < sets[20] | {arm.edits for wave, arm in order if wave == "leaving out"}
    assert len(sets[50]) < len(sets[20])


def test_random_edits_get_as_many_runs_as_screening_took():
    found, order = carried_out(plan(RATE, POOL), only_both)
    screened = {
        arm for wave, arm in order if arm.seed == 1000 and arm.set and wave != "random search"
    }
    assert found.random is not None
    assert found.random.runs == len(screened)


def test_out_of_its_time_screening_goes_on_to_the_best_it_knows():
    known = {Arm.of({}, 1000, 100): 1.1, Arm.of(RATE, 1000, 100): 0.3}
    course = Course(plan(POOL, RATE, WIDE), SHAPES, known, closed=True)
    wave, arms = course.pending()
    assert wave == "confirmation"
    assert course.chosen() == RATE
    assert {arm.edits for arm in arms} == {Arm.of(RATE, 0, 0).edits, "{}"}


def test_a_set_that_is_settled_stays_whatever_comes_in_later():
    known = {Arm.of({}, 1000, 100): 1.1, Arm.of(RATE, 1000, 100): 0.1}
    course = Course(plan(POOL, RATE), SHAPES, known, closed=True, settled=POOL)
    assert course.chosen() == POOL
    assert any(arm.set == POOL for arm in course.pending()[1])


def test_a_longer_run_is_no_part_of_a_repair():
    longer = {"training.max_steps": 1000}
    _, order = carried_out(plan(longer, RATE, POOL), only_both)
    joint = [arm.set for _, arm in order if "training.max_steps" in arm.set]
    assert joint
    assert all(changes == longer for changes in joint)
    assert {wave for wave, arm in order if arm.set == longer} == {"other causes"}


def test_only_how_a_run_is_optimised_can_be_tried_from_stalled_weights():
    assert forkable(RATE)
    assert forkable({"training.batch_size": 64})
    assert not forkable(BOTH)
    assert not forkable({"training.max_steps": 900})
    assert not forkable({})
