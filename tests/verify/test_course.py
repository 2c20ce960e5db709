"""The course of a verification, on simulated losses: which set is found, and in what order."""

from __future__ import annotations

import numpy as np
import pytest

from tests.verify.simulated import SHAPES, carried_out, plan
from tsdiag.verify.arms import Arm, canonical
from tsdiag.verify.conclude import conclude
from tsdiag.verify.course import Course
from tsdiag.verify.waves import forkable

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


def test_a_rate_that_does_nothing_alone_is_tried_higher_in_the_set_that_it_helps():
    def loss(changes):
        pooled = changes.get("model.pooling") == "flatten"
        return {1e-3: 0.7, 3e-3: 0.25}.get(changes.get("optimizer.lr"), 1.0) if pooled else 1.0

    found, _ = carried_out(plan(WIDE, RATE, POOL), loss)
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


def test_a_cause_is_shown_by_a_remedy_of_the_same_budget_where_both_help():
    def loss(changes):
        return 0.3 if changes.keys() & {"optimizer.lr", "training.max_steps"} else 1.1

    start = plan(RATE, {"training.max_steps": 1000})
    both = [h.model_copy(update={"causes": ("slow",)}) for h in start.hypotheses]
    found, _ = carried_out(start.model_copy(update={"hypotheses": tuple(both)}), loss)
    assert found.verdicts["slow"].set == RATE


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


def after(steps):
    return lambda arm: arm.steps >= steps


def cheap_pool(start):
    """A pool that makes a step ten times cheaper, alone and with whatever else."""
    paces = {**start.paces, canonical(POOL): 0.1 * start.paces["{}"]}
    return start.model_copy(update={"paces": paces})


def test_sets_with_cheap_steps_come_first_and_have_more_of_them():
    start = cheap_pool(plan(WIDE, RATE, POOL, rungs=(20,)))
    found, order = carried_out(start, only_both, learned=after(60))
    assert found.repair is not None
    assert found.repair.set == BOTH
    first = [arm for wave, arm in order if wave == "more steps"]
    assert order[0][1] == first[0]
    assert all("model.pooling" in arm.set and arm.steps == 100 for arm in first)
    # What is dear is asked only as a part of the set: the cheap one learns without it.
    assert not [arm for _, arm in order if arm.set == WIDE and arm.seed == 1000]


def test_where_no_cheap_set_learns_the_dear_ones_are_asked():
    start = cheap_pool(plan(POOL, RATE, WIDE, rungs=(20,)))

    def loss(changes):
        return 0.25 if changes.get("optimizer.lr") == 1e-3 and len(changes) == 1 else 1.1

    found, order = carried_out(start, loss)
    assert found.repair is not None
    assert found.repair.set == RATE
    assert [arm.set for wave, arm in order if wave == "more steps"]


def test_where_no_set_is_cheap_the_better_half_goes_on():
    found, order = carried_out(
        plan(WIDE, RATE, POOL, rungs=(20,)), lambda c: only_both(c) + 0.1, learned=after(60)
    )
    assert {arm.steps for wave, arm in order if wave == "more steps"} == {100}
    screened = {arm.edits for wave, arm in order if arm.steps == 20 and wave != "random search"}
    assert 0 < sum(wave == "more steps" for wave, _ in order) <= len(screened) / 2
    assert found.repair is None or found.repair.set == BOTH


def test_where_nothing_learns_at_more_steps_either_the_best_is_not_taken_apart():
    """Else any part of it would restore what is not there, and the smallest one be confirmed."""
    start = plan(WIDE, RATE, POOL, rungs=(20,))
    paces = {**start.paces, canonical(POOL): 0.001}

    def loss(changes):
        return 1.0 if changes == BOTH else 1.1

    found, order = carried_out(
        start.model_copy(update={"paces": paces, "naive": 0.9}), loss, noise=1e-4
    )
    assert found.repair is None
    confirmed = [arm.set for wave, arm in order if wave == "confirmation" and arm.set]
    assert confirmed
    assert all(changes == BOTH for changes in confirmed)
    assert "nothing got below the naive floor" not in found.summary  # five pairs say more


def test_a_set_that_learned_at_more_steps_was_not_chosen_blindly():
    start = plan(RATE, POOL, rungs=(20,))
    known = {Arm.of(s, 1000, 20): 1.1 for s in ({}, RATE, POOL, BOTH)}
    known |= {Arm.of(s, 1000, 100): 0.3 for s in (RATE, POOL, BOTH)}
    course = Course(start, SHAPES, known, closed=True, settled=BOTH)
    told = conclude(course, complete=False, runs=0, seconds=0.0).summary
    assert "is no proof yet" in told
    assert "naive floor" not in told
    for steps in (20, 100):
        known[Arm.of(BOTH, 1000, steps)] = 1.1
    told = conclude(course, complete=False, runs=0, seconds=0.0).summary
    assert "in 100 steps of screening nothing got below the naive floor" in told


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


def test_a_screening_in_which_something_learns_asks_for_no_more_steps():
    _, order = carried_out(plan(WIDE, RATE, POOL, rungs=(20,)), only_both)
    assert "more steps" not in {wave for wave, _ in order}


def test_a_confirmation_of_a_set_with_cheap_steps_takes_more_of_them():
    start = plan(RATE, POOL, rungs=(20,))
    paces = {"{}": 0.01, canonical(POOL): 0.001}
    start = start.model_copy(update={"paces": paces, "share": 5 * 0.02 * 80})
    found, order = carried_out(start, lambda changes: 0.25 if "model.pooling" in changes else 1.1)
    assert found.repair is not None
    assert found.repair.set == POOL
    steps = {arm.steps for wave, arm in order if wave == "confirmation"}
    assert steps == {found.repair.verdict.steps} == {start.steps_of(POOL)}
    assert start.steps_of(RATE) < start.steps_of(POOL) <= 100


def test_of_rates_that_go_about_as_far_the_lowest_is_taken():
    """The highest may be at the edge of what is stable, which one seed does not show."""
    reached = {1e-3: 0.262, 3e-3: 0.25}
    found, _ = carried_out(
        plan(RATE, POOL), lambda c: reached.get(c.get("optimizer.lr"), 1.0), noise=0
    )
    assert found.repair is not None
    assert found.repair.set == RATE


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


def test_out_of_time_between_two_rungs_the_shorter_one_decides():
    known = {Arm.of({}, 1000, 20): 1.1, Arm.of(RATE, 1000, 20): 0.3}
    course = Course(plan(POOL, RATE, rungs=(20, 50)), SHAPES, known, closed=True)
    assert course.chosen() == RATE


def test_what_needs_each_other_is_left_out_together():
    """A width without an embedding cannot be built, nor the other way round."""
    embedded = {"model.d_model": 32, "model.embedding": "linear"}
    config = plan().base.edits({"model.d_model": "channels", "model.embedding": "identity"})
    start = plan(BOTH, BOTH | embedded).model_copy(update={"config": config.to_json()})

    def loss(changes):
        further = 0.3 if "model.d_model" not in changes else 0.25
        return further if is_repaired(changes) else 1.1

    found, _ = carried_out(start, loss)
    assert found.repair is not None
    assert found.repair.set == BOTH
    assert found.repair.minimal


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


def test_a_choice_among_sets_that_had_not_begun_to_learn_is_called_so():
    found, _ = carried_out(plan(RATE, POOL), lambda changes: 1.1 + 0.01 * len(changes))
    assert "in 100 steps of screening nothing got below the naive floor" in found.summary
    found, _ = carried_out(plan(RATE), lambda changes: 0.95 if changes else 0.96)
    assert "naive floor" not in found.summary
