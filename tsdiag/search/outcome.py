"""What Optuna is told of a run: values where there are some, constraints where there are none.

A NaN would turn a trial into FAIL, which samplers do not see, so that they would go on drawing
from the region that diverges.
"""

from __future__ import annotations

from contextlib import suppress

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from tsdiag.store.runs import RunRow

# Worse than any trained model, in units of the target's variance, yet finite.
BAD_VALUE = 100.0

_COMPLETE = ("completed", "early_stopped")
_STOPPED = ("pruned", "timed_out")


def tell_outcome(study: optuna.Study, number: int, row: RunRow) -> None:
    """Tell a study how a trial's run ended; telling it twice does no harm."""
    # Even where the first time came through, and the database was gone before it answered.
    with suppress(UpdateFinishedTrialError):
        _tell(study, number, row)


def tell_failure(study: optuna.Study, number: int) -> None:
    """Tell a study that a trial has no result; telling it twice does no harm."""
    with suppress(UpdateFinishedTrialError):
        study.tell(number, state=TrialState.FAIL, skip_if_finished=True)


def _tell(study: optuna.Study, number: int, row: RunRow) -> None:
    if row.state in _COMPLETE and row.validation_loss is not None:
        study.tell(number, row.validation_loss, skip_if_finished=True)
    elif row.state in _STOPPED and row.validation_loss is not None:
        study.tell(number, state=TrialState.PRUNED, skip_if_finished=True)
    elif row.state in ("diverged", "infeasible", *_STOPPED):
        _tell_bad(study, number, row)
    else:
        tell_failure(study, number)


def _tell_bad(study: optuna.Study, number: int, row: RunRow) -> None:
    frozen = study.get_trials(deepcopy=False)[number]
    if frozen.state.is_finished():
        return
    trial = optuna.trial.Trial(study, frozen._trial_id)
    constraints = row.metrics.get("constraints") or {row.state: 1.0}
    for name, value in constraints.items():
        if name not in trial.constraints:
            trial.set_constraint(name, float(value))
    if row.max_steps not in frozen.intermediate_values:
        trial.report(BAD_VALUE, row.max_steps)
    study.tell(number, state=TrialState.PRUNED, skip_if_finished=True)
