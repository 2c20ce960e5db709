"""A run that begins where another one was at its best, instead of with random weights."""

from __future__ import annotations

from torch import nn

from tsdiag.errors import StoreError, TsdiagError, Unreachable
from tsdiag.runs.artifacts import ArtifactStore, read_bytes
from tsdiag.runs.weights import unpack_trained
from tsdiag.store.database import Store
from tsdiag.store.runs import get_run
from tsdiag.training.checkpoint import brief


def begin_with(model: nn.Module, run: str, store: Store, artifacts: ArtifactStore) -> None:
    """Give a model the best weights of a run.

    Raises:
        Unreachable: the database or the artifact store is away.
        TsdiagError: there is no such run, it left no weights, or they do not fit; that is the fault
            of what was asked for, not of a store, so no other worker could begin it.
    """
    try:
        _load(model, run, store, artifacts)
    except Unreachable:
        raise
    except StoreError as error:
        raise TsdiagError(str(error)) from error


def _load(model: nn.Module, run: str, store: Store, artifacts: ArtifactStore) -> None:
    weights = get_run(store, run).weights
    if weights is None:
        raise StoreError(f"begin with the weights of run {run}: it left none; begin anew")
    found = unpack_trained(
        store.patience(lambda: read_bytes(artifacts, weights))
    ).model.state_dict()
    try:
        model.load_state_dict(found)
    except RuntimeError as error:
        raise StoreError(
            f"begin with the weights of run {run}: they are those of another model "
            f"({brief(error).rstrip('.')}); change only how it is trained, or begin anew"
        ) from error
