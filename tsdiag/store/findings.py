"""Diagnoses as they were when runs ended: one row per run, for tables, filters and siblings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select

from tsdiag.diagnostics.findings import Diagnosis
from tsdiag.store.clock import now
from tsdiag.store.database import Store
from tsdiag.store.failures import intact
from tsdiag.store.patience import patient
from tsdiag.store.runs import WHOLE, RunRow, is_newest
from tsdiag.store.schema import FINDINGS, RUNS


@dataclass(frozen=True)
class Told:
    """The short form of a stored diagnosis."""

    run: str
    state: str
    cause: str | None
    written: datetime


@patient
def save_diagnosis(store: Store, row: RunRow, kind: str, diagnosis: Diagnosis) -> None:
    """Store what was found about a run, in place of what was found before."""
    values = {
        "run": row.id,
        "study": row.study,
        "role": row.role,
        "kind": kind,
        "state": diagnosis.state,
        "cause": diagnosis.top_cause,
        "validation_loss": row.validation_loss,
        "diagnosis": diagnosis.to_json(),
        "written": now(store),
    }
    store.put(FINDINGS, values)


@patient
def stored_diagnosis(store: Store, run: str) -> Diagnosis | None:
    """Return what was found about a run when it ended, or None.

    Raises:
        StoreError: it is damaged, or another version wrote it.
    """
    query = select(FINDINGS.c.diagnosis).where(FINDINGS.c.run == run)
    with store.read() as connection:
        found = connection.scalar(query)
    with intact(f"the diagnosis of run {run} in {store.url}"):
        return None if found is None else Diagnosis.from_json(found)


@patient
def told_of(store: Store, study: str) -> dict[str, Told]:
    """Return the state and top cause of every run of a study that has been diagnosed, by run."""
    columns = (FINDINGS.c.run, FINDINGS.c.state, FINDINGS.c.cause, FINDINGS.c.written)
    with store.read() as connection:
        rows = connection.execute(select(*columns).where(FINDINGS.c.study == study)).all()
    return {row.run: Told(*row) for row in rows}


@patient
def told_until(store: Store, study: str, moment: datetime, words: str) -> list[str]:
    """Return the newest runs of trials, then of the baseline, that were diagnosed until then.

    And those whose diagnosis has these words in it, such as why something was not measured.
    """
    query = (
        select(FINDINGS.c.run)
        .join(RUNS, RUNS.c.id == FINDINGS.c.run)
        .where(FINDINGS.c.study == study, FINDINGS.c.role.in_(("trial", "baseline")))
        .where(or_(FINDINGS.c.written <= moment, FINDINGS.c.diagnosis.contains(words)), is_newest())
        .order_by(FINDINGS.c.role.desc(), RUNS.c.started, RUNS.c.id)
    )
    with store.read() as connection:
        return list(connection.scalars(query))


@patient
def healthy_runs(store: Store, study: str, kind: str, most: int, but: str) -> list[str]:
    """Return the learning runs of a study with the lowest losses, of one kind of model.

    Only those that went their whole way: another worker may have taken over what was cut.
    """
    query = (
        select(FINDINGS.c.run)
        .join(RUNS, RUNS.c.id == FINDINGS.c.run)
        .where(RUNS.c.state.in_(WHOLE))
        .where(FINDINGS.c.study == study, FINDINGS.c.kind == kind, FINDINGS.c.state == "learning")
        .where(FINDINGS.c.run != but)
        .order_by(FINDINGS.c.validation_loss)
        .limit(most)
    )
    with store.read() as connection:
        return list(connection.scalars(query))
