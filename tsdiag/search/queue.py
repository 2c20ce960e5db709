"""The trials of one Optuna study, handed out to workers one by one, none lost and none twice.

A trial is asked and leased under one lock, so a running trial without a live lease has lost its
worker: its outcome is told from its run if that had ended, else it is failed and a successor is
queued that resumes from its newest checkpoint. Whoever asks next does this first.

A worker may be stopped for longer than any lease at any line of this, or lose the database there,
and go on: so what it does under the lock it checks afterwards, and what is half done looks like the
work of a dead one, which the next asker finds. That makes every method harmless to repeat.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from tsdiag.search.outcome import tell_failure, tell_outcome
from tsdiag.search.space import ENQUEUED, ORIGIN
from tsdiag.store.database import Store
from tsdiag.store.leases import claim, held, leases, release, renew
from tsdiag.store.owners import owner
from tsdiag.store.runs import RunRow, end_run, find_runs, latest, update_run

# A lease outlives the longest silence of a healthy worker: one training step, one batch of an
# evaluation or one probe of the last weights, of a model so large that hardly anybody waits for
# it [s]. It is renewed many times as often. A dead worker of this machine is seen at once anyway.
LEASE = 300.0
# Asking takes well under a second; longer means that the asker is stuck [s].
_ASK_LEASE = 60.0
# How long a worker that must end now waits to be let in [s].
_LAST_WORD = 1.0
# User attributes of a successor: the number of the trial it continues, and that trial's run.
RESUMES = "tsdiag:resumes"
PARENT_RUN = "tsdiag:parent_run"
# The number of the trial whose repair this one is: a person asked for it, so it comes next.
REPAIRS = "tsdiag:repairs"
# How often a trial's workers died without getting further, and the step where they did.
DEATHS = "tsdiag:deaths"
# One that kills whoever takes it would never end; a machine that is switched off five times within
# a few steps is rarer.
_MOST_DEATHS = 5


class TrialQueue:
    """Hands out the trials of one study, counting across all workers."""

    def __init__(self, store: Store, study: optuna.Study, name: str, role: str) -> None:
        self.study = study
        self.role = role
        self._store = store
        self.name = name
        self._owner = owner()
        self._ask_key = f"{study.study_name}/ask"

    def claim(self, wanted: int) -> optuna.Trial | None:
        """Return the next trial to run, or None while ``wanted`` ones are finished or running.

        A repair is run even so: it was asked for beside them.
        """
        return self._store.patience(lambda: self._claim(wanted))

    def _claim(self, wanted: int) -> optuna.Trial | None:
        with self._alone():
            trials = self._reaped()
            counted = _counted(trials)
            if self.role == "baseline":
                # Without one there is no verdict, so a baseline that failed is tried again.
                counted = [trial for trial in counted if trial.state != TrialState.FAIL]
            spent = sum(REPAIRS not in trial.user_attrs for trial in counted) >= wanted
            trial = self._waiting(trials, (REPAIRS,) if spent else (RESUMES, REPAIRS))
            if trial is None and not spent:
                trial = self._ask(trials)
            if trial is None or self._is_mine(trial):
                return trial
        return self._claim(wanted)

    def _ask(self, trials: list[FrozenTrial]) -> optuna.Trial:
        """Ask Optuna for a trial, without its search for a waiting one where there is none.

        That reads every running trial, while all others wait for the lock.
        """
        if any(trial.state == TrialState.WAITING for trial in trials):
            return self.study.ask()
        self.study._thread_local.cached_all_trials = None  # as ``ask`` does
        new = self.study._storage.create_new_trial(self.study._study_id)
        return optuna.Trial(self.study, new)

    def _is_mine(self, trial: optuna.Trial) -> bool:
        """Take the lease of a trial just asked for; False where we came too late to have it.

        Then it looks like a dead worker's, and is queued again unless enough were asked for.
        """
        key = self._key(trial.number)
        if not claim(self._store, key, self._owner, LEASE):
            return False
        # Another one may have found it without a lease, or asked for one more than there are.
        state = self.study._storage.get_trial(trial._trial_id).state
        if state == TrialState.RUNNING and self._keep_alone():
            return True
        release(self._store, key, self._owner)
        return False

    def _waiting(self, trials: list[FrozenTrial], marks: tuple[str, ...]) -> optuna.Trial | None:
        """Return the first trial in the queue with one of these attributes, the first one first.

        Optuna's own queue is in order of number, so whoever goes on would stand at its end.
        """
        for mark in marks:
            for trial in trials:
                if trial.state == TrialState.WAITING and mark in trial.user_attrs:
                    # As ``Study.ask`` takes one; it may be another's by now.
                    with suppress(UpdateFinishedTrialError):
                        if self.study._storage.set_trial_state_values(
                            trial._trial_id, TrialState.RUNNING
                        ):
                            return optuna.Trial(self.study, trial._trial_id)
        return None

    def keep(self, number: int) -> bool:
        """Renew the lease of a trial; False where another worker has taken it for dead."""
        return renew(self._store, self._key(number), self._owner, LEASE)

    def finish(self, number: int, row: RunRow) -> None:
        """Tell Optuna how a trial ended, once, and give its lease back.

        Where another worker has taken the trial for dead, it has told how this run ended, or it
        has queued a successor, whose result is the one that counts.
        """
        self._store.patience(lambda: self._finish(number, row))

    def _finish(self, number: int, row: RunRow) -> None:
        if self.keep(number):
            tell_outcome(self.study, number, row)
            release(self._store, self._key(number), self._owner)
        elif number in {t.user_attrs.get(RESUMES) for t in self.study.get_trials(deepcopy=False)}:
            update_run(self._store, row.id, state="interrupted", reason="taken over by another")

    def hand_back(self, number: int) -> None:
        """Queue an interrupted trial again, for this or any other worker to resume."""
        self._store.patience(lambda: self._hand_back(number))

    def _hand_back(self, number: int) -> None:
        with self._alone():
            self._requeue(self._frozen(number), {})
        release(self._store, self._key(number), self._owner)

    def abandon(self, number: int) -> None:
        """Settle a trial by what is stored of it, as a dead worker's: ours must end now.

        Where many are asked to stop at once, not all come to the lock in time: then the next asker
        finds a run that was given up, and its trial without a lease.
        """
        reason = "its worker was asked to stop"
        if self._let_in(_LAST_WORD):
            if self.keep(number):
                self._reap(self._frozen(number), reason, died=False)
            release(self._store, self._ask_key, self._owner)
        elif self.keep(number) and (run := self.run(number)) is not None:
            end_run(self._store, run.id, state="interrupted", reason=reason)
        release(self._store, self._key(number), self._owner)

    def _let_in(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while not claim(self._store, self._ask_key, self._owner, _ASK_LEASE, spare=False):
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        return True

    def finished(self) -> int:
        """Return how many trials have ended and were not queued again."""
        trials = self.study.get_trials(deepcopy=False)
        return sum(trial.state.is_finished() for trial in _counted(trials))

    def left(self, trials: int) -> int:
        """Return how many of so many trials are neither begun nor queued."""
        told = self.study.get_trials(deepcopy=False)
        waiting = sum(trial.state == TrialState.WAITING for trial in told)
        return trials - len(_counted(told)) - waiting

    def running(self) -> int:
        """Return how many trials a live worker is at; those of dead ones are queued again."""
        return self._store.patience(self._running)

    def _running(self) -> int:
        with self._alone():
            trials = _counted(self._reaped())
        return sum(not trial.state.is_finished() for trial in trials)

    def enqueue(
        self,
        configurations: Sequence[tuple[Any, dict[str, Any]]],
        attributes: dict[str, Any] | None = None,
        mark: str = ENQUEUED,
    ) -> None:
        """Queue configurations to try first; those that were queued before are left alone.

        Each is what it is known by, kept as the user attribute ``mark`` of its trial (for a study
        file's own: its paths), and the parameters that Optuna can hold of it. Their trials also get
        the user ``attributes``.
        """
        with self._alone():
            known = [trial.user_attrs.get(mark) for trial in self.study.get_trials(deepcopy=False)]
            for named, parameters in configurations:
                if named not in known:
                    known.append(named)
                    self.study.enqueue_trial(
                        parameters, user_attrs={mark: named, **(attributes or {})}
                    )

    def _reaped(self) -> list[FrozenTrial]:
        trials = self.study.get_trials(deepcopy=False)
        for trial in _surplus(trials):
            if trial.state == TrialState.WAITING:
                self.study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        if not running:
            return trials
        live = {
            lease.key
            for lease in leases(self._store, f"{self.study.study_name}/trial/")
            if lease.live
        }
        dead = [trial for trial in running if self._key(trial.number) not in live]
        for trial in dead:
            key = self._key(trial.number)
            # Taken from a worker that may be late and alive: its next renewal tells it so.
            if claim(self._store, key, self._owner, LEASE):
                self._reap(trial, "its worker died", died=True)
                release(self._store, key, self._owner)
        return self.study.get_trials(deepcopy=False) if dead else trials

    def _reap(self, trial: FrozenTrial, reason: str, *, died: bool) -> None:
        run = self.run(trial.number)
        was_running = run is None or run.state == "running"
        if run is not None and was_running:
            # It may end at this very moment: one of the two is first.
            end_run(self._store, run.id, state="interrupted", reason=reason)
            run = self.run(trial.number)  # or its worker was only late, and has withdrawn it
        if run is not None and run.state != "interrupted":
            tell_outcome(self.study, trial.number, run)
            return
        # A worker that gave its run up, since a store was away for too long, is no death either.
        if not died or not was_running:
            self._requeue(trial, {})
            return
        step = run.step if run else 0
        before, at = trial.user_attrs.get(DEATHS, (0, step))
        deaths = before + 1 if step == at else 1
        if run is not None and deaths >= _MOST_DEATHS:
            reason = (
                f"its worker died {deaths} times at step {step}, as if it needs too much memory"
            )
            update_run(self._store, run.id, state="failed", reason=reason)
            tell_failure(self.study, trial.number)
            return
        self._requeue(trial, {DEATHS: (deaths, step)})

    def _requeue(self, trial: FrozenTrial, more: dict[str, Any]) -> None:
        """Queue a successor, then fail the trial; the order loses nothing if this is cut short."""
        resumed = {t.user_attrs.get(RESUMES) for t in self.study.get_trials(deepcopy=False)}
        if trial.number not in resumed:
            run = self.run(trial.number)
            lineage = {
                RESUMES: trial.number,
                ORIGIN: trial.user_attrs.get(ORIGIN, trial.number),
                # Dead before its own run began: its successor continues what it was to continue.
                PARENT_RUN: run.id if run else trial.user_attrs.get(PARENT_RUN),
            }
            # What it was to draw, too: it may have died while it drew what it had inherited.
            inherited = trial.system_attrs.get("fixed_params", {})
            self.study.enqueue_trial(
                {**inherited, **trial.params}, user_attrs={**trial.user_attrs, **lineage, **more}
            )
        tell_failure(self.study, trial.number)

    def run(self, number: int) -> RunRow | None:
        """Return the newest run of a trial, or None where it has none yet."""
        return latest(find_runs(self._store, self.name, role=self.role, trial=number))

    def _frozen(self, number: int) -> FrozenTrial:
        return self.study.get_trials(deepcopy=False)[number]

    def _key(self, number: int) -> str:
        return f"{self.study.study_name}/trial/{number}"

    def _alone(self) -> AbstractContextManager[None]:
        return held(self._store, self._ask_key, self._owner, _ASK_LEASE)

    def _keep_alone(self) -> bool:
        """Tell whether nobody else was let in since: a lock, too, can run out."""
        return renew(self._store, self._ask_key, self._owner, _ASK_LEASE)


def _counted(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that count against the budget: not the waiting, not the continued."""
    continued = {trial.user_attrs.get(RESUMES) for trial in trials}
    surplus = {trial.number for trial in _surplus(trials)}
    return [
        trial
        for trial in trials
        if trial.state != TrialState.WAITING
        and trial.number not in continued
        and trial.number not in surplus
    ]


def _surplus(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Return the second successors of one trial: queued twice when an answer was lost."""
    seen: set[int] = set()
    found = []
    for trial in trials:
        resumes = trial.user_attrs.get(RESUMES)
        if resumes in seen:
            found.append(trial)
        elif resumes is not None:
            seen.add(resumes)
    return found
