"""What a trial's run is asked after each step and within evaluations: may it go on?"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import optuna

from tsdiag.compare.finals import FinalRun, Finals
from tsdiag.diagnostics.signals import Trace
from tsdiag.search.interruption import Interruption
from tsdiag.search.pruner import MAX_STEPS
from tsdiag.search.queue import TrialQueue
from tsdiag.training.observer import Moment

# Often enough that a lease survives a few failed renewals [s].
_RENEW_EVERY = 30.0


@dataclass
class Watch:
    """Renews the lease, keeps the budgets, and reports to Optuna on the step grid."""

    trial: optuna.Trial
    queue: TrialQueue
    interruption: Interruption
    deadline: float  # time.time() at which the search pauses, inf for none
    limit: float = math.inf  # time.time() at which this trial's own time is over
    prune: bool = True
    lost: bool = False  # another worker took this trial for dead
    _renewed: float = 0.0

    def __call__(self, moment: Moment) -> str | None:
        """Return the state that ends the run, or None."""
        if not self.renew():
            return "interrupted"
        now = time.time()
        # Before all else, so that a pruner misses no value of a trial that is resumed later.
        if moment.evaluated_step == moment.step:
            self.trial.report(moment.validation_loss, moment.step)
            # It has gone its whole way: to prune or to cut it now would only hide its result.
            if self._is_last(moment):
                return None
            if self.prune and self.trial.should_prune():
                return "pruned"
        # Nor is it cut in its last evaluation, without which all of its steps were for nothing.
        if now > self.limit and not (moment.evaluating and self._is_last(moment)):
            return "timed_out"
        # Out of the search's time is no fault of the trial: the next search resumes it.
        return "interrupted" if self.interruption or now > self.deadline else None

    def replay(self, trace: Trace) -> None:
        """Report what the trial that this one continues had reported."""
        signal = trace.signal("validation_loss")
        if signal is not None:
            for step, value in zip(signal.steps, signal.values, strict=True):
                if step > 0:  # before the first update nothing is asked, so nothing was reported
                    self.trial.report(float(value), int(step))

    def renew(self) -> bool:
        """Renew the lease if it is time to; False where another worker took the trial over."""
        now = time.time()
        if now - self._renewed > _RENEW_EVERY:
            self.lost = not self.queue.keep(self.trial.number)
            self._renewed = now
        return not self.lost

    def _is_last(self, moment: Moment) -> bool:
        return bool(moment.step >= self.trial.user_attrs.get(MAX_STEPS, math.inf))


@dataclass
class FinalWatch:
    """The same for a final run, which nobody prunes; out of time, it waits for another day."""

    final: FinalRun
    finals: Finals
    interruption: Interruption
    deadline: float
    lost: bool = False
    _renewed: float = 0.0

    def __call__(self, _: Moment) -> str | None:
        """Return "interrupted" where the run must pause, or None."""
        late = self.interruption or time.time() > self.deadline
        return None if self.renew() and not late else "interrupted"

    def renew(self) -> bool:
        """Renew the lease if it is time to; False where another process took the run over."""
        now = time.time()
        if now - self._renewed > _RENEW_EVERY:
            self.lost = not self.finals.keep(self.final)
            self._renewed = now
        return not self.lost
