"""From final runs to a verdict: choose on validation, then score the test span once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tsdiag.compare.comparison import Comparison
from tsdiag.compare.finals import Candidate, Finals
from tsdiag.compare.judge import Floor, Side, judge
from tsdiag.compare.metrics import window_losses
from tsdiag.compare.scoring import score_windows
from tsdiag.data.dataset import Dataset
from tsdiag.data.windows import Windows
from tsdiag.runs.artifacts import ArtifactStore, read_bytes
from tsdiag.runs.floors import floor_predictions
from tsdiag.runs.weights import unpack_trained
from tsdiag.store.database import Store
from tsdiag.store.failures import intact
from tsdiag.store.runs import RunRow
from tsdiag.store.studies import add_look, load_study, set_study
from tsdiag.training.evaluation import predict


def stored_comparison(store: Store, study: str) -> Comparison | None:
    """Return the newest verdict of a study, or None.

    Raises:
        StoreError: it is damaged, or another version wrote it.
    """
    verdict = load_study(store, study).verdict
    with intact(f"the verdict of study {study} in {store.url}"):
        return None if verdict is None else Comparison.model_validate(verdict["comparison"])


def compare(
    store: Store,
    study: str,
    finals: Finals,
    dataset: Dataset,
    artifacts: ArtifactStore,
    device: torch.device,
) -> Comparison | None:
    """Return the verdict on the final runs that are done, or None while there is no pair.

    The same final runs are never scored twice: their verdict is stored and returned. New ones (a
    longer search found others, or more seeds) are, and the verdict says how often that happened.
    """
    chosen = _choose(finals)
    if chosen is None:
        return None
    candidate, baseline = chosen
    sides = [(who, _ended(finals, who)) for who in (candidate, baseline)]
    runs = sorted(row.id for _, rows in sides for row in rows)
    verdict = load_study(store, study).verdict
    with intact(f"the verdict of study {study} in {store.url}"):
        if verdict is not None and verdict["runs"] == runs:
            return Comparison.model_validate(verdict["comparison"])
    looks = add_look(store, study)
    ours, theirs = (_side(store, who, rows, dataset, artifacts, device) for who, rows in sides)
    comparison = judge(
        ours,
        theirs,
        _floors(store, study, dataset, artifacts),
        overlap=-(-dataset.config.prediction_length // dataset.config.stride),
        looks=looks,
    )
    stored = {"runs": runs, "comparison": comparison.model_dump(mode="json", by_alias=True)}
    set_study(store, study, verdict=stored)
    return comparison


def _choose(finals: Finals) -> tuple[Candidate, Candidate] | None:
    """Return the transformer with the lowest mean validation loss over seeds, and the baseline."""
    everyone = finals.candidates()
    if not everyone:
        return None
    baseline, *transformers = everyone
    seeds = _seeds(finals, baseline)
    losses: dict[int, list[float]] = {}
    for number, candidate in enumerate(transformers):
        rows = [row for row in _finished(finals, candidate) if row.seed in seeds]
        losses[number] = [row.validation_loss for row in rows if row.validation_loss is not None]
    most = max(len(values) for values in losses.values())
    if most == 0:
        return None
    complete = {number: values for number, values in losses.items() if len(values) == most}
    best = min(complete, key=lambda number: float(np.mean(complete[number])))
    return transformers[best], baseline


def _seeds(finals: Finals, candidate: Candidate) -> set[int]:
    return {row.seed for row in _finished(finals, candidate)}


def _ended(finals: Finals, candidate: Candidate) -> list[RunRow]:
    rows = finals.runs(candidate)
    return [row for row in rows if row.state not in ("running", "interrupted")]


def _finished(finals: Finals, candidate: Candidate) -> list[RunRow]:
    return [row for row in _ended(finals, candidate) if row.weights is not None]


def _side(
    store: Store,
    candidate: Candidate,
    rows: Sequence[RunRow],
    dataset: Dataset,
    artifacts: ArtifactStore,
    device: torch.device,
) -> Side:
    done = sorted((row for row in rows if row.weights is not None), key=lambda row: row.seed)
    test = dataset.test.to(device)
    predictions = [_predictions(store, row, test, artifacts) for row in done]
    truth = _truth(dataset)
    is_baseline = candidate.role == "baseline"
    return Side(
        # A baseline's trial number is one of its own study, and would be taken for a transformer's.
        label=candidate.config.model.kind.upper() if is_baseline else candidate.label,
        trial=None if is_baseline else candidate.trial,
        seeds=tuple(row.seed for row in done),
        losses=np.stack([window_losses(found.numpy(), truth) for found in predictions]),
        scores=tuple(score_windows(dataset.test, found) for found in predictions),
        parameters=done[0].parameters or 0,
        seconds=tuple(row.seconds for row in done),
        cpu_seconds=tuple(row.cpu_seconds for row in done),
        failed_seeds=tuple(sorted({row.seed for row in rows} - {row.seed for row in done})),
    )


def _predictions(
    store: Store, row: RunRow, test: Windows, artifacts: ArtifactStore
) -> torch.Tensor:
    name = row.weights
    assert name is not None
    trained = unpack_trained(store.patience(lambda: read_bytes(artifacts, name)))
    return predict(trained.model.to(test.ends.device), test)


def _truth(dataset: Dataset) -> np.ndarray[Any, np.dtype[np.float32]]:
    truth: np.ndarray[Any, np.dtype[np.float32]] = dataset.test.targets_at(
        torch.arange(len(dataset.test))
    ).numpy()
    return truth


def _floors(store: Store, study: str, dataset: Dataset, artifacts: ArtifactStore) -> list[Floor]:
    truth = _truth(dataset)
    return [
        Floor(name, score_windows(dataset.test, found), window_losses(found.numpy(), truth))
        for name, found in floor_predictions(store, study, artifacts).items()
    ]
