"""Which run of a verification comes next: claimed by one process, in the order of the course."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from tsdiag.config import RunConfig, as_written_now
from tsdiag.models import Shapes
from tsdiag.runs.execute import Request
from tsdiag.store.database import Store
from tsdiag.store.interventions import settle, settled
from tsdiag.store.leases import claim, holder, release, renew
from tsdiag.store.owners import owner
from tsdiag.store.runs import WHOLE, RunRow, end_dead, find_runs, latest
from tsdiag.uptime import uptime
from tsdiag.verify.arms import ENDED, Arm, canonical, config_of, loss_of
from tsdiag.verify.course import Course
from tsdiag.verify.plan import Plan

# As long as a trial's: see search/queue.py.
_LEASE = 300.0
# One that failed may have met a full disk, and a worker may be killed for lack of memory; one that
# ends so this often cannot be carried out.
_MOST_FAILURES = 3
# Screening may go on for this share of the time; then what it knows must do.
SCREENING = 0.45
ROLES = ("control", "treatment")
DIED = "its worker died"

Key = tuple[str, str | None]


@dataclass(frozen=True)
class Assignment:
    """One arm, claimed by this process."""

    arm: Arm
    key: str
    request: Request


class Desk:
    """The runs of a verification: which there are, what they showed, which comes next."""

    def __init__(
        self, store: Store, plan: Plan, shapes: Shapes, started: float, deadline: float
    ) -> None:
        self.plan = plan
        self._store = store
        self._shapes = shapes
        self.started = started  # uptime()
        self.deadline = deadline
        self._owner = owner()
        self._base = plan.base
        # What Course is told of the set that is being confirmed; nothing before there is one.
        self._settled: dict[str, Any] = {}
        self._configs: dict[Arm, RunConfig] = {}
        self._keys: dict[str, Key] = {}
        self._kinds: dict[str, str] = {}

    def course(self) -> Course:
        """Return where the verification stands."""
        return self.course_of(self._rows())

    def next(self) -> Assignment | Literal["wait"] | None:
        """Claim the next run that can end in time; "wait": others are at runs that come before it.

        None: nothing is left, or nothing that could end in time. Which of these it is must come of
        one look at the runs: whoever looks again finds the next wave, which nobody is at yet.
        """
        rows = self._rows()
        answer: Literal["wait"] | None = None
        for arm in self.course_of(rows).pending()[1]:
            key = self._key(arm)
            if not self._fits(arm, rows):
                if holder(self._store, key):
                    answer = "wait"
                continue
            answer = "wait"
            if claim(self._store, key, self._owner, _LEASE):
                end_dead(self._store, self._runs(arm, self._rows()), DIED)
                # Read again: one that was only late may have ended at that moment.
                mine = self._runs(arm, self._rows())
                last = latest(mine)
                if last is None or last.state not in ENDED:
                    return Assignment(arm, key, self._request(arm, mine))
                release(self._store, key, self._owner)
        return answer

    def keep(self, assignment: Assignment) -> bool:
        """Renew the lease; False where another process has taken the run over."""
        return renew(self._store, assignment.key, self._owner, _LEASE)

    def release(self, assignment: Assignment) -> None:
        """Give a lease back."""
        release(self._store, assignment.key, self._owner)

    def course_of(self, rows: list[RunRow]) -> Course:
        """Return where the verification stands, by its runs."""
        known = _Known(self, rows)
        closed = uptime() > self.started + SCREENING * (self.deadline - self.started)
        if not self._settled and (text := settled(self._store, self.plan.run)) is not None:
            self._settled = json.loads(text)
        paces = self._paces(rows)
        course = Course(self.plan, self._shapes, known, closed, **self._settled, paces=paces)
        if not self._settled and (chosen := course.chosen()):
            # The steps as well: whoever concludes later knows of more runs, and of other paces.
            mine = canonical({"settled": chosen, "steps": course.steps})
            self._settled = json.loads(settle(self._store, self.plan.run, mine))
            course = Course(self.plan, self._shapes, known, closed, **self._settled, paces=paces)
        return course

    def _paces(self, rows: list[RunRow]) -> dict[str, float]:
        """Return by label what a step took in the fastest run that went its whole way [s]."""
        paces: dict[str, float] = {}
        for row in rows:
            if row.state in WHOLE and row.step and row.cpu_seconds:
                pace = self.plan.pace_in(row)
                paces[row.label] = min(pace, paces.get(row.label, pace))
        return paces

    def look(self) -> Course:
        """Return where the verification would stand if time cut nothing off; it settles nothing."""
        rows = self._rows()
        return Course(self.plan, self._shapes, _Known(self, rows), paces=self._paces(rows))

    def is_screened(self) -> bool:
        """Tell whether screening has been carried out whole, and not been cut off by time."""
        return self.look().chosen() is not None

    def used(self) -> tuple[int, float]:
        """Return how many runs there have been, and their processor time [s]."""
        rows = self._rows()
        return len(rows), sum(row.cpu_seconds for row in rows)

    def _rows(self) -> list[RunRow]:
        """Return all runs that may count here: they are told apart by their configurations.

        Trial 0 and trial 0 of the baseline's study differ in the model, and not in their number.
        """
        found = (
            find_runs(self._store, self.plan.study, role=role, trial=self.plan.trial)
            for role in ROLES
        )
        return [row for rows in found for row in rows if self._kind(row) == self._base.model.kind]

    def _kind(self, row: RunRow) -> str:
        """Return the kind of a run's model; read once, since a configuration takes a while."""
        if row.id not in self._kinds:
            self._kinds[row.id] = RunConfig.from_json(row.config).model.kind
        return self._kinds[row.id]

    def config(self, arm: Arm) -> RunConfig:
        """Return what an arm trains."""
        if arm not in self._configs:
            self._configs[arm] = config_of(self._base, arm)
        return self._configs[arm]

    def _runs(self, arm: Arm, rows: list[RunRow]) -> list[RunRow]:
        """Return the runs of an arm, oldest first."""
        wanted = (self.config(arm).to_json(), arm.origin)
        return [row for row in rows if row.seed == arm.seed and self.key_of(row) == wanted]

    def key_of(self, row: RunRow) -> Key:
        """Return what determines a run: its configuration, and the weights that it began with."""
        if row.id not in self._keys:
            self._keys[row.id] = (as_written_now(row.config), row.origin)
        return self._keys[row.id]

    def _fits(self, arm: Arm, rows: list[RunRow]) -> bool:
        """Tell whether a run can be expected to end before the deadline."""
        paces = [
            row.seconds / max(row.step, 1) for row in rows if row.label == arm.label and row.step
        ]
        per_step = min(paces, default=None)
        steps = self.config(arm).training.max_steps
        expected = self.plan.seconds_of(arm) if per_step is None else per_step * steps
        return uptime() + expected < self.deadline

    def _request(self, arm: Arm, runs: list[RunRow]) -> Request:
        return Request(
            study=self.plan.study,
            role=arm.role,
            config=self.config(arm),
            trial=self.plan.trial,
            label=arm.label,
            parent=last.id if (last := latest(runs)) else None,
            origin=arm.origin,
        )

    def _key(self, arm: Arm) -> str:
        text = f"{self.config(arm).to_json()} {arm.origin}"
        return f"{self.plan.run}/{hashlib.sha256(text.encode()).hexdigest()[:32]}"


class _Known:
    """Losses by arm, looked up among runs by what determines these: their configurations."""

    def __init__(self, desk: Desk, rows: list[RunRow]) -> None:
        self._desk = desk
        self._ended: dict[Key, float | None] = {}
        base = desk.plan.base
        failures: Counter[Key] = Counter()
        for row in rows:
            key = desk.key_of(row)
            if row.state in ENDED:
                self._ended[key] = loss_of(row, base, desk.plan.constant, desk.plan.variance)
            elif row.state == "failed" or row.reason == DIED:
                failures[key] += 1
        for key, times in failures.items():
            if times >= _MOST_FAILURES:
                self._ended.setdefault(key, None)

    def __contains__(self, arm: Arm) -> bool:
        return (self._desk.config(arm).to_json(), arm.origin) in self._ended

    def get(self, arm: Arm) -> float | None:
        return self._ended.get((self._desk.config(arm).to_json(), arm.origin))
