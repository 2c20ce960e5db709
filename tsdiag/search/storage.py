"""Optuna's storage for a storage URL."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from sqlalchemy.exc import DBAPIError, PendingRollbackError
from sqlalchemy.pool import NullPool

from tsdiag.errors import StoreError, Unreachable
from tsdiag.store.database import Store, timeouts
from tsdiag.store.failures import explain, is_passing, told
from tsdiag.store.leases import held
from tsdiag.store.owners import owner
from tsdiag.store.tls import share_context


class PatientStorage(optuna.storages.RDBStorage):
    """Optuna's tables, waiting for a database that is away as the store's patience says.

    New trials are asked for once: whether one came through cannot be told from here. The queue
    can tell, and asks again.
    """

    def __init__(self, store: Store, options: dict[str, object]) -> None:
        self._patience = store.patience
        self._shown = store.url
        with _unreachable(self._shown):
            super().__init__(store.full_url, engine_kwargs=options)
        share_context(self.engine)

    def _create_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None = None
    ) -> FrozenTrial:
        with _unreachable(self._shown):
            return super()._create_new_trial(study_id, template_trial)


def _patiently(name: str) -> Callable[..., Any]:
    """Return a method of Optuna's storage, each of which is one transaction, made patient."""
    method = getattr(optuna.storages.RDBStorage, name)

    @functools.wraps(method)
    def tried(self: PatientStorage, *arguments: Any, **options: Any) -> Any:
        def once() -> Any:
            with _unreachable(self._shown):
                return method(self, *arguments, **options)

        return self._patience(once)

    return tried


@contextmanager
def _unreachable(shown: str) -> Iterator[None]:
    """Tell what Optuna's storage says of an outage as tsdiag's own tables do."""
    try:
        yield
    except (optuna.exceptions.StorageInternalError, DBAPIError) as error:
        cause = error if isinstance(error, DBAPIError) else error.__cause__
        # Where reading fails, Optuna tries another way in the same transaction, which is broken.
        if isinstance(cause, PendingRollbackError):
            raise Unreachable(f"cannot use {shown}: the connection was lost") from error
        if isinstance(cause, DBAPIError) and is_passing(cause):
            raise Unreachable(explain(shown, "use", cause)) from error
        raise


# What Optuna calls on it, beside the creation of trials. A study that was created although the
# answer was lost is there already when it is created again, which Optuna takes for another's.
for _name in (
    *("create_new_study", "get_all_studies", "get_study_directions", "get_study_id_from_name"),
    *("get_study_name_from_id", "get_study_system_attrs", "get_study_user_attrs"),
    *("set_study_system_attr", "set_study_user_attr"),
    *("get_trial", "get_trial_id_from_study_id_trial_number", "_get_best_trial_id", "_get_trials"),
    *("_set_trial_param", "set_trial_intermediate_value", "set_trial_state_values"),
    *("set_trial_system_attr", "set_trial_user_attr"),
):
    setattr(PatientStorage, _name, _patiently(_name))


def open_storage(store: Store) -> optuna.storages.RDBStorage:
    """Open Optuna's tables in a store's database; no connection is kept between calls.

    Raises:
        StoreError: the tables there are of another version of Optuna.
    """
    options: dict[str, object] = {"poolclass": NullPool, "connect_args": timeouts(store.engine.url)}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        # Two processes that create Optuna's tables at once trip over each other.
        with told(store.url, "open"), held(store, "optuna-tables", owner()):
            return store.patience(lambda: PatientStorage(store, options))
    except RuntimeError as error:
        raise StoreError(
            f"open Optuna's tables in {store.url}: {error}; upgrade them with: optuna storage "
            "upgrade --storage URL"
        ) from error


def open_cached_storage(store: Store) -> optuna.storages.BaseStorage:
    """Open the same for one who asks for all trials every few seconds: ended ones are read once.

    Raises:
        StoreError: the tables there are of another version of Optuna.
    """
    return optuna.storages.get_storage(open_storage(store))
