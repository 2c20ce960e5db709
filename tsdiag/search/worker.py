"""A worker: takes what is to be done next of a study, until its budget is spent."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from torch import nn

from tsdiag.compare.finals import FinalRun, Finals
from tsdiag.compare.scoring import score_windows
from tsdiag.config import ENGINE, RunConfig
from tsdiag.data.dataset import load_dataset
from tsdiag.errors import StoreError
from tsdiag.runs.audit import audit
from tsdiag.runs.engine import Choice, choose_engine
from tsdiag.runs.environment import choose_device
from tsdiag.runs.execute import Done, Execution, Request
from tsdiag.runs.floors import store_floors
from tsdiag.runs.levels import block_losses
from tsdiag.runs.outbox import TakenOver
from tsdiag.runs.weights import shapes_of
from tsdiag.search.artifacts import artifact_store, refuse_other_place
from tsdiag.search.budget import is_over, others_at_work, search_deadline
from tsdiag.search.explaining import explain_run
from tsdiag.search.failing import Failures, store_failure, store_unrun, told
from tsdiag.search.interruption import Interruption
from tsdiag.search.limits import refuse_oversized
from tsdiag.search.mirror import mirror
from tsdiag.search.pruner import MAX_STEPS, WARMUP_STEPS
from tsdiag.search.queue import PARENT_RUN, TrialQueue
from tsdiag.search.registration import open_queue, refuse_other_data
from tsdiag.search.space import (
    ENQUEUED,
    baseline_config,
    default_config,
    open_engine,
    resolve,
    resolve_baseline,
)
from tsdiag.search.spec import stored_spec
from tsdiag.search.storage import open_storage
from tsdiag.search.watch import LeaseWatch, Watch
from tsdiag.store.cases import AUDIT, AUDITED, BLOCKS
from tsdiag.store.clock import read_clock
from tsdiag.store.database import Store
from tsdiag.store.leases import claim, holder, release, renew
from tsdiag.store.owners import owner
from tsdiag.store.runs import RunRow, get_run, update_run
from tsdiag.store.studies import load_study, set_attribute
from tsdiag.training.evaluation import predict
from tsdiag.training.schedule import warmup_steps
from tsdiag.uptime import uptime

# How long a worker without work waits before it looks again, at first and at most [s]: looking
# takes the study's lock, and at its end most of its workers have nothing to do.
_IDLE, _LONGEST_IDLE = 0.3, 3.0
# Floors are fitted in one go, without a renewal; should it run out, two workers fit the same.
_FLOORS_LEASE = 300.0

Task = Callable[[], None]


@dataclass(frozen=True)
class Place:
    """Which of the study's workers this is, and until when it works."""

    index: int = 0
    of: int = 1
    deadline: float = math.inf  # uptime()
    device: str = "auto"
    finals_only: bool = False
    verify: str = ""  # a run whose remedies are to be carried out, and nothing else


