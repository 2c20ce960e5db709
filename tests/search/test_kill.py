"""kill -9 at random moments: the study still ends with every trial, each once, and a verdict."""

import os
import random
import signal
import time

import psutil
from optuna.trial import TrialState

from tsdiag.search.queue import PARENT_RUN, RESUMES
from tsdiag.store.leases import leases
from tsdiag.store.runs import find_runs, newest
from tsdiag.store.studies import load_study

# Slow enough that a search is still at its trials when it is killed for the last time.
SLOWER = (("max_steps = 10", "max_steps = 120"), ("trials = 3", "trials = 8"))


def begin(command):
    return command("search", "study.toml", "--workers", "2", "--device", "cpu")


def check_whole(store, optuna_study, trials):
    """Hold the promises of a finished study against what is in the database."""
    for name, role, wanted in (("tiny", "trial", trials), ("tiny/lstm", "baseline", 1)):
        found = optuna_study(name).trials
        continued = {trial.user_attrs.get(RESUMES) for trial in found} - {None}
        counted = [trial for trial in found if trial.number not in continued]
        assert len(counted) == wanted
        assert all(t.state in (TrialState.COMPLETE, TrialState.PRUNED) for t in counted)
        for trial in found:
            if RESUMES in trial.user_attrs:
                before = found[trial.user_attrs[RESUMES]]
                assert before.state == TrialState.FAIL
                # What had been drawn is kept; a successor may have died while it drew it again.
                kept = before.params.items() & trial.params.items()
                assert len(kept) == len(before.params.keys() & trial.params.keys())
                assert trial not in counted or before.params.items() <= trial.params.items()
        rows = find_runs(store, "tiny", role=role)
        ended = [row for row in rows if row.state not in ("running", "interrupted")]
        assert sorted(row.trial for row in ended) == [trial.number for trial in counted]
        assert sorted(row.trial for row in newest(rows)) == [trial.number for trial in counted]
        for row in rows:
            if row.parent is not None:
                (before,) = [other for other in rows if other.id == row.parent]
                assert before.config == row.config
                assert found[row.trial].user_attrs[PARENT_RUN] == row.parent
    finals = find_runs(store, "tiny", role="final")
    ended = [(row.label, row.seed) for row in finals if row.state == "completed"]
    assert len(ended) == len(set(ended)) == 3 * 2  # baseline and two finalists, two seeds
    assert {row.state for row in newest(finals)} == {"completed"}
    assert load_study(store, "tiny").verdict is not None
    assert [lease for lease in leases(store) if lease.live] == []


def test_kill_9_loses_nothing_and_doubles_nothing(command, write_study, store, optuna_study, until):
    write_study(*SLOWER)
    rng = random.Random(0)
    for whole_set in (True, False, True):
        search = begin(command)
        until(lambda: at_work(store), message=search.text)
        time.sleep(rng.uniform(0, 2))
        workers = search.workers()
        if whole_set:
            search.kill_all()
        else:
            # Workers do not outlive the search that started them.
            os.kill(search.process.pid, signal.SIGKILL)
            search.process.wait()
            until(lambda pids=tuple(workers): not any(map(is_alive, pids)), seconds=20)
    search = begin(command)
    until(lambda: at_work(store) and search.workers(), message=search.text)
    os.kill(search.workers()[0], signal.SIGKILL)
    assert search.wait(120) == 0, search.text
    assert "was killed by signal 9" in search.text
    check_whole(store, optuna_study, trials=8)


def at_work(store):
    """Return what live workers are at; a killed one leaves a run that says it is running."""
    return [lease for lease in leases(store) if lease.live and "/trial/" in lease.key]


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
