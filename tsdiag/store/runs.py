"""Runs: one row per execution of training, from its start to how it ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from itertools import count
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, Connection, Select, delete, func, select, update
from sqlalchemy.exc import IntegrityError

from tsdiag.config import flatten
from tsdiag.errors import StoreError
from tsdiag.store.clock import now
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
_NEXT = RUNS.alias("next")


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
# Lowest validation loss first, as an index has it.
BY_LOSS = (RUNS.c.validation_loss, RUNS.c.trial, RUNS.c.id)


def create_run(store: Store, row: RunRow) -> RunRow:
    """Store a new run and return it with its times.

    Raises:
        StoreError: a run of that id is there already.
    """
    _check({"role": row.role, "state": row.state})
    moment = now(store)
    times = {
        "started": row.started or moment,
        "updated": moment,
        "finished": row.finished or (None if row.state == "running" else moment),
    }
    attempts = count(1)

    def insert() -> RunRow:
        attempt = next(attempts)
        try:
            with store.write() as connection:
                return replace(row, **_insert(connection, vars(row) | times))
        except IntegrityError as error:
            if attempt > 1:  # the first one had come through, and its answer was lost
                return get_run(store, row.id)
            raise StoreError(
                f"cannot create run {row.id} in {store.url}: it is there already; take a new id"
            ) from error

    return store.patience(insert)


def _insert(connection: Connection, values: dict[str, Any]) -> dict[str, Any]:
    """Insert a run and return its times, which a server sets by its own clock."""
    insert, times = RUNS.insert().values(values), (RUNS.c.started, RUNS.c.updated, RUNS.c.finished)
    if connection.dialect.insert_returning:
        return dict(connection.execute(insert.returning(*times)).mappings().one())
    connection.execute(insert)  # MySQL, unlike MariaDB, tells nothing of what it has inserted
    return dict(
        connection.execute(select(*times).where(RUNS.c.id == values["id"])).mappings().one()
    )


@patient
def end_run(store: Store, id: str, **columns: Any) -> bool:
    """Write how a run ended, once; False where somebody else has ended it meanwhile."""
    _check(columns)
    moment = now(store)
    ending = {"updated": moment, "finished": moment, **columns}
    with store.write() as connection:
        running = (RUNS.c.id == id) & (RUNS.c.state == "running")
        if connection.execute(update(RUNS).where(running).values(**ending)).rowcount == 1:
            return True
        # An attempt that had come through, and whose answer was lost, is known by what it wrote.
        ours = [RUNS.c[name] == columns[name] for name in ("state", "seconds") if name in columns]
        return connection.scalar(select(RUNS.c.id).where(RUNS.c.id == id, *ours)) is not None


@patient
def change_running(store: Store, id: str, **columns: Any) -> bool:
    """Set columns of a run that is under way; False where somebody else has ended it."""
    _check(columns)
    running = (RUNS.c.id == id) & (RUNS.c.state == "running")
    changes = {"updated": now(store), **columns}
    with store.write() as connection:
        return connection.execute(update(RUNS).where(running).values(**changes)).rowcount == 1


@patient
def hand_on_checkpoint(store: Store, parent: str, heir: str, name: str) -> bool:
    """Let a run name the checkpoint of the one that it continues, which lets go of it.

    False, and nothing is changed, where somebody else has ended the heir.
    """
    with store.write() as connection:
        mine = (RUNS.c.id == heir) & (RUNS.c.state == "running")
        taken = update(RUNS).where(mine).values(checkpoint=name)
        if connection.execute(taken).rowcount != 1:
            return False
        connection.execute(update(RUNS).where(RUNS.c.id == parent).values(checkpoint=None))
        return True


@patient
def forget_run(store: Store, id: str) -> None:
    """Delete a run that was never begun, unless somebody else has ended it."""
    with store.write() as connection:
        connection.execute(delete(RUNS).where(RUNS.c.id == id, RUNS.c.state == "running"))


def end_dead(store: Store, rows: list[RunRow], reason: str) -> None:
    """Write that runs whose process has died, or is taken for dead, were cut short."""
    for row in rows:
        if row.state == "running":
            end_run(store, row.id, state="interrupted", reason=reason)


@patient
def update_run(store: Store, id: str, **columns: Any) -> None:
    """Set columns of a run; ``updated`` and, unless given, ``finished`` follow from the state.

    Raises:
        StoreError: there is no such run.
    """
    _check(columns)
    moment = now(store)
    if "state" in columns:
        columns.setdefault("finished", None if columns["state"] == "running" else moment)
    with store.write() as connection:
        changes = {"updated": moment, **columns}
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
    parent: str | None = None,
) -> list[RunRow]:
    """Return the runs of a study that fit, oldest first, without their curves."""
    query = select(RUNS).where(RUNS.c.study == study).order_by(RUNS.c.started, RUNS.c.id)
    asked = {"role": role, "trial": trial, "label": label, "parent": parent}
    for column, value in asked.items():
        if value is not None:
            query = query.where(RUNS.c[column] == value)
    return _rows(store, query)


def newest(rows: Sequence[RunRow]) -> list[RunRow]:
    """Return the runs that no other one continues: what a person takes for "the trials"."""
    continued = {row.parent for row in rows}
    return [row for row in rows if row.id not in continued]


def latest(rows: Sequence[RunRow]) -> RunRow | None:
    """Return the run that stands for all runs of one thing, given oldest first; None of none.

    That is the one which no other continues, whatever the clocks of their machines said; between
    two of those, such as where one was begun anew, time decides.
    """
    return next(reversed(newest(rows)), None)


def is_newest() -> ColumnElement[bool]:
    """Return the condition of ``newest`` for a query of runs."""
    # Not as NOT EXISTS, for which MariaDB reads the runs of all studies first.
    following = select(_NEXT.c.id).where(_NEXT.c.study == RUNS.c.study, _NEXT.c.parent == RUNS.c.id)
    return following.limit(1).scalar_subquery().is_(None)


def best_runs(store: Store, study: str, role: str, count: int) -> list[RunRow]:
    """Return the runs of a role that went their whole way, lowest validation loss first."""
    query = select(RUNS).where(*with_loss(study, role), RUNS.c.state.in_(WHOLE))
    return _rows(store, query.order_by(*BY_LOSS).limit(count))


def with_loss(study: str, role: str) -> tuple[ColumnElement[bool], ...]:
    """Return the condition of the runs that can be put in the order ``BY_LOSS``."""
    return (RUNS.c.study == study, RUNS.c.role == role, RUNS.c.validation_loss.is_not(None))


@patient
def first_and_last_trial(store: Store, study: str) -> tuple[int, int] | None:
    """Return the lowest and the highest number among a study's trials, or None without any."""
    own = (RUNS.c.study == study, RUNS.c.role == "trial", RUNS.c.trial.is_not(None), is_newest())
    with store.read() as connection:
        first, last = connection.execute(
            select(func.min(RUNS.c.trial), func.max(RUNS.c.trial)).where(*own)
        ).one()
    return None if first is None else (first, last)


@patient
def seeds_above(store: Store, study: str, seed: int) -> set[int]:
    """Return the seeds higher than this one that runs of a study had, but for final ones."""
    own = (RUNS.c.study == study, RUNS.c.role != "final", RUNS.c.seed > seed)
    with store.read() as connection:
        return set(connection.scalars(select(RUNS.c.seed).where(*own).distinct()))


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
