"""Runs done once more, without a storm, and compared bit for bit with what the storm left."""

from __future__ import annotations

import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ledger import Lineage, Row, floats

from tsdiag.config import RunConfig
from tsdiag.data.dataset import Dataset, load_dataset
from tsdiag.runs.execute import Done, Execution, Request
from tsdiag.search.storage import artifact_store
from tsdiag.store.curves import load_trace
from tsdiag.store.database import Store, open_store
from tsdiag.training.loop import Stop, never
from tsdiag.training.observer import Moment

Curves = dict[tuple[str, str], tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]

# What a run must say alike whoever carried it out, and how often it was interrupted.
_SAME = ("state", "step", "validation_loss", "last_validation_loss", "parameters")


def differences(
    lineages: Iterable[Lineage], curve_rows: Iterable[Row], files: Path
) -> Iterator[tuple[Lineage, list[str]]]:
    """Yield each lineage with what of its result another run of it, never interrupted, has not.

    ``files`` is the folder of the artifacts that the storm left.
    """
    torch.set_num_threads(1)
    curves = _by_run(curve_rows)
    dataset: Dataset | None = None
    with tempfile.TemporaryDirectory(prefix="tsdiag-twins-") as folder:
        store = open_store(f"sqlite:///{folder}/twins.db")
        for lineage in lineages:
            assert lineage.result is not None
            config = RunConfig.from_json(lineage.result["config"])
            dataset = dataset or load_dataset(config.data)
            done = _carried_out(store, dataset, config, lineage.result)
            yield lineage, _differences(store, done, lineage.result, curves, files)


def _carried_out(store: Store, dataset: Dataset, config: RunConfig, result: Row) -> Done:
    """Train a configuration without a break; where the pruner ended it, it ends by itself."""
    request = Request(result["study"], result["role"], config, result["trial"], result["label"])
    execution = Execution(request, dataset, store, artifact_store(store), torch.device("cpu"))
    return execution.carry_out(_ending_of(result))


def _ending_of(result: Row) -> Stop:
    if result["state"] != "pruned":
        return never

    def stop(moment: Moment) -> str | None:
        # The pruner is asked after an evaluation, and one is due at each of the steps it ends at.
        return "pruned" if moment.evaluated_step == moment.step == result["step"] else None

    return stop


def _differences(
    store: Store, done: Done, result: Row, curves: dict[str, Curves], files: Path
) -> list[str]:
    row = vars(done.row)
    found = [
        f"{name} {result[name]!r}, not {row[name]!r}" for name in _SAME if result[name] != row[name]
    ]
    weights = [
        None if name is None else _digest(folder / name)
        for folder, name in (
            (artifact_store(store).folder, row["weights"]),
            (files, result["weights"]),
        )
    ]
    if weights[0] != weights[1]:
        found.append("weights")
    left = curves.get(result["id"], {})
    # What is only asked of a run that looks stalled is no part of the run itself.
    for signal in load_trace(store, done.row.id).signals:
        key = (signal.name, signal.where)
        steps, values = left.get(key, (None, None))
        if not _same(signal.steps, steps) or not _same(signal.values, values):
            found.append(f"curve {' '.join(key).strip()}")
    return found


def _same(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any] | None) -> bool:
    return other is not None and one.tobytes() == other.tobytes()


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else "no such file"


def _by_run(rows: Iterable[Row]) -> dict[str, Curves]:
    """Return the curves of all runs, their pieces joined in the order they were stored in."""
    parts: dict[str, dict[tuple[str, str], list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in sorted(rows, key=lambda row: row["chunk"]):
        parts[row["run"]][row["name"], row["where"]].append(row)
    return {run: {key: _joined(own) for key, own in of.items()} for run, of in parts.items()}


def _joined(rows: list[Row]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    columns = [np.concatenate([floats(row[name]) for row in rows]) for name in ("steps", "values")]
    return columns[0], columns[1]
