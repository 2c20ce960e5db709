"""The learning rate of every step, against the formulas written out."""

from __future__ import annotations

from math import cos, pi

import pytest

from tsdiag.config import OptimizerConfig
from tsdiag.training.schedule import learning_rate, warmup_steps


def rates(max_steps=10, **settings):
    config = OptimizerConfig(lr=2.0, **settings)
    return [learning_rate(config, step, max_steps) for step in range(max_steps)]


@pytest.mark.parametrize(
    ("schedule", "after_warmup"),
    [
        ("constant", [2.0] * 6),
        ("linear", [2 * (1 - step / 6) for step in range(6)]),
        ("cosine", [1 + cos(pi * step / 6) for step in range(6)]),
    ],
)
def test_warmup_then_decay(schedule, after_warmup):
    found = rates(schedule=schedule, warmup_fraction=0.4)
    assert found == pytest.approx([0.5, 1.0, 1.5, 2.0, *after_warmup])


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_without_warmup_the_first_step_is_at_full_rate(schedule):
    assert rates(schedule=schedule, warmup_fraction=0.0)[0] == 2.0


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("fraction", [0.0, 0.3, 0.99])
@pytest.mark.parametrize("max_steps", [1, 2, 7])
def test_no_step_is_wasted_on_a_rate_of_zero(schedule, fraction, max_steps):
    found = rates(max_steps, schedule=schedule, warmup_fraction=fraction)
    assert all(0 < rate <= 2.0 for rate in found)


def test_warmup_is_a_share_of_the_run():
    assert warmup_steps(OptimizerConfig(warmup_fraction=0.1), 2000) == 200
