"""Every state from losses made by hand, with the reason that it is told by."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tsdiag.diagnostics import states
from tsdiag.diagnostics.audit import DataAudit, Permutation
from tsdiag.diagnostics.states import Level, Outcome, standing

# Hard and easy stretches of the validation span: whatever forecasts, they are hard and easy.
HARD = (0.1, -0.1, 0.2, 0.0, -0.2, 0.1, 0.0, -0.1)
CLEAN = DataAudit()


def level(loss, stretches=HARD):
    return Level(loss, tuple(loss + more for more in stretches))


# Half of the way from 1.0 to 0.2 is 0.6.
FLOORS = {"train_mean": level(1.0), "last_value": level(1.8), "ridge": level(0.2)}
EQUAL = {"train_mean": level(1.0), "ridge": Level(1.0, tuple(1 - more for more in HARD))}


def ended(loss, end_state="completed", **more):
    found = loss if isinstance(loss, Level | None) else level(loss)
    return Outcome(end_state, level=found, step=400, max_steps=400, **more)


def judge(outcome, floors=FLOORS, baseline=None, audit=CLEAN, **words):
    return standing(outcome, floors, baseline, audit, **{"name": "lstm", **words})


def shuffled(skill, p, detectable=0.06):
    others = tuple(0.01 * place for place in range(-12, 7))
    return DataAudit(
        permutation=Permutation(
            model="ridge",
            against="train_mean",
            skill=skill,
            shuffled=others,
            p=p,
            detectable=detectable,
            block_length=24,
        )
    )


@pytest.mark.parametrize(
    ("loss", "state", "way"),
    [
        (0.2, "learning", "100 % [100, 100]"),
        (0.59, "learning", "51 % [51, 51]"),
        (0.61, "stalled", "49 % [49, 49]"),
        (1.0, "stalled", "0 % [0, 0]"),
        (0.1, "learning", "112 % [112, 112]"),
    ],
)
def test_half_of_the_way_to_the_best_that_learns(loss, state, way):
    found = judge(ended(loss))
    assert found.state == state
    assert f"a loss of {loss:g} is {way} of the way from train mean (1) to ridge (0.2)" in (
        found.reason
    )
    assert ("below 50 % is stalled" in found.reason) == (state == "stalled")
    assert (found.scores.naive, found.scores.best) == ("train_mean", "ridge")
    assert found.scores.attained.value == pytest.approx((1 - loss) / 0.8)
    assert found.scores.skill == pytest.approx(1 - loss / 0.2)


def test_above_the_naive_floor():
    found = judge(ended(1.3))
    assert found.state == "stalled"
    assert "a loss of 1.3 is above that of train mean (1), which learns nothing" in found.reason


def test_the_baseline_is_the_reference_where_it_is_best():
    found = judge(ended(0.55), baseline=level(0.05))
    assert found.state == "stalled"  # 47 % of the way to .05, though 56 % of that to ridge
    assert "to lstm (0.05)" in found.reason
    assert found.scores.baseline == 0.05


def test_a_baseline_that_is_not_best_is_told_too():
    found = judge(ended(0.3), baseline=level(0.4))
    assert found.state == "learning"
    assert found.reason.endswith("to ridge (0.2); lstm has 0.4; above 50 % is learning")


def test_the_best_naive_floor_counts():
    floors = {**FLOORS, "seasonal_naive": level(0.5)}
    found = judge(ended(0.4), floors)
    assert found.state == "stalled"  # a third of the way from .5 to .2
    assert "from seasonal naive (0.5)" in found.reason


@pytest.mark.parametrize(
    ("one_batch", "words"),
    [
        (0.01, "It can learn one batch by heart, so it is able to learn"),
        (0.7, "It cannot even learn one batch by heart (70 % are left)"),
    ],
)
def test_a_stalled_run_is_told_whether_it_can_learn_at_all(one_batch, words):
    assert judge(ended(0.9, one_batch=one_batch)).reason.endswith(words)
    assert "by heart" not in judge(ended(0.3, one_batch=one_batch)).reason


class TestBlocks:
    def test_blocks_of_the_same_windows_are_compared_in_pairs(self):
        paired, turned = level(0.4), level(0.4, HARD[::-1])
        assert judge(ended(paired)).scores.attained.low == pytest.approx(0.75)
        unpaired = judge(ended(turned))
        assert unpaired.scores.attained.value == pytest.approx(0.75)
        assert unpaired.scores.attained.low < 0.65
        assert unpaired.scores.attained.high > 0.85

    def test_an_interval_by_hand(self):
        # gains .1 and .7 of .8: mean .4, s.d. sqrt(.18), over sqrt 2 and .8 is .375, t(1) = 12.71
        floors = {"train_mean": Level(1.0, (1.0, 1.0)), "ridge": Level(0.2, (0.2, 0.2))}
        found = judge(ended(Level(0.6, (0.9, 0.3))), floors)
        assert found.state == "undecided"
        assert found.scores.attained.low == pytest.approx(0.5 - 12.706 * 0.375, abs=1e-3)
        assert found.scores.attained.high == pytest.approx(0.5 + 12.706 * 0.375, abs=1e-3)

    def test_a_run_surely_worse_than_doing_nothing_is_stalled_however_unsure_the_way(self):
        """The way itself differs so much between blocks that its share could be anything."""
        waves, others = (1, -1) * 4, (1, -1, -1, 1) * 2
        floors = {
            "train_mean": Level(1.0, (1.0,) * 8),
            "ridge": Level(0.6, tuple(0.6 - 0.33 * x for x in others)),
        }
        found = judge(ended(Level(5.0, tuple(5.0 + 4 * x for x in waves))), floors)
        assert (found.state, found.scores.attained.high) == ("stalled", 0.0)
        assert found.scores.attained.low < -20
        assert "is above that of train mean" in found.reason
        near = judge(ended(Level(1.1, tuple(1.1 + 4 * x for x in waves))), floors)
        assert near.state == "undecided"

    def test_an_interval_that_holds_the_limit_is_undecided(self):
        found = judge(ended(level(0.55, HARD[::-1])))
        assert found.state == "undecided"
        assert found.reason.endswith("the interval holds the limit of 50 %")

    @pytest.mark.parametrize(
        ("loss", "state"),
        [(0.5, "learning"), (0.55, "undecided"), (0.65, "undecided"), (0.7, "stalled")],
    )
    def test_without_blocks_a_tenth_is_left_on_both_sides(self, loss, state):
        found = judge(ended(Level(loss)))  # 62, 56, 44 and 37 %
        assert found.state == state
        assert found.scores.attained.high - found.scores.attained.low == pytest.approx(0.2)


class TestDivergence:
    def test_by_the_runs_own_state(self):
        found = judge(Outcome("diverged", "non-finite at step 7"))
        assert (found.state, found.reason) == ("diverged", "non-finite at step 7")
        assert judge(Outcome("diverged")).reason == "its loss is not finite"

    def test_by_a_loss_that_rose(self):
        found = judge(ended(0.9, first_loss=1.1, last_loss=2.3))
        assert found.state == "diverged"
        # It had learned before, and those weights are kept.
        assert judge(ended(0.3, first_loss=1.1, last_loss=2.3)).state == "learning"
        assert "rose to 2.3, above 2 times where it began (1.1) and train mean (1)" in found.reason

    @pytest.mark.parametrize(
        ("first", "last"), [(1.1, 2.1), (0.1, 1.9), (30.0, 20.0), (None, 9.0), (1.0, None)]
    )
    def test_not_by_less(self, first, last):
        assert judge(ended(0.3, first_loss=first, last_loss=last)).state == "learning"


class TestUnderWay:
    @pytest.mark.parametrize(
        ("step", "state"), [(40, "undecided"), (49, "undecided"), (60, "stalled")]
    )
    def test_a_run_is_not_called_stalled_before_half_of_its_steps(self, step, state):
        found = judge(replace(ended(0.9), end_state="running", step=step, max_steps=100))
        assert found.state == state
        assert f"running at step {step} of 100" in found.reason

    def test_a_stopped_run_says_why(self):
        reason = "pruned at step 30 of 100: its best loss 0.9 is worse than the median 0.5"
        found = judge(
            replace(ended(0.9), end_state="pruned", reason=reason, step=30, max_steps=100)
        )
        assert found.state == "stalled"
        assert reason in found.reason


class TestNothingToLearn:
    def test_not_before_the_baseline_was_measured(self):
        found = judge(ended(1.1), EQUAL, audit=shuffled(0.02, 0.4), name="lstm", expected=True)
        assert found.state == "undecided"
        assert "there is no lstm yet to compare with" in found.reason

    def test_no_better_than_shuffled_targets(self):
        found = judge(ended(1.1), EQUAL, audit=shuffled(0.02, 0.4))
        assert found.state == "nothing-to-learn"
        assert "neither ridge (1) nor anything else that learns is surely better" in found.reason
        assert "a skill of 0.020 against 19 shuffles of up to 0.060 (p = 0.40)" in found.reason
        assert "no signal above a skill of 0.060" in found.reason

    def test_a_faint_signal_is_not_nothing(self):
        found = judge(ended(1.1), EQUAL, audit=shuffled(0.09, 0.05))
        assert found.state == "undecided"
        assert "(p = 0.05): something faint is there" in found.reason

    def test_unless_the_run_itself_is_better(self):
        found = judge(ended(0.9), EQUAL, audit=shuffled(0.02, 0.4))
        assert found.state == "learning"
        assert found.reason.endswith("but this run is (0.9)")

    def test_a_baseline_that_learns_refutes_it(self):
        found = judge(ended(1.1), EQUAL, baseline=level(0.4), audit=shuffled(0.02, 0.4))
        assert found.state == "stalled"

    @pytest.mark.parametrize(
        ("audit", "why"),
        [
            (CLEAN, "the targets were not shuffled to tell"),
            (DataAudit(reasons={"permutation": "too few rows"}), "too few rows"),
        ],
    )
    def test_undecided_without_shuffles(self, audit, why):
        found = judge(ended(1.1), EQUAL, audit=audit)
        assert found.state == "undecided"
        assert found.reason.endswith(f"; {why}")


def test_a_leak_makes_the_baseline_suspect(monkeypatch):
    monkeypatch.setattr(states, "leak", lambda audit: "a channel knows its future")
    for loss in (0.2, 0.9):  # whoever scores well on such data proves as little
        found = judge(ended(loss))
        assert (found.state, found.reason) == ("baseline-suspect", "a channel knows its future")


class TestUndecided:
    @pytest.mark.parametrize(
        ("outcome", "floors", "why"),
        [
            (ended(None), FLOORS, "the run has no validation loss yet"),
            (ended(0.4), {}, "no floor was measured"),
            (ended(0.4), {"ridge": level(0.2)}, "no floor was measured"),
            (ended(0.4), {"train_mean": level(float("nan"))}, "no floor was measured"),
            (
                ended(0.4),
                {"train_mean": level(1.0)},
                "nothing that learns was measured to compare with",
            ),
            (
                ended(0.9, "failed", reason="full disk"),
                FLOORS,
                "it failed with an error: full disk",
            ),
            (
                ended(None, "infeasible"),
                FLOORS,
                "it does not fit into memory: no reason was stored",
            ),
        ],
        ids=["no-loss", "no-floor", "no-naive", "nan", "no-reference", "failed", "infeasible"],
    )
    def test_what_is_missing(self, outcome, floors, why):
        found = judge(outcome, floors)
        assert (found.state, found.reason) == ("undecided", why)

    def test_pruned_while_falling_fast_enough(self):
        # 300 steps more at .0008 are .24 of the .8 within reach: 30 % more than its 37
        cut = Outcome("pruned", level=level(0.7), pace=0.0008, step=100, max_steps=400)
        found = judge(cut)
        assert found.state == "undecided"
        assert (
            "pruned at step 100 of 400, and at its pace it would have passed 50 %" in found.reason
        )

    @pytest.mark.parametrize(
        ("end_state", "pace", "state"),
        [
            ("pruned", 0.0002, "stalled"),  # another 8 %
            ("pruned", -0.0008, "stalled"),
            ("out_of_budget", 0.0008, "undecided"),
            ("early_stopped", 0.0008, "stalled"),  # it went its way
        ],
    )
    def test_what_ended_a_run_and_how_fast_it_fell(self, end_state, pace, state):
        cut = Outcome(end_state, level=level(0.7), pace=pace, step=100, max_steps=400)
        found = judge(cut)
        assert found.state == state
        assert ("out of budget at step" in found.reason) == (end_state == "out_of_budget")
