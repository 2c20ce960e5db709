"""Metrics on small arrays that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tsdiag.compare.metrics import mean_scores, score, skill, window_losses

TARGETS = np.array([1.0, -1.0, 0.0, 2.0]).reshape(4, 1, 1)
PREDICTIONS = np.array([0.5, 1.0, 0.3, 2.0]).reshape(4, 1, 1)


def test_scores_by_hand():
    found = score(PREDICTIONS, TARGETS, np.sign(PREDICTIONS), np.sign(TARGETS))
    assert found.mse == pytest.approx((0.25 + 4 + 0.09) / 4)
    assert found.mae == pytest.approx((0.5 + 2 + 0.3) / 4)
    assert found.r2 == pytest.approx(1 - 4.34 / 5)
    assert found.windows == 4


def test_ties_are_dropped_from_directional_accuracy_and_counted():
    found = score(PREDICTIONS, TARGETS, np.sign(PREDICTIONS), np.sign(TARGETS))
    assert (found.moves, found.ties) == (3, 1)
    assert found.directional_accuracy == pytest.approx(2 / 3)


def test_a_predicted_standstill_is_a_miss_but_nothing_else_is_no_opinion():
    moves = np.array([1.0, -1.0])
    flat = np.zeros(2)
    assert score(moves, moves, np.array([1.0, 0.0]), moves).directional_accuracy == 0.5
    assert score(flat, moves, flat, moves).directional_accuracy is None
    assert score(flat, flat, moves, flat).directional_accuracy is None


def test_r2_of_the_means_is_0_and_of_constant_targets_unknown():
    rng = np.random.default_rng(0)
    targets = rng.standard_normal((50, 3, 2)) + np.arange(3)[:, None]
    means = np.broadcast_to(targets.mean(axis=0), targets.shape)
    assert score(means, targets, means, targets).r2 == pytest.approx(0, abs=1e-12)
    constant = np.ones((5, 1, 1))
    assert score(constant, constant, constant, constant).r2 is None


def test_window_losses_average_to_the_mse():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 20, 4, 3)).astype(np.float32)
    losses = window_losses(a, b)
    assert losses.shape == (20,)
    assert losses.mean() == pytest.approx(score(a, b, a, b).mse)


def test_skill_and_means():
    assert skill(0.4, 0.5) == pytest.approx(0.2)
    assert skill(0.4, 0.0) is None
    one = score(PREDICTIONS, TARGETS, PREDICTIONS, TARGETS)
    other = one.model_copy(update={"mse": one.mse + 1, "r2": None})
    assert mean_scores([one, other]).mse == pytest.approx(one.mse + 0.5)
    assert mean_scores([one, other]).r2 is None