class Worker:
    """One process's part in a study."""

    def __init__(
        self,
        store: Store,
        name: str,
        place: Place,
        interruption: Interruption,
        show: Callable[[RunRow], object] = lambda _: None,
    ) -> None:
        study = load_study(store, name)
        self.spec = stored_spec(name, study.spec)
        self.dataset = load_dataset(self.spec.data)
        refuse_other_data(self.dataset, study)
        self.device = choose_device(place.device)
        self._store = store
        self._place = place
        # The study's time, not this worker's, is divided between searching and the final runs.
        timeout = self.spec.search.timeout
        timed = timeout is not None and math.isfinite(place.deadline)
        self._started = place.deadline - timeout if timed and timeout else uptime()
        self._interruption = interruption
        self._show = show  # what became of a trial or a final run
        self._artifacts = artifact_store(store)
        refuse_other_place(store, name, self._artifacts)
        storage = open_storage(store)
        self._baselines = open_queue(store, storage, self.spec, "baseline", place.index)
        self._trials = open_queue(store, storage, self.spec, "trial", place.index)
        search = self.spec.search
        self._finals = Finals(store, name, search.final_seeds, search.seed)
        self._failures = Failures()
        self._rests = 0  # one after the other
        # Hands over what this worker is at.
        self._hand_over: Callable[[], object] | None = None

    def work(self) -> None:
        """Do tasks until none is left, the time is over, or somebody asks to stop.

        Raises:
            TsdiagError: several trials in a row failed with an exception, or the database was
                away for too long.
        """
        self._interruption.overdue = self.hand_over
        while not self._interruption:
            task = self._next()
            if task is None:
                return
            self._rests = self._rests + 1 if task == self._rest else 0
            task()

    def _rest(self) -> None:
        time.sleep(min(_IDLE * 1.2 ** (self._rests - 1), _LONGEST_IDLE))

    def hand_over(self) -> None:
        """Give up what this worker is at, from another thread: the main one takes too long."""
        if self._hand_over is not None:
            self._hand_over()

    def _next(self) -> Task | None:
        if not self._place.finals_only:
            for find in (self._next_baseline, self._next_floors, self._next_trial):
                if (task := find()) is not None:
                    return task
        if is_over(self._place.deadline):
            return None
        if (final := self._finals.next()) is not None:
            return lambda: self._run_final(final)
        # Whoever is at one may hand it back and leave.
        return self._rest if self._finals.pending() else None

    def _next_baseline(self) -> Task | None:
        wanted = self.spec.search.trials if self.spec.baseline.tune else 1
        deadline = self._place.deadline
        if self._baselines.finished() > 0:
            deadline = self._half_time()
        trial = None if is_over(deadline) else self._baselines.claim(wanted)
        if trial is None:
            return None
        return lambda: self._run_trial(self._baselines, trial, deadline)

    def _next_floors(self) -> Task | None:
        key = f"{self.spec.name}/floors"
        study = load_study(self._store, self.spec.name)
        # The audit comes last: a worker that died in between left the rest to the next one.
        if study.floors is not None and AUDIT in study.attributes:
            return None
        mine = claim(self._store, key, owner(), _FLOORS_LEASE)
        return (lambda: self._measure_floors(key)) if mine else None

    def _next_trial(self) -> Task | None:
        deadline = self._search_deadline()
        if not is_over(deadline):
            trial = self._trials.claim(self.spec.search.trials)
            if trial is not None:
                return lambda: self._run_trial(self._trials, trial, deadline)
        # The finalists are known only when nothing runs any more; out of time, to nobody.
        if is_over(self._place.deadline):
            return None
        floors = holder(self._store, f"{self.spec.name}/floors")
        busy = self._trials.running() + self._baselines.running()
        return self._rest if busy or floors else None

    def _measure_floors(self, key: str) -> None:
        name, windows = self.spec.name, self.spec.training.validation_windows
        self._hand_over = lambda: release(self._store, key, owner())
        floors = store_floors(self._store, name, self.dataset, self._artifacts, windows)
        found = audit(
            self.dataset,
            floors,
            windows,
            self.spec.search.seed,
            pause=lambda: renew(self._store, key, owner(), _FLOORS_LEASE),
        )
        set_attribute(self._store, name, AUDITED, read_clock(self._store).isoformat())
        set_attribute(self._store, name, AUDIT, found.model_dump(mode="json"))
        self._hand_over = None
        release(self._store, key, owner())

    def _half_time(self) -> float:
        """A baseline's own search may take half of the time, like the transformers'."""
        return self._started + (self._place.deadline - self._started) / 2

    def _search_deadline(self) -> float:
        seeds, name = self.spec.search.final_seeds, self.spec.name
        ends = (self._started, self._place.deadline)
        workers = max(self._place.of, others_at_work(self._store, name))
        return search_deadline(self._store, name, *ends, seeds, workers)

    def _run_trial(self, queue: TrialQueue, trial: optuna.Trial, deadline: float) -> None:
        """Carry a trial out and tell how it ended, whatever happens in it."""
        self._hand_over = lambda: queue.abandon(trial.number)
        try:
            row = self._carry_out(queue, trial, deadline)
            self._failures.end()
        except (TakenOver, UpdateFinishedTrialError):  # another worker goes on with it
            row = None
        except StoreError:  # no fault of the trial: when its lease runs out, another goes on
            raise
        except Exception as error:
            row = store_failure(self._store, queue, trial, error, self._meant(queue, trial))
            self._failures.add(row, error)
        if row is not None:
            self._explain(queue, trial, row, deadline)
            queue.finish(trial.number, row)
            self._show(row)
        self._hand_over = None
        self._failures.give_up_after_many()

    def _explain(
        self, queue: TrialQueue, trial: optuna.Trial, row: RunRow, deadline: float
    ) -> None:
        """Diagnose a run that has ended, and show it in the dashboard, before its trial is told."""
        watch = Watch(trial, queue, self._interruption, deadline, patience=self._store.patience)

        def stopped() -> bool:
            return not watch.renew() or bool(self._interruption) or is_over(deadline)

        try:
            case, diagnosis = explain_run(
                self._store, self._artifacts, self.dataset, row, self.device, stopped
            )
            mirror(trial, case, diagnosis, self._artifacts)
        except Exception as error:  # a missing explanation is no reason to lose a result
            sys.stderr.write(f"trial {row.trial} was not explained: {told(error)}\n")

    def _carry_out(self, queue: TrialQueue, trial: optuna.Trial, deadline: float) -> RunRow | None:
        """Return how a trial's run ended, or None where it goes on another time."""
        config = self._resolve(queue, trial)
        shapes = shapes_of(self.dataset)
        refusal = refuse_oversized(config, shapes, self.device, self._place.of)
        if refusal is not None:
            return store_unrun(self._store, queue, trial.number, config, refusal)
        parent = trial.user_attrs.get(PARENT_RUN)
        watch = Watch(
            trial,
            queue,
            self._interruption,
            deadline,
            prune=queue.role == "trial",
            pruner=self.spec.search.pruner,
            seed=self.spec.search.seed,
            patience=self._store.patience,
        )
        choice = self._engine(queue, trial, config, watch)
        if choice is not None:
            # From here on: how its steps are computed is not chosen in a trial's own time.
            watch.limit = uptime() + self._seconds_left(queue.role, parent)
            request = Request(
                study=self.spec.name,
                role=queue.role,
                config=choice.config,
                trial=trial.number,
                parent=parent,
                engine=choice.record,
            )
            done = self._execution(request).carry_out(
                watch,
                on_resume=watch.replay,
                pause=watch.pause,
                hear=watch.hear,
                score=lambda model: self._scores(request.config, model, watch),
            )
            if done.row.state != "interrupted":
                watch.settle()
                return self._remarked(done, watch)
        if not watch.lost:
            queue.hand_back(trial.number)
        return None

    def _engine(
        self, queue: TrialQueue, trial: optuna.Trial, config: RunConfig, watch: Watch
    ) -> Choice | None:
        """Settle how a trial's steps are computed; None where its worker was asked to stop.

        A run that goes on computes as it did before, on whatever machine it is now.
        """
        parent = trial.user_attrs.get(PARENT_RUN)
        if parent is not None:
            row = get_run(self._store, parent)
            before = RunConfig.from_json(row.config)
            kept = config.edits({path: before.get(path) for path in ENGINE})
            return Choice(kept, row.environment.get("engine", {}))
        free = self.spec.training.open_paths
        if queue.role == "trial":
            free = open_engine(self.spec, trial.user_attrs.get(ENQUEUED))
        return choose_engine(
            config,
            self.dataset,
            self.device,
            free,
            go_on=lambda: watch.renew() and not self._interruption and not is_over(watch.deadline),
        )

    def _seconds_left(self, role: str, parent: str | None) -> float:
        """Return what is left of a trial's own time, after what the runs that it continues took.

        The preset of the baseline has no limit of its own: without it there is nothing to beat.
        """
        if role == "baseline" and not self.spec.baseline.tune:
            return math.inf
        spent = get_run(self._store, parent).seconds if parent else 0.0
        return (self.spec.search.trial_timeout or math.inf) - spent

    def _run_final(self, final: FinalRun) -> None:
        watch = LeaseWatch(
            lambda: self._finals.keep(final),
            self._interruption,
            self._place.deadline,
            self._store.patience,
        )
        self._hand_over = lambda: self._finals.release(final.candidate, final.seed)
        try:
            config = final.request.config
            execution = self._execution(final.request)
            done = execution.carry_out(
                watch, pause=watch.pause, score=lambda model: self._scores(config, model, watch)
            )
            self._show(done.row)
        except TakenOver:
            return
        except StoreError:
            raise
        except Exception as error:
            sys.stderr.write(f"final run of {final.candidate.label}: {error}\n")
        finally:
            self._hand_over = None
            self._finals.release(final.candidate, final.seed)

    def _resolve(self, queue: TrialQueue, trial: optuna.Trial) -> RunConfig:
        if queue.role == "baseline":
            config = resolve_baseline(self.spec, trial)
        else:
            config = resolve(self.spec, trial)
        steps = config.training.max_steps
        trial.set_user_attr(WARMUP_STEPS, warmup_steps(config.optimizer, steps))
        trial.set_user_attr(MAX_STEPS, steps)
        return config

    def _execution(self, request: Request) -> Execution:
        return Execution(request, self.dataset, self._store, self._artifacts, self.device)

    def _remarked(self, done: Done, watch: Watch) -> RunRow:
        """Add to the run why it was pruned, or that it was spared as a control."""
        remarks = watch.remarks(done.row)
        if not remarks:
            return done.row
        update_run(self._store, done.row.id, **remarks)
        return replace(done.row, **remarks)

    def _scores(
        self, config: RunConfig, model: nn.Module, watch: Watch | LeaseWatch
    ) -> dict[str, Any]:
        """Return the scores of the best weights on the validation windows."""
        windows = self.dataset.validation.every(config.training.validation_windows)
        precision = config.training.precision
        here = windows.to(self.device)
        found = predict(model, here, precision=precision, pause=watch.pause)
        scores = score_windows(windows, found)
        return {
            "validation": scores.model_dump(mode="json"),
            BLOCKS: block_losses(windows, found),
        }

    def _meant(self, queue: TrialQueue, trial: optuna.Trial) -> RunConfig:
        """Return a trial's configuration, or the default where its own is none."""
        try:
            return self._resolve(queue, trial)
        except Exception:
            make = baseline_config if queue.role == "baseline" else default_config
            return make(self.spec)
