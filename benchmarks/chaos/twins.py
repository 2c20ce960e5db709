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
from tsdiag.runs.execute import Execution, Request
from tsdiag.search.artifacts import AtomicFolder
from tsdiag.store.curves import load_trace
from tsdiag.store.database import open_store
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
    with tempfile.TemporaryDirectory(prefix="tsdiag-twins-") as folder:
        quiet = _Quiet(Path(folder))
        for lineage in lineages:
            assert lineage.result is not None
            left = lineage.result
            own, own_curves = quiet.run_again(left)
            found = _other_columns(left, own)
            found += _other_weights(left, own, files, quiet.artifacts.folder)
            found += _other_curves(curves.get(left["id"], {}), own_curves)
            yield lineage, found


class _Quiet:
    """A database and an artifact folder where nothing happens."""

    def __init__(self, folder: Path) -> None:
        self.artifacts = AtomicFolder(folder / "artifacts")
        self._store = open_store(f"sqlite:///{folder}/twins.db")
        self._dataset: Dataset | None = None  # all runs of a study have the same

    def run_again(self, result: Row) -> tuple[Row, Curves]:
        """Train a configuration without a break, and return its row and its curves."""
        config = RunConfig.from_json(result["config"])
        self._dataset = self._dataset or load_dataset(config.data)
        what = Request(result["study"], result["role"], config, result["trial"], result["label"])
        cpu = torch.device("cpu")
        execution = Execution(what, self._dataset, self._store, self.artifacts, cpu)
        row = execution.carry_out(_ending_of(result)).row
        signals = load_trace(self._store, row.id).signals
        return vars(row), {(s.name, s.where): (s.steps, s.values) for s in signals}


def _ending_of(result: Row) -> Stop:
    if result["state"] != "pruned":
        return never

    def stop(moment: Moment) -> str | None:
        # The pruner is asked after an evaluation, and one is due at each of the steps it ends at.
        return "pruned" if moment.evaluated_step == moment.step == result["step"] else None

    return stop


def _other_columns(left: Row, own: Row) -> list[str]:
    return [
        f"{name} {left[name]!r}, not {own[name]!r}" for name in _SAME if left[name] != own[name]
    ]


def _other_weights(left: Row, own: Row, there: Path, here: Path) -> list[str]:
    digests = {_digest(there, left["weights"]), _digest(here, own["weights"])}
    return ["weights"] if len(digests) > 1 else []


def _other_curves(left: Curves, own: Curves) -> list[str]:
    """Name the curves that differ; what is only asked of a run that looks stalled is left out."""
    return [
        f"curve {' '.join(key).strip()}"
        for key, (steps, values) in own.items()
        if not (_same(steps, left, key, 0) and _same(values, left, key, 1))
    ]


def _same(own: np.ndarray[Any, Any], left: Curves, key: tuple[str, str], part: int) -> bool:
    return key in left and left[key][part].tobytes() == own.tobytes()


def _digest(folder: Path, name: str | None) -> str:
    if name is None:
        return "none"
    file = folder / name
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else f"{file} is missing"


def _by_run(rows: Iterable[Row]) -> dict[str, Curves]:
    """Return the curves of all runs, their pieces joined in the order they were stored in."""
    parts: dict[str, dict[tuple[str, str], list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in sorted(rows, key=lambda row: row["chunk"]):
        parts[row["run"]][row["name"], row["where"]].append(row)
    return {run: {key: _joined(own) for key, own in of.items()} for run, of in parts.items()}


def _joined(rows: list[Row]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    columns = [np.concatenate([floats(row[name]) for row in rows]) for name in ("steps", "values")]
    return columns[0], columns[1]
