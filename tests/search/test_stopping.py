"""Ctrl-C and SIGTERM: the running trial is saved and queued again, within seconds."""

import os
import signal
import time

import pytest
from optuna.trial import TrialState

from tsdiag.search.conduct import prepare
from tsdiag.search.queue import RESUMES
from tsdiag.search.spec import read_spec
from tsdiag.store.curves import load_trace
from tsdiag.store.runs import find_runs


def under_way(store, role="trial"):
    rows = [row for row in find_runs(store, "tiny", role=role) if row.state == "running"]
    return [row for row in rows if row.step > 0]


def long_trials(write_study):
    """Write a study of which the transformers alone are long."""
    space = '"model.n_layers" = 1\n"training.max_steps" = 100000'
    return write_study(
        ('"model.n_layers" = 1', space), ("evaluate_every = 5", "evaluate_every = 10")
    )


def test_sigterm_to_a_worker(command, work, write_study, store, optuna_study, until):
    prepare(store, read_spec(long_trials(write_study)))
    worker = command("worker", "tiny", "--device", "cpu")
    until(lambda: under_way(store), message=worker.text)
    began = time.monotonic()
    os.kill(worker.process.pid, signal.SIGTERM)
    assert worker.wait(20) == 0, worker.text
    assert time.monotonic() - began < 10
    (row,) = find_runs(store, "tiny", role="trial")
    assert row.state == "interrupted"
    assert row.checkpoint is not None
    first, second = optuna_study().trials
    assert (first.state, second.state) == (TrialState.FAIL, TrialState.WAITING)

    work(interruption=AfterSteps(store, row.step + 25))
    last = find_runs(store, "tiny", role="trial")[-1]
    assert last.parent == row.id
    assert last.config == row.config
    # Every step is there once, and none was trained twice.
    steps = load_trace(store, last.id).signal("train_loss").steps
    assert steps.tolist() == list(range(last.step))
    reported = optuna_study().trials[1].intermediate_values
    assert sorted(reported) == list(range(10, last.step + 1, 10))


class AfterSteps:
    """Somebody who asks a worker to stop once its trial has come so far."""

    def __init__(self, store, step):
        self.store, self.step, self.asked = store, step, False

    def __bool__(self):
        self.asked |= any(row.step >= self.step for row in under_way(self.store))
        return self.asked


def test_ctrl_c_to_a_search(command, write_study, store, optuna_study, until):
    long_trials(write_study)
    search = command("search", "study.toml", "--workers", "2", "--device", "cpu")
    until(lambda: len(under_way(store)) == 2, message=search.text)
    workers = search.workers()
    began = time.monotonic()
    os.kill(search.process.pid, signal.SIGINT)
    assert search.wait(20) == 130, search.text
    assert time.monotonic() - began < 10
    assert "run the same command again" in search.text
    assert not any(is_alive(pid) for pid in workers)
    states = [row.state for row in find_runs(store, "tiny", role="trial")]
    assert states == ["interrupted"] * 2
    assert {trial.user_attrs.get(RESUMES) for trial in optuna_study().trials[2:]} == {0, 1}


def test_the_second_signal_ends_at_once(command, write_study, store, until):
    long_trials(write_study)
    search = command("search", "study.toml", "--workers", "1", "--device", "cpu")
    until(lambda: under_way(store), message=search.text)
    (worker,) = search.workers()
    # The worker cannot answer, so the first signal would wait for it.
    os.kill(worker, signal.SIGSTOP)
    os.kill(search.process.pid, signal.SIGINT)
    with pytest.raises(Exception, match="timed out"):
        search.process.wait(2)
    os.kill(search.process.pid, signal.SIGINT)
    assert search.wait(3) == 130
    os.kill(worker, signal.SIGCONT)
    until(lambda: not is_alive(worker), seconds=20)


def is_alive(pid):
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
