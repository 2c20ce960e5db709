"""The floors of a study's data: measured once, by whichever worker comes first."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from tsdiag.data.dataset import Dataset
from tsdiag.models.floors import FittedFloor, measure_floors
from tsdiag.runs.artifacts import ArtifactStore, read_bytes, write_bytes
from tsdiag.runs.levels import block_losses
from tsdiag.store.cases import BLOCKS
from tsdiag.store.database import Store
from tsdiag.store.studies import load_study, set_study
from tsdiag.training.checkpoint import pack, unpack


def store_floors(
    store: Store, study: str, dataset: Dataset, artifacts: ArtifactStore, validation_windows: int
) -> dict[str, FittedFloor]:
    """Fit the floors, store their validation losses, and keep their predictions of the test span.

    Losses are over the same validation windows that trials are measured on. Predictions of the
    test span are kept unscored: they meet the truth together with the finalists'.
    """
    validation = dataset.validation.every(validation_windows)
    truth = validation.targets_at(torch.arange(len(validation)))
    told: dict[str, Any] = {}
    predictions: dict[str, Tensor] = {}
    floors = measure_floors(dataset)
    for name, floor in floors.items():
        told[name] = {"detail": floor.detail, "reason": floor.reason}
        if not floor.reason:
            found = torch.as_tensor(floor.predict(validation))
            told[name]["validation_loss"] = float((found - truth).double().square().mean())
            told[name][BLOCKS] = block_losses(validation, found)
            predictions[name] = torch.as_tensor(floor.predict(dataset.test)).float()
    # A study's own name may hold what a file's may not.
    file = f"{dataset.digest[:16]}-{hashlib.sha256(study.encode()).hexdigest()[:16]}.floors"
    packed = pack(predictions, {})
    name = store.patience(lambda: write_bytes(artifacts, file, packed))
    set_study(store, study, floors={"floors": told, "artifact": name})
    return floors


def floor_predictions(store: Store, study: str, artifacts: ArtifactStore) -> dict[str, Tensor]:
    """Return what each floor predicts for the test windows, in standardised units."""
    floors = load_study(store, study).floors
    if floors is None:
        return {}
    return unpack(store.patience(lambda: read_bytes(artifacts, floors["artifact"])))[0]
