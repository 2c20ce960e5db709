"""What is settled before the first run: hypotheses in order, steps, rungs, and refusals."""

from __future__ import annotations

import json

import pytest

from tests.diagnostics.recorded import TRACES, load_case
from tests.verify.simulated import SHAPES, base
from tsdiag.config import RunConfig
from tsdiag.diagnostics.diagnose import diagnose
from tsdiag.diagnostics.findings import Diagnosis, Finding, Remedy, RunScores, Suspect
from tsdiag.diagnostics.verdicts import Verdict, Verification
from tsdiag.errors import StoreError, UsageError
from tsdiag.models import Shapes
from tsdiag.store.runs import RunRow
from tsdiag.verify.arms import canonical
from tsdiag.verify.hypotheses import MOST, hypotheses
from tsdiag.verify.plan import FIRST_SEED, make_plan, pace_of, read_plan

PACE = 0.01  # [s]
WINDOWS = 1024


def remedy(changes):
    return Remedy(set=changes, expects="", safety="", source="")


def finding(cause, *sets, score=0.5):
    remedies = tuple(remedy(changes) for changes in sets)
    return Finding(cause=cause, score=score, summary="", evidence=(), remedies=remedies)


def diagnosis(*findings, state="stalled", suspects=(), baseline=0.2):
    scores = RunScores(
        validation_loss=1.1,
        floors={"last_value": 1.0, "train_mean": 1.3, "ridge": 0.4},
        baseline=baseline,
    )
    return Diagnosis(
        study="s",
        trial=0,
        state=state,
        state_reason="it is so",
        scores=scores,
        findings=findings,
        suspects=suspects,
    )


def row(**columns):
    known = {"step": 100, "cpu_seconds": 100 * PACE, "config": base().to_json()}
    return RunRow(study="s", role="trial", trial=0, **known | {"state": "completed"} | columns)


def planned(seconds, **columns):
    told = diagnosis(finding("a", {"optimizer.lr": 1e-4}))
    return make_plan(told, row(**columns), SHAPES, 4.0, WINDOWS, {"{}": PACE}, seconds)


def test_a_plan_knows_where_nothing_is_known():
    made = planned(1000)
    assert (made.naive, made.constant) == (1.0, 1.3)
    assert made.counted(1e9) == made.constant
    assert made.attained(1e9) == made.attained(made.constant) < 0


def test_each_finding_s_first_remedy_comes_before_any_second_and_suspects_after_findings():
    rate, pool, wide = ({"optimizer.lr": 1e-4}, {"model.pooling": "last"}, {"model.ff_dim": 96})
    suspect = Suspect(cause="c", why="", remedies=(remedy(wide),))
    told = diagnosis(
        finding("a", rate, {"optimizer.clip_norm": 5.0}), finding("b", pool), suspects=(suspect,)
    )
    found, _ = hypotheses(told, base(), SHAPES)
    assert [one.set for one in found] == [rate, pool, wide, {"optimizer.clip_norm": 5.0}]


def test_one_remedy_of_two_causes_is_tried_once_for_both():
    rate = {"optimizer.lr": 1e-4}
    same = rate | {"optimizer.name": "adamw"}  # which it is already
    found, _ = hypotheses(diagnosis(finding("a", rate), finding("b", same)), base(), SHAPES)
    assert [(one.set, one.causes) for one in found] == [(rate, ("a", "b"))]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"data.transform": "difference"}, "changes what is predicted"),
        ({"optimizer.name": "adamw"}, "the run is so already"),
        ({"model.ff_dim": 0}, "cannot be built"),
    ],
)
def test_what_cannot_be_carried_out_is_left_out_with_the_reason(changes, why):
    found, left_out = hypotheses(diagnosis(finding("a", changes)), base(), SHAPES)
    assert not found
    assert why in next(iter(left_out.values()))


def test_a_confirmed_suspect_keeps_its_place_so_that_the_plan_stays():
    suspects = tuple(
        Suspect(cause=cause, why="", remedies=(remedy(changes),))
        for cause, changes in (("a", {"optimizer.lr": 1e-4}), ("b", {"model.pooling": "last"}))
    )
    told = diagnosis(suspects=suspects)
    last = {"model.pooling": "last"}
    confirmed = Verdict(
        outcome="confirmed",
        why="",
        set=last,
        effect=-1.0,
        control=1.1,
        treatment=0.1,
        seeds=5,
        steps=9,
    )
    shown = told.with_verdicts(Verification(run="r", complete=True, verdicts={"b": confirmed}))
    assert [finding.cause for finding in shown.findings] == ["b"]
    assert hypotheses(shown, base(), SHAPES) == hypotheses(told, base(), SHAPES)


