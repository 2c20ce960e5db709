"""Opening a store that work goes on with while its database is away for a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tsdiag.store.database import Store

DEFAULT_PATIENCE = "10m"

PatienceOption = Annotated[
    str,
    typer.Option(
        "--patience",
        metavar="TIME",
        help="How long to wait for a database that is away; training goes on meanwhile.",
    ),
]


def seconds_of(patience: str) -> float:
    """Return a ``--patience`` in seconds.

    Raises:
        UsageError: it is no duration.
    """
    from tsdiag.errors import UsageError
    from tsdiag.search.spec import seconds

    try:
        return float(seconds(patience))
    except ValueError as error:
        raise UsageError(f"--patience {patience}: {error}") from None


def open_for_work(storage: str, patience: str = DEFAULT_PATIENCE, *, known: bool = False) -> Store:
    """Open a store at once or not at all, since its address may be wrong; patient from then on.

    ``known`` refuses a database that is not there yet: a mistyped one is an error, not a new one.
    """
    from dataclasses import replace

    from tsdiag.store.database import open_store
    from tsdiag.store.patience import Patience

    patient = Patience(seconds_of(patience))
    if known:
        open_store(storage, read_only=True)
    return replace(open_store(storage), patience=patient)


def await_store(storage: str, patience: str, stopped: Callable[[], bool]) -> Store:
    """Open a store that is there already, waiting for its server from the beginning."""
    from tsdiag.store.database import open_store
    from tsdiag.store.patience import Patience

    patient = Patience(seconds_of(patience), stopped)
    open_store(storage, read_only=True, patience=patient)
    return open_store(storage, patience=patient)
