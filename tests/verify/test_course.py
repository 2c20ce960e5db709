"""The course of a verification, on simulated losses: waves, proof, parts and causes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.verify.simulated import (
    BOTH,
    POOL,
    RATE,
    SHAPES,
    WIDE,
    carried_out,
    is_repaired,
    only_both,
    plan,
)
from tsdiag.verify.arms import Arm
from tsdiag.verify.conclude import conclude
from tsdiag.verify.course import Course
from tsdiag.verify.waves import forkable


def test_a_pair_is_found_where_neither_member_helps_alone():
    found, order = carried_out(plan(WIDE, RATE, POOL), only_both)
    assert found.repair is not None
    assert found.repair.set == BOTH
    assert found.repair.minimal
    assert found.repair.verdict.outcome == "confirmed"
    assert found.repair.verdict.seeds == 5
    waves = list(dict.fromkeys(wave for wave, _ in order))
    assert waves.index("screening") < waves.index("pairs") < waves.index("confirmation")


def test_pairs_are_tried_although_the_best_single_set_is_the_best_of_all():
    """At few steps all may be as good as nothing, and the union spoilt by one of its members."""

    def loss(changes):
        return 1.3 if "model.ff_dim" in changes else only_both(changes) - 0.01 * len(changes)

    found, _ = carried_out(plan(WIDE, RATE, POOL), loss)
    assert found.repair is not None
    assert found.repair.set == BOTH


def test_members_of_a_pair_are_tried_alone_and_their_interaction_is_told():
    repair = carried_out(plan(RATE, POOL), only_both)[0].repair
    assert repair is not None
    alone = {path: member.alone for member in repair.members for path in member.set}
    assert {path: v.outcome for path, v in alone.items() if v} == dict.fromkeys(BOTH, "refuted")
    without = {path: member.without for member in repair.members for path in member.set}
    assert all(v is not None and v.outcome == "confirmed" for v in without.values())
    assert repair.interaction == pytest.approx(-0.85, abs=0.05)


def test_two_changes_of_which_neither_can_be_missing_are_one_member():
    """A stream of another width than the channels needs an embedding, and the other way round."""
    patches, rate = {"model.d_model": 64, "model.embedding": "patch"}, {"optimizer.lr": 1e-3}
    start = plan(patches, rate)
    bare = start.base.edits({"model.d_model": "channels", "model.embedding": "identity"})
    start = start.model_copy(update={"config": bare.to_json()})

    def loss(changes):
        return 0.25 if changes.items() >= (patches | rate).items() else 1.1

    repair = carried_out(start, loss)[0].repair
    assert repair is not None
    assert [member.set for member in repair.members] == [patches, rate]
    assert all(m.alone is not None and m.without is not None for m in repair.members)
    assert repair.interaction == pytest.approx(-0.85, abs=0.05)


def test_a_repair_of_two_tied_changes_has_no_members():
    patches = {"model.d_model": 64, "model.embedding": "patch"}
    start = plan(patches)
    bare = start.base.edits({"model.d_model": "channels", "model.embedding": "identity"})
    start = start.model_copy(update={"config": bare.to_json()})
    repair = carried_out(start, lambda changes: 0.25 if len(changes) == 2 else 1.1)[0].repair
    assert repair is not None
    assert (repair.set, repair.members, repair.minimal) == (patches, (), True)


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


def test_a_cause_is_shown_by_a_remedy_of_the_same_budget_where_both_help():
    def loss(changes):
        return 0.3 if changes.keys() & {"optimizer.lr", "training.max_steps"} else 1.1

    start = plan(RATE, {"training.max_steps": 1000})
    both = [h.model_copy(update={"causes": ("slow",)}) for h in start.hypotheses]
    found, _ = carried_out(start.model_copy(update={"hypotheses": tuple(both)}), loss)
    assert found.verdicts["slow"].set == RATE


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


def test_a_remedy_that_brought_nothing_of_its_own_confirms_no_cause():
    pool = POOL | {"model.positions": "sinusoidal"}
    wide = WIDE | {"model.n_heads": 2, "model.positions": "sinusoidal"}

    def loss(changes):
        there = all(changes.get(path) == value for path, value in pool.items())
        return 0.25 if there else 1.1

    found, _ = carried_out(plan(pool, wide), loss)
    assert found.repair is not None
    assert found.repair.set == pool
    assert found.verdicts["cause-0"].outcome == "confirmed"
    assert found.verdicts["cause-1"].outcome == "refuted"


def test_the_opposite_of_a_remedy_confirms_no_cause():
    attention = {"model.pooling": "attention"}
    found, _ = carried_out(
        plan(POOL, attention), lambda c: 0.25 if POOL.items() <= c.items() else 1
    )
    assert found.verdicts["cause-1"].outcome == "refuted"


@pytest.mark.parametrize(
    ("there", "scratch", "told"),
    [(0.3, 0.3, "rescued"), (1.0, 0.3, "only from scratch"), (0.95, 1.0, "not at all")],
)
def test_rescued_means_that_it_learns_from_where_it_stalled(there, scratch, told):
    start = plan(RATE, POOL).model_copy(update={"weights": "r.safetensors"})
    results, rng = {}, np.random.default_rng(0)
    while arms := Course(start, SHAPES, results).pending()[1]:
        reached = there if arms[0].origin else scratch
        reached = reached if "optimizer.lr" in arms[0].set else 1.1
        results[arms[0]] = reached + rng.normal(0, 0.005)
    found = conclude(Course(start, SHAPES, results), complete=True, runs=0, seconds=0)
    assert found.verdicts["cause-0"].plateau == told


def test_a_part_that_goes_as_far_on_all_seeds_is_asked_for_its_own_parts():
    """On the screening seed the width seemed to be needed; on the others it is not."""

    def loss(changes):
        return 0.25 if is_repaired(changes) else 1.1

    start = plan(BOTH | WIDE)
    results = {}
    while arms := Course(start, SHAPES, results).pending()[1]:
        arm = arms[0]
        lucky = arm.seed == 1000 and "model.ff_dim" in arm.set and is_repaired(arm.set)
        results[arm] = loss(arm.set) - (0.15 if lucky else 0.0) + 0.001 * (arm.seed % 7)
    found = conclude(Course(start, SHAPES, results), complete=True, runs=0, seconds=0)
    assert found.repair is not None
    assert found.repair.set == BOTH
    assert found.repair.minimal
    assert all(member.without is not None for member in found.repair.members)
