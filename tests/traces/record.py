"""Record the traces beside this file: python tests/traces/record.py [NAME ...]

Each folder gets config.json (the configuration and what is known around the run) and signals.csv
(one line per curve). Takes about five seconds a trace on one core.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from plants import FAULTS, HEALTHY, MACD, STEPS, Plant
from series import plant_files

from tsdiag.config import DataConfig, ModelConfig, RunConfig, TrainingConfig
from tsdiag.data.dataset import Dataset, load_dataset
from tsdiag.diagnostics.probes import AT_END, LIVE, ON_DEMAND
from tsdiag.diagnostics.probes.watcher import Watcher
from tsdiag.diagnostics.signals import Signal
from tsdiag.models import build, imply, preset
from tsdiag.models.floors import measure_floors
from tsdiag.runs.audit import audit
from tsdiag.runs.examination import examine
from tsdiag.runs.recorder import Recorder
from tsdiag.runs.weights import shapes_of
from tsdiag.statistics import even_blocks
from tsdiag.training.evaluation import evaluate
from tsdiag.training.loop import Training

FOLDER = Path(__file__).parent
# Of the signals that are measured at every step, so many are kept.
MOST_POINTS = 60


def configuration(plant: Plant, data: DataConfig) -> RunConfig:
    training = TrainingConfig(**(STEPS | plant.training))
    bare = RunConfig(data=data, model=ModelConfig(kind=plant.kind), training=training)
    config = preset(bare, plant.kind, plant.preset)
    for edits in (plant.base, plant.fault):
        config = config.edits(imply(config, edits))
    return config


def train(config: RunConfig, dataset: Dataset) -> tuple[list[Signal], dict]:
    """Train with all probes; return the curves and how it went."""
    torch.manual_seed(config.seed)
    model = build(config, shapes_of(dataset), torch.Generator().manual_seed(config.seed))
    recorder = Recorder()
    watcher = Watcher(LIVE, dataset.train, config, recorder.note)
    training = Training(model, dataset.train, dataset.validation, config, (watcher,))
    ending = training.run()
    progress = ending.progress
    blocks: list[float] = []
    if progress.best_weights:
        model.load_state_dict(progress.best_weights)
        found = evaluate(model, dataset.validation.every(config.training.validation_windows))
        blocks = block_losses(found.predictions.numpy(), found.targets.numpy())
    failed = dict(watcher.failures)
    failed |= examine(
        model, config, dataset, (*AT_END, *ON_DEMAND), progress.best_step, recorder.note
    )
    return recorder.take(), {
        "end_state": ending.state,
        "reason": ending.reason,
        "loss": finite(progress.best_validation_loss),
        "blocks": blocks,
        "last_loss": finite(progress.last_validation_loss),
        "step": progress.step,
        "max_steps": config.training.max_steps,
        "failed": failed,
    }


def block_losses(predictions: np.ndarray, targets: np.ndarray) -> list[float]:
    losses = np.square(predictions.astype(float) - targets).reshape(len(targets), -1).mean(axis=1)
    return [float(f"{block:.6g}") for block in even_blocks(losses)]


def surroundings(dataset: Dataset) -> dict:
    """Return what a study would know: sizes, floors, the baseline, the audit of the data."""
    validation = dataset.validation.every(STEPS["validation_windows"])
    targets = validation.targets_at(torch.arange(len(validation))).numpy()
    fitted, floors = measure_floors(dataset), {}
    for name, floor in fitted.items():
        if not floor.reason:
            found = floor.predict(validation)
            loss = float(np.square(found - targets).mean())
            floors[name] = {"loss": loss, "blocks": block_losses(found, targets)}
    _, baseline = train(configuration(HEALTHY["healthy-lstm"], dataset.config), dataset)
    return {
        "facts": {
            "context_length": dataset.train.context_length,
            "channels": dataset.train.n_channels,
            "outputs": dataset.train.n_targets * dataset.train.prediction_length,
            "train_windows": len(dataset.train),
        },
        "floors": floors,
        "baseline": {"loss": baseline["loss"], "blocks": baseline["blocks"]},
        "audit": rounded(
            audit(dataset, fitted, STEPS["validation_windows"]).model_dump(mode="json")
        ),
    }


def rounded(tree: Any) -> Any:
    """Keep six digits of every number: another machine adds in another order."""
    if isinstance(tree, dict):
        return {key: rounded(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [rounded(value) for value in tree]
    return float(f"{tree:.6g}") if isinstance(tree, float) else tree


def read(data: dict) -> Dataset:
    """Load what a plant says, with its file written first where it has one."""
    with TemporaryDirectory() as folder:
        if "path" in data:
            plant_files(Path(folder), data["path"])
        return load_dataset(DataConfig.model_validate(data), Path(folder))


def data_of(plant: Plant) -> dict:
    """Return the data section: a file takes the place of the generated series."""
    whole = MACD | plant.data
    return {key: value for key, value in whole.items() if key != "generate" or "path" not in whole}


def write(name: str, config: RunConfig, around: dict, signals: list[Signal], outcome: dict) -> None:
    folder = FOLDER / name
    folder.mkdir(exist_ok=True)
    whole = {"config": json.loads(config.to_json()), **around, "outcome": outcome}
    (folder / "config.json").write_text(json.dumps(whole, indent=1) + "\n")
    with (folder / "signals.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("name", "where", "unit", "steps", "values"))
        for signal in sorted(signals, key=lambda s: (s.name, s.where)):
            kept = np.unique(np.linspace(0, len(signal.steps) - 1, MOST_POINTS).round().astype(int))
            steps, values = signal.steps[kept], signal.values[kept]
            writer.writerow(
                (
                    signal.name,
                    signal.where,
                    signal.unit,
                    " ".join(f"{step:g}" for step in steps),
                    " ".join(f"{value:.4g}" for value in values),
                )
            )


def finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    known: dict[str, tuple[Dataset, dict]] = {}
    for name, plant in (HEALTHY | FAULTS).items():
        if names and name not in names:
            continue
        data = data_of(plant)
        key = json.dumps(data, sort_keys=True)
        if key not in known:
            dataset = read(data)
            known[key] = dataset, surroundings(dataset)
        dataset, around = known[key]
        config = configuration(plant, dataset.config)
        signals, outcome = train(config, dataset)
        write(name, config, around, signals, outcome)
        naive = min(around["floors"][f]["loss"] for f in ("train_mean", "last_value"))
        print(
            f"{name:35s} {outcome['end_state']:10s} loss {outcome['loss']} naive {naive:.3f} "
            f"lstm {around['baseline']['loss']:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
