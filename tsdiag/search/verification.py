"""A whole verification: plan it, set workers to work, watch them, then conclude."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import torch

from tsdiag.config import RunConfig
from tsdiag.data.dataset import Dataset, load_dataset
from tsdiag.diagnostics.findings import Diagnosis
from tsdiag.diagnostics.verdicts import Verification
from tsdiag.errors import StoreError, UsageError
from tsdiag.models import Shapes
from tsdiag.runs.environment import choose_device
from tsdiag.runs.weights import shapes_of
from tsdiag.search.artifacts import artifact_store
from tsdiag.search.conduct import default_workers
from tsdiag.search.crew import Crew
from tsdiag.search.explaining import explain_run, was_cut_short
from tsdiag.search.interruption import Interruption
from tsdiag.search.limits import refuse_oversized
from tsdiag.search.mirror import renew_notes
from tsdiag.search.registration import refuse_other_data
from tsdiag.search.spec import stored_spec
from tsdiag.search.storage import open_storage
from tsdiag.search.worker import Place
from tsdiag.store.database import Store
from tsdiag.store.interventions import (
    save_plan,
    save_verification,
    stored_plan,
    stored_verification,
    unsettle,
)
from tsdiag.store.leases import claim, release, renew
from tsdiag.store.owners import owner
from tsdiag.store.runs import RunRow, get_run
from tsdiag.store.studies import load_study
from tsdiag.uptime import uptime
from tsdiag.verify.arms import canonical, target_variance
from tsdiag.verify.conclude import conclude
from tsdiag.verify.desk import Desk
from tsdiag.verify.pacing import step_time
from tsdiag.verify.plan import (
    CONFIRMATION,
    Plan,
    make_plan,
    own_pace,
    proposed,
    read_plan,
    to_time,
)

_POLL = 1.0
# Workers need so long to load torch and the data [s]: it is no time that runs could have.
START_UP = 8.0
# As long as a database that is slow may keep a parent from renewing it [s].
_LEASE = 60.0
# So many times as much time make a new plan worth its runs.
LONGER = 1.5
# Of the budget, what timing a step of each set may take.
TIMING = 0.03
LEFT_OUT = "measuring what a stopped search had left out"
# What a stage says where no wave is under way, and of a set where there is none.
TIMED, STOPPING = "timing a step of each set", "stopping; what has ended is kept"
UNCHOSEN = "no set is chosen yet"
# Before the deadline, to break off, to end the workers and to conclude [s].
CLOSING = 4.0


@dataclass(frozen=True)
class Stage:
    """How far a verification has come, for whoever shows it."""

    steps: int | None  # of a confirmation, once a set is chosen
    wave: str  # what is being carried out
    left: int  # runs of it that have not ended
    runs: int
    summary: str
    started: float  # uptime()
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
    """Carry out the remedies of a diagnosis until a deadline [uptime()]; also: was it stopped?

    What was verified before is used again; what was broken off goes on.

    Raises:
        UsageError: there is nothing to repair, or nothing that could be tried.
        DataError: the data have changed since the run.
        TsdiagError: a worker ended with an error.
    """
    chosen = choose_device(device)
    count = workers or default_workers(chosen)
    dataset = load_dataset(RunConfig.from_json(row.config).data)
    refuse_other_data(dataset, load_study(store, row.study))
    last = deadline - CLOSING
    with _alone(store, row) as keep:
        started = uptime()
        if was_cut_short(row):
            show(Stage(None, LEFT_OUT, 0, 0, UNCHOSEN, started, deadline, count))
            _, diagnosis = explain_run(
                store, artifact_store(store), dataset, row, chosen, lambda: uptime() > last
            )
            row = get_run(store, row.id)

        def timing(left: int) -> None:
            keep()
            show(Stage(None, TIMED, left, 0, UNCHOSEN, started, deadline, count))

        planner = _Planner(store, row, diagnosis, dataset, chosen, last, count, timing)
        plan, is_new = planner.plan()
        known = _stored(store, row)
        if known is not None and known.complete and not is_new:
            return known, False
        desk = Desk(store, plan, shapes_of(dataset), uptime(), deadline)
        if not desk.is_screened() and (known is None or known.repair is None):
            unsettle(store, row.id)
        places = [Place(i, count, last, chosen.type, verify=row.id) for i in range(count)]
        try:
            crew = Crew(store, row.study, places)
            interrupted = _watch(desk, crew, keep, lambda s: show(replace(s, started=started)))
        finally:
            # What has ended counts, whatever became of the workers.
            found = _conclude(desk, known)
            save_verification(store, found)
    _show_in_dashboard(store, row, diagnosis.with_verdicts(found))
    return found, interrupted


@contextmanager
def _alone(store: Store, row: RunRow) -> Iterator[Callable[[], object]]:
    """Hold the verification of a run, and give what renews that: two plans at once would mix.

    Raises:
        UsageError: another process is at it.
    """
    key = f"{row.id}/verification"
    if not claim(store, key, owner(), _LEASE):
        name = "the baseline" if row.role == "baseline" else f"trial {row.trial}"
        raise UsageError(
            f"verify {name}: another process is at it; wait for its end, which "
            "shows the same, or end it first"
        )
    try:
        yield lambda: renew(store, key, owner(), _LEASE)
    finally:
        release(store, key, owner())


def _watch(
    desk: Desk, crew: Crew, keep: Callable[[], object], show: Callable[[Stage], None]
) -> bool:
    """Look after the workers until all have ended; return whether somebody asked them to stop."""
    with Interruption() as interruption, crew:
        stopping = False
        while crew.is_working():
            keep()
            stage = _stage(desk, len(crew.places))
            show(replace(stage, wave=STOPPING, left=0) if stopping else stage)
            if interruption and not stopping:
                stopping = True
                show(replace(stage, wave=STOPPING, left=0))
                crew.stop()
            time.sleep(_POLL)
        return bool(interruption)


def _show_in_dashboard(store: Store, row: RunRow, diagnosis: Diagnosis) -> None:
    """Renew the trial's note; that it cannot be is no reason to lose what was found."""
    try:
        spec = stored_spec(row.study, load_study(store, row.study).spec)
        renew_notes(open_storage(store), spec, [(row, diagnosis)])
    except Exception as error:
        sys.stderr.write(f"the note was not renewed: {type(error).__name__}: {error}\n")


