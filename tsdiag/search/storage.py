"""Optuna's storage for a storage URL."""

from __future__ import annotations

import optuna
from sqlalchemy.pool import NullPool

from tsdiag.errors import StoreError
from tsdiag.store.database import BUSY, Store
from tsdiag.store.failures import told
from tsdiag.store.leases import held
from tsdiag.store.owners import owner


def open_storage(store: Store) -> optuna.storages.RDBStorage:
    """Open Optuna's tables in a store's database; no connection is kept between calls.

    Raises:
        StoreError: the tables there are of another version of Optuna.
    """
    options: dict[str, object] = {"poolclass": NullPool}
    if store.engine.dialect.name == "sqlite":
        options["connect_args"] = {"timeout": BUSY}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        # Two processes that create Optuna's tables at once trip over each other.
        with told(store.url, "open"), held(store, "optuna-tables", owner()):
            return optuna.storages.RDBStorage(store.full_url, engine_kwargs=options)
    except RuntimeError as error:
        raise StoreError(
            f"open Optuna's tables in {store.url}: {error}; upgrade them with: optuna storage "
            "upgrade --storage URL"
        ) from error
