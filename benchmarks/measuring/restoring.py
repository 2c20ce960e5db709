"""Whether a repair restores what a fault took: decided by training on seeds that chose nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from planting import Ground, Grounds, Planted, Treated, plant, treat
from plants import Plant
from record import configuration

from tsdiag.config import RunConfig
from tsdiag.data.dataset import Dataset, load_dataset
from tsdiag.diagnostics.states import LEARNS
from tsdiag.errors import UsageError
from tsdiag.models import build
from tsdiag.runs.dropout import seed_dropout
from tsdiag.runs.weights import shapes_of
from tsdiag.training.loop import Training
from tsdiag.verify.arms import Arm, config_of
from tsdiag.verify.plan import reach

Edits = dict[str, Any]
# Of the skill that the healthy configuration has over the naive floor.
RESTORED = 0.9
# Far from the seeds of a verification, which begin 1,000 above the run's own.
FIRST_SEED, SEEDS = 5000, 3
CPU = torch.device("cpu")
# How a fault in the data section is put right.
SCALED = {"data.scale_inputs": True, "data.scale_target": True}
# What a fault must have done to a run for it to count.
STALLED = ("stalled", "diverged")


@dataclass(frozen=True)
class Told:
    """What came of one plant."""

    name: str
    seed: int
    state: str
    causes: tuple[str, ...] = ()  # the first three
    repair: Edits | None = None
    attained: float | None = None  # share of the healthy skill, on held-out seeds
    healthy: float | None = None  # share of the way to the study's reference that healthy runs go
    seconds: float = 0.0  # of processor time for the verification
    runs: int = 0
    why: str = ""

    @property
    def counts(self) -> bool:
        """Whether the plant stalled the run, and its healthy self learns."""
        return self.state in STALLED and (self.healthy or 0.0) > LEARNS

    @property
    def is_restored(self) -> bool:
        """Whether the repair brings back what the fault took."""
        return (self.attained or 0.0) >= RESTORED


@dataclass(frozen=True)
class Grown:
    """A plant that was verified, with what is needed to look closer."""

    told: Told
    faulty: RunConfig
    healthy: RunConfig
    held_out: HeldOut
    planted: Planted
    treated: Treated | None


class HeldOut:
    """Losses on held-out seeds, in the unit of one study; each configuration is trained once."""

    def __init__(self, ground: Ground, naive: float) -> None:
        self._naive = naive
        self._ground = ground
        self._datasets = {ground.dataset.config: ground.dataset}
        self._known: dict[str, float] = {}

    def skill(self, base: RunConfig, changes: Mapping[str, Any]) -> float:
        """Return how far below the naive floor it comes, as a mean over the seeds."""
        first, steps = self._ground.seed + FIRST_SEED, base.training.max_steps
        arms = [Arm.of(changes, first + i, steps) for i in range(SEEDS)]
        losses = [self._loss(config_of(base, arm)) for arm in arms]
        return self._naive - sum(losses) / len(losses)

    def _loss(self, config: RunConfig) -> float:
        key = config.to_json()
        if key not in self._known:
            dataset = self._dataset(config)
            found = trained_loss(config, dataset) * unit(dataset, self._ground.dataset)
            # One that diverged has learned nothing.
            self._known[key] = found if math.isfinite(found) else self._naive
        return self._known[key]

    def _dataset(self, config: RunConfig) -> Dataset:
        if config.data not in self._datasets:
            self._datasets[config.data] = load_dataset(config.data)
        return self._datasets[config.data]


class Garden:
    """Plants of one series share its study, and what healthy runs of it reach."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._grounds = Grounds(folder)
        self._held_out: dict[Path, HeldOut] = {}

    def grow(self, name: str, of: Plant, seed: int) -> Grown:
        """Plant a fault, verify the run, and train what the repair makes of it on other seeds."""
        ground = self._grounds.of(of, seed)
        healthy = configuration(replace(of, fault={}), ground.dataset.config).edits(SCALED)
        faulty = configuration(of, ground.dataset.config).edit("seed", seed)
        planted = plant(ground, faulty, self._folder / f"{name}-{seed}")
        naive, reference = reach(planted.diagnosis.scores)
        assert naive is not None, name
        assert reference is not None, name
        held_out = self._held_out.setdefault(ground.folder, HeldOut(ground, naive))
        told = Told(
            name=name,
            seed=seed,
            state=planted.diagnosis.state,
            causes=tuple(finding.cause for finding in planted.diagnosis.findings[:3]),
            why=planted.diagnosis.state_reason,
        )
        if told.state not in STALLED:
            return Grown(told, faulty, healthy, held_out, planted, None)
        treated, told = _treat(planted, told)
        skill = held_out.skill(healthy, {})
        told = replace(told, healthy=skill / (naive - reference))
        if told.repair is not None:
            told = replace(told, attained=held_out.skill(faulty, told.repair) / skill)
        return Grown(told, faulty, healthy, held_out, planted, treated)


def trained_loss(config: RunConfig, dataset: Dataset) -> float:
    """Return the best validation loss of a run; infinite where it diverged."""
    with torch.random.fork_rng(devices=[]):
        model = build(config, shapes_of(dataset), torch.Generator().manual_seed(config.seed))
        seed_dropout(config.seed, CPU)
        ending = Training(model, dataset.train, dataset.validation, config).run()
    return math.inf if ending.state == "diverged" else ending.progress.best_validation_loss


def unit(there: Dataset, here: Dataset) -> float:
    """Return what a loss of some data is to be multiplied by, to be one of other scaling."""
    return float(((there.target_scaler.std / here.target_scaler.std) ** 2).mean())


def _treat(planted: Planted, told: Told) -> tuple[Treated | None, Told]:
    began = time.process_time()
    try:
        treated = treat(planted)
    except UsageError as error:
        return None, replace(told, why=str(error))
    found = treated.verification
    return treated, replace(
        told,
        repair=found.repair.set if found.repair else None,
        seconds=time.process_time() - began,
        runs=found.runs,
        why=found.summary,
    )
