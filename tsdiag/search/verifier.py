"""A worker that carries out the interventions of one verification, until its time is over."""

from __future__ import annotations

import sys
import time

from tsdiag.config import DataConfig, RunConfig
from tsdiag.data.dataset import Dataset, load_dataset
from tsdiag.diagnostics.probes.loss import STEP_LOSS, VALIDATION_LOSS
from tsdiag.errors import StoreError
from tsdiag.runs.environment import choose_device
from tsdiag.runs.execute import Execution
from tsdiag.runs.outbox import TakenOver
from tsdiag.runs.weights import shapes_of
from tsdiag.search.artifacts import artifact_store
from tsdiag.search.interruption import Interruption
from tsdiag.search.limits import refuse_oversized
from tsdiag.search.registration import refuse_other_data
from tsdiag.search.watch import LeaseWatch
from tsdiag.search.worker import Place
from tsdiag.store.database import Store
from tsdiag.store.interventions import stored_plan
from tsdiag.store.runs import RunRow, create_run
from tsdiag.store.studies import load_study
from tsdiag.uptime import uptime
from tsdiag.verify.desk import Assignment, Desk
from tsdiag.verify.plan import read_plan

# How long a worker without work waits before it looks again [s].
_IDLE = 0.3


class Verifier:
    """One process's part in a verification; any number of them share the work by leases."""

    def __init__(self, store: Store, place: Place, interruption: Interruption) -> None:
        text = stored_plan(store, place.verify)
        if text is None:
            raise StoreError(
                f"verify run {place.verify} in {store.url}: it has no plan; begin with: tsdiag "
                "explain TRIAL --verify"
            )
        plan = read_plan(text)
        self._store, self._place, self._interruption = store, place, interruption
        self._device = choose_device(place.device)
        self._artifacts = artifact_store(store)
        self._base = load_dataset(plan.base.data)
        refuse_other_data(self._base, load_study(store, plan.study))
        self._at: Assignment | None = None
        self._datasets = {plan.base.data: self._base}
        self._desk = Desk(store, plan, shapes_of(self._base), uptime(), place.deadline)

    def work(self) -> None:
        """Carry arms out until none is left that can end in time, or somebody asks to stop."""
        self._interruption.overdue = self._hand_over
        while not self._interruption:
            assignment = self._desk.next()
            if assignment is None:
                return
            if assignment == "wait":
                if uptime() > self._place.deadline:
                    return
                time.sleep(_IDLE)
                continue
            self._at = assignment
            self._run(assignment)
            self._at = None

    def _hand_over(self) -> None:
        """Give a run up, from another thread, since the main one takes too long."""
        if self._at is not None:
            self._desk.release(self._at)

    def _run(self, assignment: Assignment) -> None:
        """Carry one arm out, whatever happens in it."""
        try:
            self._carry_out(assignment)
        except TakenOver:
            return
        except StoreError:  # no fault of the arm, which would be tried for ever
            raise
        except Exception as error:
            sys.stderr.write(f"{assignment.arm.label}: {type(error).__name__}: {error}\n")
        finally:
            self._desk.release(assignment)

    def _carry_out(self, assignment: Assignment) -> RunRow | None:
        request = assignment.request
        try:
            dataset = self._dataset(request.config.data)
            shapes = shapes_of(dataset)
            refusal = refuse_oversized(request.config, shapes, self._device, self._place.of)
        except Exception as error:  # it has no run yet, and without one it would be tried for ever
            self._unrun(assignment, request.config, "failed", f"{type(error).__name__}: {error}")
            raise
        if refusal is not None:
            return self._unrun(assignment, request.config, "infeasible", refusal.reason)
        watch = LeaseWatch(
            lambda: self._desk.keep(assignment),
            self._interruption,
            self._place.deadline,
            self._store.patience,
        )
        # Losses are all that is compared, and other probes would take their part of the budget.
        probes = (STEP_LOSS, VALIDATION_LOSS)
        execution = Execution(
            request, dataset, self._store, self._artifacts, self._device, probes=probes
        )
        return execution.carry_out(watch, pause=watch.pause).row

    def _dataset(self, config: DataConfig) -> Dataset:
        """Return the data as a remedy wants them scaled."""
        if config not in self._datasets:
            self._datasets[config] = load_dataset(config)
        return self._datasets[config]

    def _unrun(self, assignment: Assignment, config: RunConfig, state: str, reason: str) -> RunRow:
        """Store an arm that was not begun."""
        request = assignment.request
        row = RunRow(
            study=request.study,
            role=request.role,
            trial=request.trial,
            label=request.label,
            seed=config.seed,
            config=config.to_json(),
            max_steps=config.training.max_steps,
            origin=request.origin,
            state=state,
            reason=reason,
        )
        return create_run(self._store, row)
