"""Outcomes of interventions: what is confirmed, what refuted, and how often chance is confirmed."""

from __future__ import annotations

import numpy as np
import pytest

from tests.verify.simulated import plan
from tsdiag.verify.effects import verdict

PLAN = plan({"optimizer.lr": 1e-3})  # naive 1, reference .2: 5 % of what is within reach is .04


def judged(control, treatment):
    return verdict(PLAN, {"optimizer.lr": 1e-3}, control, treatment, 100)


def test_five_pairs_that_agree_confirm():
    found = judged([1.0, 1.1, 0.9, 1.0, 1.05], [0.3, 0.35, 0.25, 0.3, 0.32])
    assert found.outcome == "confirmed"
    assert found.p == pytest.approx(1 / 32)
    assert found.effect == pytest.approx(-0.706)
    assert found.interval is not None
    assert found.interval[0] < found.effect < found.interval[1] < 0
    assert found.attained == pytest.approx((1 - 0.304) / 0.8)


def test_four_pairs_are_a_screen_however_large_the_effect():
    found = judged([1.0, 1.1, 0.9, 1.0], [0.3, 0.35, 0.25, 0.3])
    assert found.outcome == "inconclusive"
    assert "4 of the 5 pairs" in found.why


def test_one_pair_has_no_interval():
    found = judged([1.0], [0.3])
    assert (found.outcome, found.interval, found.p) == ("inconclusive", None, None)


def test_one_seed_against_the_others_confirms_nothing():
    assert judged([1.0] * 5, [0.3, 0.3, 0.3, 0.3, 1.01]).outcome == "inconclusive"


def test_a_sure_and_tiny_gain_is_refuted():
    found = judged([1.0, 1.1, 0.9, 1.0, 1.05], [0.99, 1.09, 0.89, 0.99, 1.04])
    assert found.outcome == "refuted"
    assert "0.04" in found.why


def test_harm_is_refuted():
    assert judged([0.5, 0.52, 0.48, 0.5, 0.51], [0.8, 0.9, 0.85, 0.8, 0.8]).outcome == "refuted"


def test_how_far_above_the_training_mean_controls_are_hides_no_gain():
    control, treatment = [1.3, 7.3, 1.7, 1.3, 1.4], [0.17, 0.18, 0.17, 0.18, 0.17]
    found = judged(control, treatment)
    assert found.outcome == "confirmed"
    assert found.ceiling == PLAN.constant == 1.2
    assert found.effect == pytest.approx(np.mean([0.17, 0.18, 0.17, 0.18, 0.17]) - 1.2)
    assert found.control == pytest.approx(2.6)  # told as it is
    far = PLAN.model_copy(update={"constant": 9.0})
    assert verdict(far, {"optimizer.lr": 1e-3}, control, treatment, 100).outcome == "inconclusive"


def test_no_loss_above_the_training_mean_s_means_no_ceiling():
    assert judged([1.0, 1.1], [0.3, 1.2]).ceiling is None


def test_a_gain_above_the_training_mean_alone_is_neither_confirmed_nor_refuted():
    found = judged([9.0, 8.0, 9.5, 9.1, 8.8], [1.5, 1.6, 1.4, 1.5, 1.6])
    assert (found.outcome, found.effect) == ("inconclusive", 0.0)
    assert "nothing is learned" in found.why
    assert judged([1.3, 1.2, 1.4, 1.3, 1.3], [1.3, 1.4, 1.3, 1.4, 1.3]).outcome == "refuted"


def test_how_far_one_control_is_above_the_training_mean_hides_no_harm():
    assert judged([0.5, 0.5, 0.5, 0.5, 50.0], [1.19] * 5).outcome == "refuted"


def test_a_step_just_below_the_training_mean_is_no_gain():
    assert judged([1.21, 1.22, 1.21, 1.2, 1.23], [1.19] * 5).outcome == "refuted"


def test_harm_above_the_training_mean_is_refuted():
    harmed = judged([0.5, 0.52, 0.48, 0.5, 0.51], [7.0, 2.0, 19.0, 3.0, 2.0])
    assert harmed.outcome == "refuted"
    assert harmed.attained == pytest.approx(-0.25)


def test_nothing_ended_is_no_effect():
    found = judged([], [])
    assert (found.effect, found.seeds, found.outcome) == (None, 0, "inconclusive")


@pytest.mark.parametrize("noise", [0.01, 0.1, 1.0])
def test_chance_is_confirmed_in_no_more_than_one_of_twenty(noise):
    rng = np.random.default_rng(0)
    nulls = rng.normal(1.0, noise, (2000, 2, 5))
    confirmed = sum(judged(c, t).outcome == "confirmed" for c, t in nulls)
    assert confirmed / 2000 <= 0.05
