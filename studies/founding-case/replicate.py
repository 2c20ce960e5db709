r"""Train the enqueued configurations of a study, and its baseline, whole and on several seeds.

    python studies/founding-case/replicate.py studies/founding-case/study.toml \
        --enqueued 0 1 2 --seeds 1 2 3 4 5 --out studies/founding-case/replicates.csv

One thread, one run after the other; what the table has already is not trained again, so a
broken-off table goes on, and several processes can share the work by seeds. ``--set PATH=VALUE``
changes every configuration, which is then another model in the table. The test span is never scored
here: signs and losses are those of all validation windows.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import torch

from tsdiag.compare.scoring import score_windows
from tsdiag.config import RunConfig
from tsdiag.data.dataset import Dataset, load_dataset
from tsdiag.models import build
from tsdiag.runs.dropout import seed_dropout
from tsdiag.runs.environment import choose_device, describe
from tsdiag.runs.weights import shapes_of
from tsdiag.search.space import baseline_config, default_config
from tsdiag.search.spec import StudySpec, read_spec
from tsdiag.training.evaluation import predict
from tsdiag.training.loop import Training
from tsdiag.training.observer import Moment

COLUMNS = (
    "study",
    "model",
    "rate",
    "seed",
    "windows",
    "loss",
    "sign",
    "seconds",
    "cpu_seconds",
    "device",
    "losses",
)


def main() -> None:
    """Train what is missing in the table, and add a line for each run as it ends."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked.add_argument("study", type=Path)
    asked.add_argument("--enqueued", type=int, nargs="*", default=[])
    asked.add_argument("--baseline", action="store_true")
    asked.add_argument("--seeds", type=int, nargs="+", required=True)
    asked.add_argument("--set", nargs="*", default=[], metavar="PATH=VALUE")
    asked.add_argument("--device", default="cpu", help="auto, cpu (default) or cuda")
    asked.add_argument("--out", type=Path, required=True)
    given = asked.parse_args()
    torch.set_num_threads(1)
    device = choose_device(given.device)
    changes = {path: json.loads(value) for path, _, value in (s.partition("=") for s in given.set)}
    spec = read_spec(given.study)
    dataset = load_dataset(spec.data)
    wanted = [(f"enqueued {i}", default_config(spec, spec.enqueue[i])) for i in given.enqueued]
    wanted += [("baseline", baseline_config(spec))] if given.baseline else []
    for seed in given.seeds:
        for name, config in wanted:
            named = " ".join([name, *given.set])
            if (spec.name, named, str(seed)) not in known(given.out):
                changed = config.edits({**changes, "seed": seed})
                add(given.out, row(spec, named, changed, dataset, device))


def row(
    spec: StudySpec, name: str, config: RunConfig, dataset: Dataset, device: torch.device
) -> dict[str, object]:
    """Train one configuration, and return its line of the table."""
    began, processor = time.monotonic(), time.process_time()
    curve: list[str] = []
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        model = build(config, shapes_of(dataset), torch.Generator().manual_seed(config.seed))
        model.to(device)
        seed_dropout(config.seed, device)
        train, validation = dataset.train.to(device), dataset.validation.to(device)
        training = Training(model, train, validation, config)
        ending = training.run(lambda moment: curve.append(_point(moment)))
    model.load_state_dict(ending.progress.best_weights)
    predictions = predict(model, validation, precision=config.training.precision)
    scores = score_windows(dataset.validation, predictions)
    values = (
        spec.name,
        name,
        config.optimizer.lr,
        config.seed,
        ending.progress.step * config.training.batch_size,
        f"{ending.progress.best_validation_loss:.4f}",
        f"{scores.directional_accuracy:.4f}",
        round(time.monotonic() - began),
        round(time.process_time() - processor),
        describe(device)["device"],
        " ".join(dict.fromkeys(point for point in curve if point)),
    )
    return dict(zip(COLUMNS, values, strict=True))


def _point(moment: Moment) -> str:
    """Return "step:loss" at an evaluation, and nothing between."""
    if moment.evaluated_step != moment.step:
        return ""
    return f"{moment.step}:{moment.validation_loss:.3f}"


def known(table: Path) -> set[tuple[str, str, str]]:
    """Return which runs the table has."""
    if not table.exists():
        return set()
    with table.open(newline="") as file:
        return {(line["study"], line["model"], line["seed"]) for line in csv.DictReader(file)}


def add(table: Path, values: dict[str, object]) -> None:
    """Add a line to the table."""
    new = not table.exists()
    with table.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if new:
            writer.writeheader()
        writer.writerow(values)


if __name__ == "__main__":
    main()
