"""The dear probes: asked at the end of a run, and of a stored run when somebody wants to know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tsdiag.config import RunConfig, flatten
from tsdiag.data.dataset import Dataset
from tsdiag.diagnostics.probes import ON_DEMAND
from tsdiag.diagnostics.probes.probe import Probe, Specimen
from tsdiag.diagnostics.probes.watcher import Note, ask
from tsdiag.diagnostics.signals import SignalName
from tsdiag.errors import DataError, StoreError
from tsdiag.models import build, complete
from tsdiag.runs.artifacts import ArtifactStore, read_bytes
from tsdiag.runs.origin import begin_with
from tsdiag.runs.recorder import Recorder
from tsdiag.runs.weights import shapes_of, unpack_trained
from tsdiag.store.curves import append_curves, load_trace, merge_curves
from tsdiag.store.database import Store
from tsdiag.store.runs import RunRow, get_run
from tsdiag.training.evaluation import Pause, go_on


def examine(
    model: nn.Module,
    config: RunConfig,
    dataset: Dataset,
    probes: Sequence[Probe[Any]],
    step: int,
    note: Note,
    pause: Pause = go_on,
) -> dict[str, str]:
    """Hand every reading about the model to ``note``; return which probes failed, and why.

    ``pause`` is called before each probe, and between the steps of one that takes long.
    """
    device = next(model.parameters()).device
    windows = (dataset.train.to(device), dataset.validation.to(device))
    failures: dict[str, str] = {}
    specimen = Specimen(model, config, *windows, pause)
    for probe in probes:
        pause()
        ask([probe], specimen, step, note, failures)
    return failures


def examine_run(
    store: Store,
    artifacts: ArtifactStore,
    dataset: Dataset,
    run_id: str,
    device: torch.device,
    probes: Sequence[Probe[Any]] = ON_DEMAND,
    pause: Pause = go_on,
) -> dict[str, str]:
    """Measure the best weights of a run, and add what is found to its curves.

    A run that has left none, such as one that diverged, is measured as it began, at step 0. A run
    that is still under way is left alone: its curves are its own process's to write.

    Raises:
        StoreError: the run is unknown, still under way, or began with weights that are gone.
        DataError: the run was trained on other data.
    """
    row = get_run(store, run_id)
    if row.state == "running":
        raise StoreError(
            f'examine run "{run_id}": it is still running; wait for its end, or take another '
            "trial: tsdiag trials"
        )
    _refuse_other_data(dataset, row)
    config, model, step = _as_left(store, artifacts, dataset, row)
    known = {(s.name, s.where) for s in load_trace(store, run_id).signals if step in s.steps}
    recorder = Recorder()

    def note(signal: SignalName, where: str, at: int, value: float) -> None:
        if (signal.name, where) not in known:  # asked before, it would say the same again
            recorder.note(signal, where, at, value)

    failures = examine(model.to(device), config, dataset, probes, step, note, pause)
    append_curves(store, run_id, recorder.take())
    merge_curves(store, run_id)
    return failures


def _refuse_other_data(dataset: Dataset, row: RunRow) -> None:
    before = flatten(RunConfig.from_json(row.config).data.model_dump(mode="json"))
    given = flatten(dataset.config.model_dump(mode="json"))
    # Where the rows lie may change.
    changed = [
        f"data.{name} = {before.get(name)!r}, not {given.get(name)!r}"
        for name in sorted(before.keys() | given.keys())
        if before.get(name) != given.get(name) and name not in ("path", "url", "query")
    ]
    if changed:
        raise DataError(
            f'examine run "{row.id}" on other data: it was trained with {"; ".join(changed)}; '
            "load the data of its own configuration"
        )


def _as_left(
    store: Store, artifacts: ArtifactStore, dataset: Dataset, row: RunRow
) -> tuple[RunConfig, nn.Module, int]:
    """Return a run's configuration, its model, and after how many updates that model was so."""
    if row.weights is not None:
        trained = unpack_trained(read_bytes(artifacts, row.weights))
        return trained.config, trained.model, row.metrics.get("best_step", row.step)
    config = complete(RunConfig.from_json(row.config))
    generator = torch.Generator().manual_seed(config.seed)
    model = build(config, shapes_of(dataset), generator)
    if row.origin is not None:
        begin_with(model, row.origin, store, artifacts)
    return config, model, 0
