"""Which study a command means, and the trial in it."""

from __future__ import annotations

from tsdiag.errors import UsageError
from tsdiag.store.database import Store
from tsdiag.store.runs import RunRow, best_runs, find_runs, first_and_last_trial, latest
from tsdiag.store.studies import StudyRow, list_studies, load_study


def chosen_study(store: Store, name: str | None) -> StudyRow:
    """Return the named study, else the only one, else the newest.

    Raises:
        UsageError: there is no such study, or several are equally new.
    """
    if name is not None:
        return load_study(store, name)
    studies = list_studies(store)
    if not studies:
        raise UsageError(f"no study in {store.url} yet; start one with: tsdiag search")
    if len(studies) > 1 and studies[0].created == studies[1].created:
        raise UsageError(
            f"which study? {store.url} holds {', '.join(s.name for s in studies)}; name one"
        )
    return studies[0]


def explained_run(store: Store, study: str, asked: str) -> RunRow:
    """Return the run of a trial by its number, or the best one of the "baseline".

    Raises:
        UsageError: the study has no such trial, or no baseline yet.
    """
    if asked.isdigit():
        return chosen_run(store, study, int(asked))
    if asked != "baseline":
        raise UsageError(
            f'explain "{asked}": a trial is named by its number, or it is "baseline"; '
            "list the trials: tsdiag trials"
        )
    best = best_runs(store, study, "baseline", 1) or find_runs(store, study, role="baseline")[-1:]
    if not best:
        raise UsageError(f'study "{study}" has no baseline yet; go on with: tsdiag search')
    return best[0]


def chosen_run(store: Store, study: str, trial: int) -> RunRow:
    """Return the newest run of a trial; of one that was resumed under another number, that one's.

    Raises:
        UsageError: the study has no such trial.
    """
    found = latest(find_runs(store, study, role="trial", trial=trial))
    while found is not None:
        successor = latest(find_runs(store, study, parent=found.id))
        if successor is None:
            return found
        found = successor
    numbers = first_and_last_trial(store, study)
    has = f"it has {numbers[0]}..{numbers[1]}" if numbers else "it has none yet"
    raise UsageError(f'unknown trial {trial} in study "{study}" ({has}); list them: tsdiag trials')
