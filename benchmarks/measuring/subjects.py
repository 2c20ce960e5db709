"""Our side of a benchmark: a Training as a study runs it, on a generated series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from measuring.interleaved import Side, timed

from tsdiag.config import ENGINE, DataConfig, GeneratorConfig, RunConfig
from tsdiag.data.dataset import Dataset, load_dataset
from tsdiag.data.generator import TARGET
from tsdiag.models import build, preset
from tsdiag.runs.engine import choose_engine
from tsdiag.runs.weights import shapes_of
from tsdiag.training.loop import Training
from tsdiag.training.observer import Moment, Observer

CPU = torch.device("cpu")
# Beyond any benchmark: no evaluation falls into what is timed.
ENDLESS = {"training.max_steps": 10**9, "training.evaluate_every": 10**9}


def generated(
    context_length: int,
    channels: int = 33,
    *,
    features: str | tuple[str, ...] = "all",
    horizon: int = 1,
) -> Dataset:
    """Return windows over the generated series; the founding question has 33 columns."""
    data = DataConfig(
        generate=GeneratorConfig(rows=max(6000, 12 * context_length), channels=channels),
        target=TARGET,
        transform="difference",
        features=features,
        context_length=context_length,
        prediction_length=horizon,
    )
    return load_dataset(data)


def subject(dataset: Dataset, kind: str, name: str, changes: dict[str, Any]) -> RunConfig:
    """Return the configuration of a named model with some paths changed."""
    training = {**ENDLESS, "training.validation_windows": 64}
    return preset(RunConfig(data=dataset.config), kind, name).edits({**training, **changes})


def chosen(config: RunConfig, dataset: Dataset) -> tuple[RunConfig, str]:
    """Return the configuration with the engine that a study's "auto" takes here, and its name."""
    choice = choose_engine(config, dataset, CPU, ENGINE)
    assert choice is not None
    return choice.config, choice.record["chosen"]


def new_training(
    config: RunConfig, dataset: Dataset, observers: Sequence[Observer] = ()
) -> Training:
    """Return a training that is ready for its first step."""
    model = build(config, shapes_of(dataset), torch.Generator().manual_seed(config.seed))
    return Training(model, dataset.train, dataset.validation, config, observers)


def advance(training: Training, steps: int) -> None:
    """Carry on for so many steps, as ``Training.run`` of a study does."""
    last = training.progress.step + steps

    def stop(moment: Moment) -> str | None:
        return "paused" if moment.step >= last and not moment.evaluating else None

    training.run(stop)


def side_of(training: Training, steps: int, label: str) -> Side:
    """Return the training as a side of a contest that takes so many steps a turn."""
    return Side(label, timed(lambda count: advance(training, count), steps))


def our_side(config: RunConfig, dataset: Dataset, steps: int) -> Side:
    """Return a training with the engine that a study would choose for it here."""
    settled, name = chosen(config, dataset)
    return side_of(new_training(settled, dataset), steps, name)