@dataclass(frozen=True)
class _Planner:
    """What a plan is made of."""

    store: Store
    row: RunRow
    diagnosis: Diagnosis
    dataset: Dataset
    device: torch.device
    deadline: float  # uptime()
    workers: int
    timing: Callable[[int], object]  # told how many sets are left to be timed

    def plan(self) -> tuple[Plan, bool]:
        """Return the run's plan, and whether it is new: for other findings, or for much more time.

        A little more time is no reason: runs of another length are other runs, and those that there
        are would count for nothing.
        """
        shapes = shapes_of(self.dataset)
        tried, _ = proposed(self.diagnosis, self.row, shapes)
        text = stored_plan(self.store, self.row.id)
        with suppress(StoreError):  # another version's plan is made anew
            before = None if text is None else read_plan(text)
            if before is not None and before.hypotheses == tried and not self._is_longer(before):
                return before, False
        paces = self._paces(shapes)
        made = make_plan(
            self.diagnosis,
            self.row,
            shapes,
            target_variance(self.dataset),
            len(self.dataset.validation.every(self._base.training.validation_windows)),
            paces,
            self._processor_time(),
        )
        save_plan(self.store, self.row, made.model_dump_json())
        return made, True

    @property
    def _base(self) -> RunConfig:
        return RunConfig.from_json(self.row.config)

    def _processor_time(self) -> float:
        return max(0.0, self.deadline - uptime() - START_UP) * self.workers

    def _is_longer(self, before: Plan) -> bool:
        """Tell whether there is time for much longer runs than an earlier plan's."""
        grown = CONFIRMATION * self._processor_time() >= LONGER * before.share
        return grown and before.steps < self._base.training.max_steps

    def _paces(self, shapes: Shapes) -> dict[str, float]:
        """Time a step of each set, as far as a small part of the budget goes."""
        until = uptime() + TIMING * (self.deadline - uptime())
        paces = {"{}": own_pace(self.row)}  # in case that a step cannot be timed
        sets = to_time(self.diagnosis, self.row, shapes)
        for place, changes in enumerate(sets):
            self.timing(len(sets) - place)
            config = self._base.edits(changes)
            refused = refuse_oversized(config, shapes, self.device, self.workers)
            if refused is None:
                took = step_time(self._base, changes, self.dataset, self.device)
                paces |= {} if took is None else {canonical(changes): took}
            if uptime() > until:
                break
        return paces


def _stored(store: Store, row: RunRow) -> Verification | None:
    """Return what was found before; another version's counts for nothing, its runs still do."""
    with suppress(StoreError):
        return stored_verification(store, row.id)
    return None


def _stage(desk: Desk, workers: int) -> Stage:
    course = desk.course()
    wave, left = course.current()
    runs, _ = desk.used()
    # What a conclusion says of a budget that has ended would be untrue of one that has not.
    known = course.chosen() is not None
    told = conclude(course, False, runs, 0.0).summary if known else UNCHOSEN
    steps = course.steps if known else None
    return Stage(steps, wave, left, runs, told, desk.started, desk.deadline, workers)


def _conclude(desk: Desk, known: Verification | None) -> Verification:
    """Return what is shown now; a repair that was confirmed before is kept until there is more."""
    runs, seconds = desk.used()
    found = conclude(desk.course(), False, runs, seconds)
    # A screening that time cut off goes on another time, unless it has led to a repair already.
    screened = found.repair is not None or desk.is_screened()
    if screened and not desk.course().pending()[1]:
        return found.model_copy(update={"complete": True})
    if found.repair is None and known is not None and known.repair is not None:
        return known.model_copy(update={"complete": False})
    return found
