"""Verifications without training: a function says what each set of changes would reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tsdiag.config import ModelConfig, RunConfig
from tsdiag.diagnostics.verdicts import Verification
from tsdiag.models import Shapes, complete
from tsdiag.verify.arms import Arm
from tsdiag.verify.conclude import conclude
from tsdiag.verify.course import Course
from tsdiag.verify.hypotheses import Hypothesis
from tsdiag.verify.plan import Plan
from tsdiag.verify.random_edits import random_edits

SHAPES = Shapes(24, 8)
RATE = {"optimizer.lr": 1e-3}
POOL = {"model.pooling": "flatten"}
WIDE = {"model.ff_dim": 128}
BOTH = RATE | POOL
BEGIN = 1.1
Loss = Callable[[Mapping[str, Any]], float]


def base(**changes: Any) -> RunConfig:
    """Return a small transformer that trains for 100 steps."""
    config = complete(RunConfig(model=ModelConfig(kind="transformer")))
    paths = {path.replace("__", "."): value for path, value in changes.items()}
    return config.edits({"training.max_steps": 100, "model.d_model": 16} | paths)


def plan(*sets: Mapping[str, Any], rungs: tuple[int, ...] = (100,)) -> Plan:
    """Return the plan of remedies for a run between a naive loss of 1 and a reference of .2."""
    config = base(optimizer__lr=1e-5, model__pooling="mean_channels")
    named = [Hypothesis(set=dict(s), causes=(f"cause-{i}",)) for i, s in enumerate(sets)]
    return Plan(
        run="r",
        study="s",
        trial=0,
        config=config.to_json(),
        hypotheses=tuple(named),
        left_out={},
        random=tuple(random_edits(config, SHAPES, 24, 0)),
        share=1e9,
        rungs=rungs,
        seeds=(1001, 1002, 1003, 1004, 1005),
        screen_seed=1000,
        naive=1.0,
        constant=1.2,
        reference=0.2,
        variance=4.0,
        evaluated=64,
        weights=None,
        paces={"{}": 0.01},
    )


def carried_out(
    plan: Plan,
    loss: Loss,
    noise: float = 0.01,
    closed: bool = False,
    learned: Callable[[Arm], bool] = lambda _: True,
    paces: Callable[[Mapping[str, Any]], float] | None = None,
) -> tuple[Verification, list[tuple[str, Arm]]]:
    """Carry a plan out, and return what came of it and each arm with its wave, in order.

    An arm that has not ``learned`` yet is where all begin, whatever its changes. ``paces`` says
    what a step of a set turns out to take.
    """
    results: dict[Arm, float | None] = {}
    order: list[tuple[str, Arm]] = []
    rng = np.random.default_rng(0)
    while True:
        ran = {arm.label: paces(arm.set) for arm in results} if paces else {}
        course = Course(plan, SHAPES, results, closed, paces=ran)
        wave, arms = course.pending()
        if not arms:
            return conclude(course, complete=True, runs=len(results), seconds=0.0), order
        order.append((wave, arms[0]))
        reached = loss(arms[0].set) if learned(arms[0]) else BEGIN
        results[arms[0]] = reached + float(rng.normal(0, noise))


def is_repaired(changes):
    return changes.get("optimizer.lr", 0) >= 5e-4 and changes.get("model.pooling") == "flatten"


def only_both(changes):
    """Neither helps alone, as measured on the founding model (causes.md)."""
    return 0.25 if is_repaired(changes) else 1.1
