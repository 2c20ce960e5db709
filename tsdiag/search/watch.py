"""What a trial's run is asked after each step and within evaluations: may it go on?

While the database is away it may: what is to be reported waits, and nothing is pruned.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError

from tsdiag.diagnostics.signals import SignalName, Trace
from tsdiag.runs.outbox import TakenOver
from tsdiag.search.interruption import Interruption
from tsdiag.search.pruner import MAX_STEPS, why_pruned
from tsdiag.search.queue import TrialQueue
from tsdiag.search.space import ORIGIN
from tsdiag.search.sparing import is_control, waking
from tsdiag.store.patience import Patience
from tsdiag.store.runs import RunRow
from tsdiag.training.observer import Moment
from tsdiag.uptime import uptime

# Often enough that a lease survives a few failed renewals [s].
_RENEW_EVERY = 30.0
# User attribute of a control: the step at which it would have been pruned.
SPARED = "tsdiag:spared"
_ENTROPY = "attention_entropy"


@dataclass
class Watch:
    """Renews the lease, keeps the budgets, and reports to Optuna on the step grid."""

    trial: optuna.Trial
    queue: TrialQueue
    interruption: Interruption
    deadline: float  # uptime() at which the search pauses, inf for none
    limit: float = math.inf  # uptime() at which this trial's own time is over
    prune: bool = True
    pruner: str = ""  # its name in the study file
    seed: int = 0  # the study's, by which controls are drawn
    patience: Patience = field(default_factory=Patience)  # the store's
    lost: bool = False  # another worker took this trial for dead
    reason: str = ""  # why the trial was pruned
    _renewed: float = -math.inf  # time.monotonic()
    _unreported: list[tuple[int, float]] = field(default_factory=list)  # step, validation loss
    _entropies: dict[int, list[float]] = field(default_factory=dict)  # of all heads, by step

    def __call__(self, moment: Moment) -> str | None:
        """Return the state that ends the run, or None; raise ``TakenOver`` where it has been."""
        self.pause()
        now = uptime()
        # Before all else, so that a pruner misses no value of a trial that is resumed later.
        if moment.evaluated_step == moment.step:
            self._unreported.append((moment.step, moment.validation_loss))
            reported = self._asked(self._report)
            # It has gone its whole way: to prune or to cut it now would only hide its result.
            if self._is_last(moment):
                return None
            if reported and self.prune and self._is_to_be_pruned(moment.step):
                return "pruned"
        # Nor is it cut in its last evaluation, without which all of its steps were for nothing.
        if now > self.limit and not (moment.evaluating and self._is_last(moment)):
            return "timed_out"
        # Out of the search's time is no fault of the trial: the next search resumes it.
        return "interrupted" if self.interruption or now > self.deadline else None

    def settle(self) -> None:
        """Report what could not be reported so far, before the trial is told."""
        self.patience(self._report)

    def _report(self) -> None:
        while self._unreported:
            step, loss = self._unreported[0]
            self.trial.report(loss, step)
            del self._unreported[0]

    def _is_to_be_pruned(self, step: int) -> bool:
        """Ask the pruner; without an answer the run goes on, and is asked about later."""
        answers: list[bool] = []
        self._asked(lambda: answers.append(self._must_stop(step)))
        return answers == [True]

    def _asked(self, call: Callable[[], object]) -> bool:
        """Make a call about the trial if the database can be reached; tell whether it could."""
        try:
            return self.patience.attempt(call)
        except UpdateFinishedTrialError:  # whoever took it over has settled it since
            raise TakenOver from None

    def _must_stop(self, step: int) -> bool:
        """Ask the pruner and, where it says so, whether the trial is to be spared all the same."""
        if SPARED in self.trial.user_attrs or not self.trial.should_prune():
            return False
        means = {at: sum(found) / len(found) for at, found in self._entropies.items()}
        attributes = self.trial.user_attrs
        if waking(means, step, attributes.get(MAX_STEPS, 0)):
            return False
        if is_control(self.seed, attributes.get(ORIGIN, self.trial.number)):
            self.trial.set_user_attr(SPARED, step)
            return False
        self.reason = why_pruned(self.trial, self.pruner)
        return True

    def hear(self, signal: SignalName, _: str, step: int, value: float) -> None:
        """Take a reading of the run: of those, attention entropy is what may spare it."""
        if signal.name == _ENTROPY:
            self._entropies.setdefault(step, []).append(value)

    def remarks(self, row: RunRow) -> dict[str, Any]:
        """Return the columns of a run that has ended in which the pruner's part in it is told."""
        found: dict[str, Any] = {}
        if self.reason and row.state == "pruned":
            # What else is told there, such as that the run was begun anew, stays.
            found["reason"] = row.reason.replace(f"pruned at step {row.step}", self.reason, 1)
        if (step := self.trial.user_attrs.get(SPARED)) is not None:
            found["metrics"] = {**row.metrics, "spared": {"step": step, "why": "control"}}
        return found

    def replay(self, trace: Trace) -> None:
        """Report what the trial that this one continues had reported, and hear what it had."""
        for heard in trace.signals:
            if heard.name == _ENTROPY:
                for step, value in zip(heard.steps, heard.values, strict=True):
                    self._entropies.setdefault(int(step), []).append(float(value))
        signal = trace.signal("validation_loss")
        if signal is not None:
            for step, value in zip(signal.steps, signal.values, strict=True):
                if step > 0:  # before the first update nothing is asked, so nothing was reported
                    self.trial.report(float(value), int(step))

    def renew(self) -> bool:
        """Renew the lease if it is time to; False where another worker took the trial over."""
        if time.monotonic() - self._renewed > _RENEW_EVERY:
            self.patience.attempt(self._renew)
        return not self.lost

    def pause(self) -> None:
        """Renew the lease if it is time to; raise ``TakenOver`` where another worker has it."""
        if not self.renew():
            raise TakenOver

    def _renew(self) -> None:
        self.lost = not self.queue.keep(self.trial.number)
        self._renewed = time.monotonic()

    def _is_last(self, moment: Moment) -> bool:
        return bool(moment.step >= self.trial.user_attrs.get(MAX_STEPS, math.inf))


@dataclass
class LeaseWatch:
    """The same for a run that nobody prunes; out of time, it waits for another day."""

    keep: Callable[[], bool]  # renews its lease; False where another process holds that now
    interruption: Interruption
    deadline: float
    patience: Patience = field(default_factory=Patience)  # the store's
    lost: bool = False
    _renewed: float = -math.inf  # time.monotonic()

    def __call__(self, _: Moment) -> str | None:
        """Return "interrupted" where the run must wait, or None; raise ``TakenOver`` as above."""
        self.pause()
        late = self.interruption or uptime() > self.deadline
        return "interrupted" if late else None

    def pause(self) -> None:
        """Renew the lease if it is time to; raise ``TakenOver`` where another process has it."""
        if time.monotonic() - self._renewed > _RENEW_EVERY:
            self.patience.attempt(self._renew)
        if self.lost:
            raise TakenOver

    def _renew(self) -> None:
        self.lost = not self.keep()
        self._renewed = time.monotonic()
