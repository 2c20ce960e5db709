"""Interventions that do nothing: how often does a verdict confirm one?

A null changes the numbers and not what is learned: weights and order of data from another seed.
Ten of them share five controls, as the remedies of one verification do, so they are not independent
of each other: intervals are over groups. Each also stands for a contest of six nulls of its own, of
which the best on one seed is judged on five others, as screening and confirmation do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from measuring.restoring import trained_loss
from numpy.typing import NDArray

from tsdiag.config import RunConfig
from tsdiag.data.dataset import Dataset
from tsdiag.diagnostics.verdicts import Verdict
from tsdiag.statistics import Estimate, t_interval
from tsdiag.verify.effects import verdict
from tsdiag.verify.plan import SEEDS, Plan

Losses = NDArray[np.float64]
NULLS = 10  # that share a group's controls
SCREENED = 6  # nulls of a contest
OFFSET = 10_000  # between the seeds of one null and the next
APART = 100  # between the seeds of one group and the next


@dataclass(frozen=True)
class Group:
    """Losses of a group's runs on its five seeds."""

    controls: Losses  # "seed"
    nulls: Losses  # "null seed", the first of each contest
    best: Losses  # "null seed", of each contest the best on the seed of screening


def train_group(config: RunConfig, dataset: Dataset, number: int) -> Group:
    """Train the runs of one group, on seeds of its own."""
    known: dict[int, float] = {}

    def losses(null: int, at: Sequence[int]) -> list[float]:
        seeds = [OFFSET * null + APART * number + i for i in at]
        for seed in seeds:
            if seed not in known:
                known[seed] = trained_loss(config.edit("seed", seed), dataset)
        return [known[seed] for seed in seeds]

    fresh, contests = range(1, 1 + SEEDS), [range(k, k + SCREENED) for k in _firsts()]
    best = [min(nulls, key=lambda null: losses(null, [0])) for nulls in contests]
    return Group(
        np.array(losses(0, fresh)),
        np.array([losses(nulls[0], fresh) for nulls in contests]),
        np.array([losses(null, fresh) for null in best]),
    )


def _firsts() -> range:
    """Return the first null of each contest; 0 is the control."""
    return range(1, 1 + NULLS * SCREENED, SCREENED)


def judged(controls: Losses, nulls: Losses, plan: Plan, steps: int) -> list[Verdict]:
    """Return the verdict on each null of a group."""
    changes = {"seed": "another"}
    return [verdict(plan, changes, list(controls), list(null), steps) for null in nulls]


def over_groups(verdicts: Sequence[Sequence[Verdict]]) -> Estimate | None:
    """Return the share that is confirmed, with Student's interval over groups."""
    shares = [np.mean([v.outcome == "confirmed" for v in group]) for group in verdicts]
    return t_interval(np.asarray(shares, float))


def spread(groups: Sequence[Group], plan: Plan) -> tuple[float, float]:
    """Return mean and deviation over seeds, as shares of the way to the reference."""
    losses = np.concatenate([group.nulls.ravel() for group in groups])
    way = plan.naive - plan.reference
    return plan.attained(float(losses.mean())), float(losses.std(ddof=1)) / way


def plan_of(naive: float, constant: float, reference: float) -> Plan:
    """Return what a verdict asks of a plan: what is within reach, and where nothing is known."""
    return Plan.model_construct(naive=naive, constant=constant, reference=reference)
