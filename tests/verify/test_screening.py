"""Which set is worth confirming, on simulated losses: rates, steps, and what is left out."""

from __future__ import annotations

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
from tsdiag.verify.arms import Arm, canonical
from tsdiag.verify.conclude import conclude
from tsdiag.verify.course import Course


def test_what_a_remedy_of_several_paths_does_not_need_is_left_out():
    def loss(changes):
        return 0.25 if changes.get("model.pooling") == "flatten" else 1.1

    remedy = POOL | {"model.positions": "sinusoidal", "model.ff_dim": 128}
    found, _ = carried_out(plan(remedy), loss)
    assert found.repair is not None
    assert found.repair.set == POOL


def test_what_ends_above_the_training_mean_restores_nothing_however_bad_the_control():
    """At 6.6 the way to .95 is nearly all gone at 1.3, which is worse than knowing nothing."""

    def loss(changes):
        return 0.95 if is_repaired(changes) else 1.3 if "optimizer.lr" in changes else 6.6

    start = plan(RATE, POOL).model_copy(update={"naive": 0.9})
    _, order = carried_out(start, loss, noise=1e-4)
    confirmed = {canonical(arm.set) for wave, arm in order if wave == "confirmation" and arm.set}
    assert confirmed == {canonical(BOTH)}


def test_a_part_that_makes_steps_cheap_is_kept_although_it_could_be_spared():
    """Without it, a confirmation in the same time would have too few steps to learn anything."""
    remedy = POOL | {"model.ff_dim": 8}

    def loss(changes):
        return 0.25 if "model.pooling" in changes else 1.1

    def pace(changes):
        return 0.01 if "model.ff_dim" in changes else 0.1

    start = plan(remedy)
    # As much as 100 steps of a pair take at .02, with what evaluations are worth.
    start = start.model_copy(update={"share": 5 * 0.02 * 110})
    dear, _ = carried_out(start, loss)  # nothing is known of paces
    assert dear.repair is not None
    assert dear.repair.set == POOL
    found, order = carried_out(start, loss, paces=pace)
    assert found.repair is not None
    steps = {arm.steps for wave, arm in order if wave == "confirmation"}
    assert max(steps) >= 95
    first = next(arm.set for wave, arm in order if wave == "confirmation" and arm.set)
    assert first == remedy


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
    assert found.repair is not None
    assert found.repair.set == BOTH


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


def test_out_of_its_time_screening_goes_on_to_the_best_it_knows():
    known = {Arm.of({}, 1000, 100): 1.1, Arm.of(RATE, 1000, 100): 0.3}
    course = Course(plan(POOL, RATE, WIDE), SHAPES, known, closed=True)
    wave, arms = course.pending()
    assert wave == "confirmation"
    assert course.chosen() == RATE
    assert {arm.edits for arm in arms} == {Arm.of(RATE, 0, 0).edits, "{}"}


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


def test_a_choice_among_sets_that_had_not_begun_to_learn_is_called_so():
    found, _ = carried_out(plan(RATE, POOL), lambda changes: 1.1 + 0.01 * len(changes))
    assert "in 100 steps of screening nothing got below the naive floor" in found.summary
    found, _ = carried_out(plan(RATE), lambda changes: 0.95 if changes else 0.96)
    assert "naive floor" not in found.summary
