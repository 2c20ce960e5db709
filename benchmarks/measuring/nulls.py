"""Interventions that do nothing: how often does a verdict confirm one?

A null changes the numbers and not what is learned: weights and order of data from another seed.
Ten of them share five controls, as the remedies of one verification do.
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
from tsdiag.verify.effects import verdict
from tsdiag.verify.plan import SEEDS, Plan

Losses = NDArray[np.float64]
NULLS = 10  # that share a group's controls
OFFSET = 10_000  # between the seeds of one null and the next
SCREENED = 6  # nulls of which the best on one seed is confirmed, as screening does


@dataclass(frozen=True)
class Group:
    """Losses of a group's runs; the first seed is that of screening."""

    controls: Losses  # "seed"
    nulls: Losses  # "null seed"


def train_groups(config: RunConfig, dataset: Dataset, count: int) -> list[Group]:
    """Train so many groups: the runs of each on seeds of its own."""
    return [_group(config, dataset, 100 * number) for number in range(count)]


def _group(config: RunConfig, dataset: Dataset, first: int) -> Group:
    seeds = np.arange(first, first + 1 + SEEDS) + OFFSET * np.arange(NULLS + 1)[:, None]
    losses = [[trained_loss(config.edit("seed", int(s)), dataset) for s in row] for row in seeds]
    return Group(np.array(losses[0]), np.array(losses[1:]))


def plain(groups: Sequence[Group], plan: Plan) -> list[Verdict]:
    """Return the verdict on each null."""
    return [_verdict(plan, group, null) for group in groups for null in group.nulls]


def screened(groups: Sequence[Group], plan: Plan, rng: np.random.Generator) -> list[Verdict]:
    """Return as many verdicts, each on the best of some nulls on the seed of screening."""
    found = []
    for group in groups:
        for _ in range(NULLS):
            drawn = rng.permutation(NULLS)[:SCREENED]
            best = drawn[group.nulls[drawn, 0].argmin()]
            found.append(_verdict(plan, group, group.nulls[best]))
    return found


def _verdict(plan: Plan, group: Group, null: Losses) -> Verdict:
    changes = {"seed": "another"}
    return verdict(plan, changes, list(group.controls[1:]), list(null[1:]), plan.steps)


def spread(groups: Sequence[Group], plan: Plan) -> tuple[float, float]:
    """Return mean and deviation over seeds, as shares of the way to the reference."""
    losses = np.concatenate([group.nulls.ravel() for group in groups])
    way = plan.naive - plan.reference
    return plan.attained(float(losses.mean())), float(losses.std(ddof=1)) / way


def plan_of(config: RunConfig, naive: float, reference: float) -> Plan:
    """Return what a verdict asks of a plan: how long runs are, and what is within reach."""
    steps = config.training.max_steps
    return Plan.model_construct(naive=naive, reference=reference, steps=steps)
