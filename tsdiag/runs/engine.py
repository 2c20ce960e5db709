"""How a run computes its steps, chosen by timing a few of them on the machine that will run it.

What is fastest depends on model, batch and processor: bfloat16 helps wide layers and hurts narrow
ones, micro-batches help where a whole batch leaves the cache. So each candidate takes a few steps
on a throwaway model, in turns, since other processes slow all of them alike.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch

from tsdiag.config import ENGINE, RunConfig, TrainingConfig
from tsdiag.data.dataset import Dataset
from tsdiag.models import build
from tsdiag.runs.weights import shapes_of
from tsdiag.training.engine import build_engine, normalises_batches
from tsdiag.training.loop import Training
from tsdiag.training.observer import Moment
from tsdiag.training.precision import supports_bfloat16

PRECISION, MICRO_BATCH, CUDA_GRAPH = ENGINE
# How much faster than the plain way another one must be: less is noise, and not worth a rounding.
GAIN = 1.1
# Windows of a micro-batch: few enough that a small encoder's activations stay in a core's cache.
_MICRO = 16
# Turns at most, and what all of them may take of a run's steps.
_TURNS = 4
_SHARE = 0.015
# A step as long as this one is told well enough by one turn [s].
_LONG = 1.0
# Whoever is this many times slower than the fastest so far takes no further turn.
_HOPELESS = 1.3
# A step longer than this is not spent on launching kernels, which a graph would save [s].
_LAUNCHES = 0.02

# What one step of a training takes, computed as it is set up then [s].
Clock = Callable[[Training], float]


@dataclass(frozen=True)
class Choice:
    """A configuration whose way to compute is settled, and by which timings."""

    config: RunConfig
    record: dict[str, Any]  # {"candidates": {name: milliseconds per step}, "chosen": name}


def seconds_of_step(training: Training) -> float:
    """Carry out one step and return its CPU time, or on a GPU the wall clock [s]."""
    device = next(training.model.parameters()).device
    if device.type != "cuda":
        began = time.process_time()
        training.run(_after_one)
        return time.process_time() - began
    torch.cuda.synchronize(device)
    began = time.perf_counter()
    training.run(_after_one)
    torch.cuda.synchronize(device)
    return time.perf_counter() - began


def choose_engine(
    config: RunConfig,
    dataset: Dataset,
    device: torch.device,
    free: Collection[str],
    clock: Clock = seconds_of_step,
    go_on: Callable[[], bool] = lambda: True,
) -> Choice | None:
    """Time a few steps of each way to compute that the paths in ``free`` allow, and take the best.

    The configuration's own way is kept unless another is ``GAIN`` times faster. Nothing outside is
    disturbed. ``go_on`` is asked between two steps; where it says no, there is no choice.
    """
    if not free:
        return Choice(config, {"candidates": {}, "chosen": engine_name(config.training)})
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        training = throwaway(config, dataset, device)
        candidates = _candidates(config.training, training, device, free)
        own = next(iter(candidates))
        found: dict[str, float] | None = {}
        if len(candidates) > 1:
            found = _timed(training, candidates, config.training.max_steps, clock, go_on)
    if found is None:
        return None
    best = min(found, key=found.__getitem__, default=own)
    chosen = best if best != own and found[own] >= GAIN * found[best] else own
    told = {name: round(1000 * took, 3) for name, took in found.items() if took < math.inf}
    settled = config.model_copy(update={"training": candidates[chosen]})
    return Choice(settled, {"candidates": told, "chosen": chosen})


def engine_name(how: TrainingConfig) -> str:
    """Return a way to compute in a word, such as "bfloat16/16" or "float32 graph"."""
    parts = f"/{how.micro_batch}" if how.micro_batch else ""
    return how.precision + parts + (" graph" if how.cuda_graph else "")


def _timed(
    training: Training,
    candidates: dict[str, TrainingConfig],
    steps: int,
    clock: Clock,
    go_on: Callable[[], bool],
) -> dict[str, float] | None:
    """Return the fastest step of each candidate, or None where told to end."""
    found = dict.fromkeys(candidates, math.inf)
    engines = dict.fromkeys(list(candidates)[:1], training.engine)
    failed: set[str] = set()
    # The first step of all warms up; it counts where steps take so long that it may.
    warm = clock(training)
    if warm > _LONG:
        found[next(iter(candidates))] = warm
    for _ in range(min(max(round(steps * _SHARE / len(candidates)), 1), _TURNS)):
        for name, how in candidates.items():
            fastest = min(found.values())
            slow_graph = how.cuda_graph and _LAUNCHES < fastest < math.inf
            if name in failed or _is_settled(found[name], fastest) or slow_graph:
                continue
            if not go_on():
                return None
            try:
                if name not in engines:
                    engines[name] = build_engine(training.model, how, training.feed.batch(0)[0])
                training.engine = engines[name]
                found[name] = min(found[name], clock(training))
            except RuntimeError:
                # Out of memory, or an operation that this way lacks. The own way must work, and
                # says so itself when the run begins.
                failed.add(name)
                found[name] = math.inf
    return found


def _is_settled(took: float, fastest: float) -> bool:
    return took < math.inf and (took > _LONG or took > _HOPELESS * fastest)


def throwaway(config: RunConfig, dataset: Dataset, device: torch.device) -> Training:
    """Return a training of the configuration that steps without evaluating or getting anywhere."""
    still = {
        "optimizer.lr": 1e-12,
        "training.max_steps": 10**9,
        "training.evaluate_every": 10**9,
        "training.patience": 0,
    }
    model = build(config, shapes_of(dataset), torch.Generator().manual_seed(config.seed))
    # One window of validation: the loop begins with an evaluation, and this is no part of a step.
    validation = dataset.validation.every(1).to(device)
    return Training(model.to(device), dataset.train.to(device), validation, config.edits(still))


def _candidates(
    own: TrainingConfig, training: Training, device: torch.device, free: Collection[str]
) -> dict[str, TrainingConfig]:
    """Return the ways to compute by name, the configuration's own first.

    Other devices than GPUs have no graphs, so there the own way is without.
    """
    precisions, parts, graphs = {own.precision: 0}, {own.micro_batch: 0}, {own.cuda_graph: 0}
    if device.type != "cuda":
        graphs = {False: 0}
    if PRECISION in free and supports_bfloat16(device):
        precisions |= {"bfloat16": 0}
    if MICRO_BATCH in free and training.feed.batch_size > _MICRO:
        parts |= {} if normalises_batches(training.model) else {_MICRO: 0}
    if CUDA_GRAPH in free and device.type == "cuda":
        graphs |= {True: 0}
    found = {}
    for graph, part, precision in product(graphs, parts, precisions):
        if not (graph and part):
            changes = {"precision": precision, "micro_batch": part, "cuda_graph": graph}
            how = own.model_copy(update=changes)
            found[engine_name(how)] = how
    return found


def _after_one(moment: Moment) -> str | None:
    return None if moment.evaluating else "timed"
