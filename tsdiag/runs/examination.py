"""The dear probes: asked at the end of a run, and of a stored run when somebody wants to know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tsdiag.config import RunConfig
from tsdiag.data.dataset import Dataset
from tsdiag.diagnostics.probes import ON_DEMAND
from tsdiag.diagnostics.probes.probe import Probe, Specimen
from tsdiag.diagnostics.probes.watcher import Note, ask
from tsdiag.errors import StoreError
from tsdiag.runs.artifacts import ArtifactStore, read_bytes
from tsdiag.runs.recorder import Recorder
from tsdiag.runs.weights import unpack_trained
from tsdiag.store.curves import append_curves, merge_curves
from tsdiag.store.database import Store
from tsdiag.store.runs import get_run


def examine(
    model: nn.Module,
    config: RunConfig,
    dataset: Dataset,
    probes: Sequence[Probe[Any]],
    step: int,
    note: Note,
) -> dict[str, str]:
    """Hand every reading about the model to ``note``; return which probes failed, and why."""
    device = next(model.parameters()).device
    windows = (dataset.train.to(device), dataset.validation.to(device))
    failures: dict[str, str] = {}
    ask(probes, Specimen(model, config, *windows), step, note, failures)
    return failures


def examine_run(
    store: Store,
    artifacts: ArtifactStore,
    dataset: Dataset,
    run_id: str,
    device: torch.device,
    probes: Sequence[Probe[Any]] = ON_DEMAND,
) -> dict[str, str]:
    """Measure the best weights of a run that has ended, and add what is found to its curves.

    Raises:
        StoreError: the run is unknown, still under way, or has left no weights.
    """
    row = get_run(store, run_id)
    if row.weights is None:
        raise StoreError(
            f'examine run "{run_id}": it is {row.state} and has left no weights; take a trial that '
            "was completed or pruned: tsdiag trials"
        )
    trained = unpack_trained(read_bytes(artifacts, row.weights))
    recorder = Recorder()
    model = trained.model.to(device)
    failures = examine(model, trained.config, dataset, probes, row.step, recorder.note)
    append_curves(store, run_id, recorder.take())
    merge_curves(store, run_id)
    return failures
