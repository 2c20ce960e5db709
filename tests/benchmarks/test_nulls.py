"""The judging of interventions that do nothing, without their training."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "tests" / "traces")]

from measuring.nulls import Group, judged, over_groups, plan_of, spread  # noqa: E402

PLAN = plan_of(naive=0.9, constant=1.0, reference=0.2)


def test_nulls_are_judged_as_remedies_are():
    rng = np.random.default_rng(0)
    controls, nulls = rng.normal(0.5, 0.05, 5), rng.normal(0.5, 0.05, (40, 5))
    verdicts = judged(controls, nulls, PLAN, 60)
    assert {found.outcome for found in verdicts} <= {"confirmed", "refuted", "inconclusive"}
    assert sum(found.outcome == "confirmed" for found in verdicts) <= 4
    (real,) = judged(controls, controls[None] - 0.2, PLAN, 60)
    assert real.outcome == "confirmed"
    assert over_groups([verdicts, [real]]) is not None


def test_the_spread_is_told_in_shares_of_the_way():
    losses = np.array([[0.5, 0.6], [0.4, 0.5]])
    attained, deviation = spread([Group(losses[0], losses, losses)], PLAN)
    assert attained == pytest.approx((0.9 - 0.5) / 0.7)
    assert deviation == pytest.approx(losses.std(ddof=1) / 0.7)