def test_targets_of_several_units_are_not_scaled_in_another_way():
    told = diagnosis(finding("a", {"data.scale_target": False}))
    assert hypotheses(told, base(), SHAPES)[0]
    assert not hypotheses(told, base(), Shapes(24, 8, targets=2))[0]


def test_only_the_most_telling_remedies_are_tried():
    sets = [{"model.ff_dim": 10 + i} for i in range(MOST + 2)]
    found, left_out = hypotheses(diagnosis(finding("a", *sets)), base(), SHAPES)
    assert [one.set for one in found] == sets[:MOST]
    assert len(left_out) == 2


def test_a_large_budget_trains_as_long_as_the_run_did():
    plan = planned(1000 * PACE * 100)
    assert (plan.steps, plan.rungs) == (100, (100,))


def test_a_small_budget_takes_fewer_steps_and_screens_at_fewer_still():
    plan = planned(1500 * PACE)
    # Of 60 steps' time, three evaluations take that of 16.
    assert plan.steps == 44
    assert plan.rungs[-1] < 44


def test_remedies_that_make_a_step_cheaper_leave_time_for_more_steps():
    """A confirmation is half controls, so the most that this can gain is twice as many."""
    told = diagnosis(finding("a", {"optimizer.lr": 1e-4}, {"model.pooling": "last"}))
    paces = {"{}": PACE, '{"model.pooling": "last"}': PACE / 10}
    cheap = make_plan(told, row(), SHAPES, 4.0, WINDOWS, paces, 1500 * PACE)
    assert planned(1500 * PACE).steps < cheap.most_steps < 100
    assert cheap.steps_of({"model.pooling": "last"}) == cheap.most_steps
    assert cheap.steps_of({"optimizer.lr": 1e-4}) == planned(1500 * PACE).steps
    joint = {"optimizer.lr": 3e-4, "model.pooling": "last"}
    assert cheap.pace_of({}) == PACE
    assert cheap.pace_of(joint) == cheap.pace_of({"model.pooling": "last"}) == PACE / 10


def test_a_set_costs_what_the_timed_one_that_is_most_like_it_does():
    rate, pool, patch = (
        {"optimizer.lr": 1e-4},
        {"model.pooling": "last"},
        {"model.embedding": "patch", "model.patch_length": 8},
    )
    paces = {"{}": 0.40, canonical(rate): 0.41, canonical(pool): 0.42, canonical(patch): 0.02}
    paces |= {canonical(rate | pool | patch): 0.03}
    assert pace_of(paces, patch | rate) == 0.03
    assert pace_of(paces, patch) == 0.02
    # The cheap part of all at once is not in it.
    assert pace_of(paces, rate | pool) == 0.42
    assert pace_of(paces, {"model.ff_dim": 8}) == 0.40


def test_seeds_are_none_that_the_study_could_have_chosen_by():
    plan = planned(1000)
    assert len({*plan.seeds, plan.screen_seed}) == 6
    assert min(*plan.seeds, plan.screen_seed) >= FIRST_SEED


def test_the_way_is_from_the_naive_floor_to_the_best_reference():
    plan = planned(1000)
    assert (plan.naive, plan.reference) == (1.0, 0.2)
    assert plan.attained(0.6) == pytest.approx(0.5)


def test_weights_that_never_improved_are_no_plateau():
    assert planned(1000, weights="w", metrics={"best_step": 40}).weights == "w"
    assert planned(1000, weights="w", metrics={"best_step": 0}).weights is None


@pytest.mark.parametrize(
    ("told", "columns", "words"),
    [
        (diagnosis(state="learning"), {}, "it is learning"),
        (diagnosis(), {}, "no findings"),
        (diagnosis(finding("a")), {}, "no configuration path"),
        (diagnosis(finding("a", {"optimizer.lr": 1e-4})), {"state": "running"}, "still running"),
    ],
)
def test_what_has_nothing_to_repair_or_to_try_is_refused(told, columns, words):
    with pytest.raises(UsageError, match=words):
        make_plan(told, row(**columns), SHAPES, 4.0, WINDOWS, {"{}": PACE}, 1000)


def test_a_recorded_stall_has_something_to_try():
    case = load_case("order-blind")
    told = diagnose(case, "s", 0)
    config = RunConfig.model_validate_json(
        json.dumps(json.loads((TRACES / "order-blind" / "config.json").read_text())["config"])
    )
    shapes = Shapes(case.facts.context_length, case.facts.channels)
    found, _ = hypotheses(told, config, shapes)
    assert any("model.positions" in one.set for one in found)


def test_another_version_s_plan_is_told_so():
    with pytest.raises(StoreError, match="another version of tsdiag made it"):
        read_plan('{"run": "r"}')
