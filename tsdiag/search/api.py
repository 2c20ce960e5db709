"""``tsdiag.search(...)`` in Python: the command without its printing."""

from __future__ import annotations

import os
from dataclasses import replace

from tsdiag.search.conduct import SearchResult, conduct, prepare
from tsdiag.search.spec import find_spec
from tsdiag.store.database import open_store
from tsdiag.store.patience import Patience

DEFAULT_STORAGE = "sqlite:///tsdiag.db"
# How long a search puts up with a database that is away [s]: as on the command line.
PATIENCE = 600.0


def search(
    study: str,
    storage: str | None = None,
    trials: int | None = None,
    timeout: str | float | None = None,
    workers: int = 0,
    seed: int | None = None,
    device: str = "auto",
) -> SearchResult:
    """Run or resume a study; arguments and errors as ``tsdiag.search`` tells them."""
    spec = find_spec(study).with_search(trials=trials, timeout=timeout, seed=seed)
    store = open_store(storage or os.environ.get("TSDIAG_STORAGE") or DEFAULT_STORAGE)
    store = replace(store, patience=Patience(PATIENCE))
    dataset = prepare(store, spec)
    return conduct(store, spec, dataset, workers=workers, device=device)
