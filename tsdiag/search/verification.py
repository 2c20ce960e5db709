"""A whole verification: plan it, set workers to work, watch them, then conclude."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from tsdiag.config import RunConfig
from tsdiag.data.dataset import load_dataset
from tsdiag.diagnostics.findings import Diagnosis
from tsdiag.diagnostics.verdicts import Verification
from tsdiag.errors import StoreError
from tsdiag.models import Shapes
from tsdiag.runs.environment import choose_device
from tsdiag.runs.weights import shapes_of
from tsdiag.search.conduct import default_workers
from tsdiag.search.crew import Crew
from tsdiag.search.interruption import Interruption
from tsdiag.search.mirror import renew_notes
from tsdiag.search.registration import refuse_other_data
from tsdiag.search.spec import StudySpec
from tsdiag.search.storage import open_storage
from tsdiag.search.worker import Place
from tsdiag.store.database import Store
from tsdiag.store.interventions import (
    save_plan,
    save_verification,
    stored_plan,
    stored_verification,
)
from tsdiag.store.runs import RunRow
from tsdiag.store.studies import load_study
from tsdiag.verify.conclude import conclude
from tsdiag.verify.desk import Desk
from tsdiag.verify.plan import Plan, make_plan, read_plan

_POLL = 1.0
# Workers need so long to load torch and the data [s]: it is no time that runs could have.
START_UP = 8.0
# Before the deadline, to break off, to end the workers and to conclude [s].
CLOSING = 4.0


@dataclass(frozen=True)
class Stage:
    """How far a verification has come, for whoever shows it."""

    plan: Plan
    wave: str  # what is being carried out
    left: int  # runs of it that have not ended
    runs: int
    summary: str
    started: float  # time.time()
    deadline: float
    workers: int


def verify(
    store: Store,
    row: RunRow,
    diagnosis: Diagnosis,
    deadline: float,
    *,
    workers: int = 0,
    device: str = "auto",
    show: Callable[[Stage], None] = lambda _: None,
) -> tuple[Verification, bool]:
    """Carry out the remedies of a diagnosis until a deadline [time.time()]; also: was it stopped?

    What was verified before is used again; what was broken off goes on.

    Raises:
        UsageError: there is nothing to repair, or nothing that could be tried.
        DataError: the data have changed since the run.
        TsdiagError: a worker ended with an error.
    """
    known = stored_verification(store, row.id)
    if known is not None and known.complete:
        return known, False
    started = time.time()
    chosen = choose_device(device)
    count = workers or default_workers(chosen)
    dataset = load_dataset(RunConfig.from_json(row.config).data)
    refuse_other_data(dataset, load_study(store, row.study))
    shapes = shapes_of(dataset)
    last = deadline - CLOSING
    plan = _plan(store, row, diagnosis, shapes, (last - started - START_UP) * count)
    desk = Desk(store, plan, shapes, started, deadline)
    places = [Place(i, count, last, chosen.type, verify=row.id) for i in range(count)]
    with Interruption() as interruption, Crew(store, row.study, places) as crew:
        stopping = False
        while crew.is_working():
            show(_stage(desk, started, deadline, count))
            if interruption and not stopping:
                stopping = True
                crew.stop()
            time.sleep(_POLL)
        interrupted = bool(interruption)
    found = _conclude(desk)
    save_verification(store, found)
    _show_in_dashboard(store, row, diagnosis.with_verdicts(found))
    return found, interrupted


def _show_in_dashboard(store: Store, row: RunRow, diagnosis: Diagnosis) -> None:
    """Renew the trial's note; that it cannot be is no reason to lose what was found."""
    spec = StudySpec.model_validate(load_study(store, row.study).spec)
    try:
        renew_notes(open_storage(store), spec, [(row, diagnosis)])
    except Exception as error:
        sys.stderr.write(f"the note was not renewed: {type(error).__name__}: {error}\n")


def _plan(store: Store, row: RunRow, diagnosis: Diagnosis, shapes: Shapes, time_: float) -> Plan:
    """Return the plan of a verification that was begun before, unless more time makes it longer."""
    made = make_plan(diagnosis, row, shapes, max(time_, 1.0))
    text = stored_plan(store, row.id)
    if text is not None:
        with suppress(StoreError):  # another version's plan is made anew; its runs still count
            before = read_plan(text)
            if before.hypotheses == made.hypotheses and before.steps >= made.steps:
                return before
    save_plan(store, row, made.model_dump_json())
    return made


def _stage(desk: Desk, started: float, deadline: float, workers: int) -> Stage:
    course = desk.course()
    wave, arms = course.pending()
    runs, _ = desk.used()
    found = conclude(course, complete=False, runs=runs, seconds=0.0)
    return Stage(desk.plan, wave, len(arms), runs, found.summary, started, deadline, workers)


def _conclude(desk: Desk) -> Verification:
    course = desk.course()
    runs, seconds = desk.used()
    return conclude(course, not course.pending()[1], runs, seconds)
