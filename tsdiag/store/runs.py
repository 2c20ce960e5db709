"""Runs: one row per execution of training, from its start to how it ended."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import uuid4

from sqlalchemy import Select, select, update
from sqlalchemy.exc import IntegrityError

from tsdiag.config import flatten
from tsdiag.errors import StoreError
from tsdiag.store.database import Store
from tsdiag.store.failures import intact
from tsdiag.store.patience import patient
from tsdiag.store.schema import RUNS

# The last two belong to interventions: the trial as it was, on other seeds, and with a remedy.
ROLES = ("baseline", "trial", "final", "control", "treatment")
STATES = (
    "running",
    "completed",
    "early_stopped",
    "pruned",
    "diverged",
    "failed",
    "interrupted",
    "timed_out",
    "infeasible",
)


# Runs that trained as long as they were meant to.
WHOLE = ("completed", "early_stopped")


@dataclass(frozen=True)
class RunRow:
    """One run as stored; a loss that is not finite is kept as None, and the state says why."""

    study: str
    role: str
    config: str  # RunConfig as JSON
    seed: int = 0
    max_steps: int = 0
    trial: int | None = None  # Trial.number; None for final runs
    label: str = ""  # final runs: which candidate, such as "trial 17"
    state: str = "running"
    reason: str = ""
    step: int = 0  # last one done
    validation_loss: float | None = None  # best
    last_validation_loss: float | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    parameters: int | None = None
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    environment: dict[str, Any] = field(default_factory=dict)
    checkpoint: str | None = None  # artifact id
    weights: str | None = None  # artifact id
    parent: str | None = None  # run that this one resumes
    origin: str | None = None  # run with whose weights this one began
    id: str = field(default_factory=lambda: uuid4().hex)
    started: datetime | None = None  # filled in when stored
    updated: datetime | None = None
    finished: datetime | None = None

    @property
    def paths(self) -> dict[str, Any]:
        """The configuration by path, as it was written.

        Raises:
            StoreError: it is damaged.
        """
        with intact(f"the configuration of run {self.id}"):
            return flatten(json.loads(self.config))


COLUMNS = tuple(column.name for column in fields(RunRow))


def create_run(store: Store, row: RunRow) -> RunRow:
    """Store a new run and return it with its times.

    Raises:
        StoreError: a run of that id is there already.
    """
    now = datetime.now(UTC)
    _check({"role": row.role, "state": row.state})
    finished = row.finished or (None if row.state == "running" else now)
    row = replace(row, started=row.started or now, updated=now, finished=finished)
    attempts = count(1)

    def insert() -> None:
        attempt = next(attempts)
        try:
            with store.write() as connection:
                connection.execute(RUNS.insert().values(**vars(row)))
        except IntegrityError as error:
            if attempt > 1:  # the first one had come through, and its answer was lost
                return
            raise StoreError(
                f"cannot create run {row.id} in {store.url}: it is there already; take a new id"
            ) from error

    store.patience(insert)
    return row


def end_run(store: Store, id: str, **columns: Any) -> bool:
    """Write how a run ended, once; False where somebody else has ended it meanwhile."""
    _check(columns)
    now = datetime.now(UTC)
    # The same at every attempt: one whose answer was lost is known by it.
    return _end(store, id, {"updated": now, "finished": now, **columns})


def end_dead(store: Store, rows: list[RunRow], reason: str) -> None:
    """Write that runs whose process has died, or is taken for dead, were cut short."""
    for row in rows:
        if row.state == "running":
            end_run(store, row.id, state="interrupted", reason=reason)


@patient
def _end(store: Store, id: str, ending: dict[str, Any]) -> bool:
    with store.write() as connection:
        running = (RUNS.c.id == id) & (RUNS.c.state == "running")
        if connection.execute(update(RUNS).where(running).values(**ending)).rowcount == 1:
            return True
        ours = (RUNS.c.id == id) & (RUNS.c.state == ending["state"])
        ours &= RUNS.c.finished == ending["finished"]
        return connection.scalar(select(RUNS.c.id).where(ours)) is not None


@patient
def update_run(store: Store, id: str, **columns: Any) -> None:
    """Set columns of a run; ``updated`` and, unless given, ``finished`` follow from the state.

    Raises:
        StoreError: there is no such run.
    """
    _check(columns)
    now = datetime.now(UTC)
    if "state" in columns:
        columns.setdefault("finished", None if columns["state"] == "running" else now)
    with store.write() as connection:
        changes = {"updated": now, **columns}
        changed = connection.execute(update(RUNS).where(RUNS.c.id == id).values(**changes)).rowcount
    if changed == 0:
        raise StoreError(_unknown(store, id))


def get_run(store: Store, id: str) -> RunRow:
    """Return one run.

    Raises:
        StoreError: there is no such run.
    """
    found = _rows(store, select(RUNS).where(RUNS.c.id == id))
    if not found:
        raise StoreError(_unknown(store, id))
    return found[0]


def find_runs(
    store: Store,
    study: str,
    role: str | None = None,
    trial: int | None = None,
    label: str | None = None,
) -> list[RunRow]:
    """Return the runs of a study that fit, oldest first, without their curves."""
    query = select(RUNS).where(RUNS.c.study == study).order_by(RUNS.c.started, RUNS.c.id)
    for column, value in ((RUNS.c.role, role), (RUNS.c.trial, trial), (RUNS.c.label, label)):
        if value is not None:
            query = query.where(column == value)
    return _rows(store, query)


def newest(rows: list[RunRow]) -> list[RunRow]:
    """Return the runs that no other one continues: what a person takes for "the trials"."""
    continued = {row.parent for row in rows}
    return [row for row in rows if row.id not in continued]


def best_runs(store: Store, study: str, role: str, count: int) -> list[RunRow]:
    """Return the runs of a role that went their whole way, lowest validation loss first."""
    rows = [
        (row.validation_loss, row.trial or 0, row)
        for row in find_runs(store, study, role=role)
        if row.state in WHOLE and row.validation_loss is not None
    ]
    return [row for *_, row in sorted(rows, key=lambda item: item[:2])][:count]


@patient
def _rows(store: Store, query: Select[Any]) -> list[RunRow]:
    with store.read() as connection:
        return [RunRow(**row._mapping) for row in connection.execute(query)]


def _check(columns: dict[str, Any]) -> None:
    """Catch a mistyped column, role or state, which would be stored and never found again."""
    for name, value in columns.items():
        known = {"role": ROLES, "state": STATES}.get(name)
        if name not in COLUMNS:
            raise ValueError(f'a run has no column "{name}"; it has {", ".join(COLUMNS)}')
        if known is not None and value not in known:
            raise ValueError(f'unknown {name} "{value}" of a run; known: {", ".join(known)}')


def _unknown(store: Store, id: str) -> str:
    return f'no run "{id}" in {store.url}; list the trials with: tsdiag trials'
