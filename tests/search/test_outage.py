"""While the database is away training goes on; nothing of it is lost, and nothing done twice."""

import errno
import sqlite3
import threading
import time
from dataclasses import replace

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError, PendingRollbackError

from tsdiag.errors import StoreError, Unreachable
from tsdiag.runs import execute
from tsdiag.search import artifacts, queue, storage, watch
from tsdiag.search.interruption import Interruption
from tsdiag.search.registration import open_queue, register
from tsdiag.search.spec import read_spec
from tsdiag.search.storage import open_storage
from tsdiag.search.watch import Watch
from tsdiag.search.worker import Place, Worker
from tsdiag.store import patience
from tsdiag.store.curves import load_trace
from tsdiag.store.leases import claim, leases, release
from tsdiag.store.patience import Patience
from tsdiag.store.runs import find_runs

LONGER = ("max_steps = 10", "max_steps = 40")


class Away:
    """A database that cannot be reached for a while."""

    def __init__(self):
        self.refused = 0
        self.is_away = False

    def begin(self, seconds=None):
        self.is_away = True
        if seconds is not None:
            threading.Timer(seconds, self.end).start()

    def end(self):
        self.is_away = False

    def connect(self, *_):
        if self.is_away:
            self.refused += 1
            raise sqlite3.OperationalError("database is locked")


@pytest.fixture
def away():
    found = Away()
    event.listen(Engine, "do_connect", found.connect)
    yield found
    event.remove(Engine, "do_connect", found.connect)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(patience, "_FIRST", 0.02)
    monkeypatch.setattr(patience, "_LONGEST", 0.1)


def worker(store, seconds, **place):
    patient = replace(store, patience=Patience(seconds))
    return Worker(patient, "tiny", Place(device="cpu", **place), Interruption())


def at_step(monkeypatch, step, do):
    """Do something once, when the first trial has done so many steps."""
    plain, done = Watch.__call__, []

    def call(self, moment):
        if moment.step >= step and self.queue.role == "trial" and not done:
            done.append(moment.step)
            do()
        return plain(self, moment)

    monkeypatch.setattr(Watch, "__call__", call)


def curves(store, number):
    (row,) = find_runs(store, "tiny", role="trial", trial=number)
    trace = load_trace(store, row.id)
    unequal = ("seconds", "throughput")
    return {
        (s.name, s.where): (s.steps, s.values)
        for s in trace.signals
        if not any(word in s.name for word in unequal)
    }


def test_training_goes_on_and_nothing_is_missing(prepared, store, away, monkeypatch, capsys):
    prepared(LONGER, ("trials = 3", "trials = 1"))
    steps = []
    at_step(monkeypatch, 11, lambda: away.begin(1.0))
    plain = Watch.__call__

    def call(self, moment):
        if away.is_away:
            steps.append(moment.step)
        return plain(self, moment)

    monkeypatch.setattr(Watch, "__call__", call)
    worker(store, 60.0).work()
    assert away.refused > 1
    assert steps[-1] - steps[0] > 10, "it did not train meanwhile"
    told = capsys.readouterr().err
    assert "database is locked" in told
    assert "reached again after" in told

    (row,) = find_runs(store, "tiny", role="trial")
    assert row.state == "completed"
    assert row.parent is None
    trained = load_trace(store, row.id).signal("train_loss").steps
    assert trained.tolist() == list(range(40))
    assert not leases(store)


def test_it_ends_as_it_would_have_ended(prepared, store, away, monkeypatch, optuna_study):
    exact = ("validation_windows = 64", 'validation_windows = 64\nprecision = "float32"')
    spec, dataset = prepared(LONGER, exact, ("trials = 3", "trials = 1"))
    at_step(monkeypatch, 11, lambda: away.begin(0.7))
    worker(store, 60.0).work()
    assert away.refused > 0
    (disturbed,) = optuna_study().trials
    # The same configuration again, without an outage.
    optuna_study().enqueue_trial(disturbed.params)
    register(store, open_storage(store), spec.with_search(trials=2), dataset)
    worker(store, 0.0).work()
    again = optuna_study().trials[1]
    assert again.params == disturbed.params
    assert again.state == disturbed.state
    assert again.intermediate_values == disturbed.intermediate_values
    ours, theirs = curves(store, 0), curves(store, 1)
    assert ours.keys() == theirs.keys()
    for name, (steps, values) in ours.items():
        assert np.array_equal(steps, theirs[name][0]), name
        assert np.array_equal(values, theirs[name][1], equal_nan=True), name


def test_after_patience_the_worker_ends_and_another_goes_on(
    prepared, store, away, monkeypatch, work, optuna_study
):
    prepared(LONGER, ("trials = 3", "trials = 1"))
    at_step(monkeypatch, 11, away.begin)
    with pytest.raises(Unreachable, match="database is locked"):
        worker(store, 0.3).work()
    away.end()
    (row,) = find_runs(store, "tiny", role="trial")
    assert row.state == "running"
    for lease in leases(store):  # as when it has run out
        release(store, lease.key, lease.owner)
    work()
    states = [row.state for row in find_runs(store, "tiny", role="trial")]
    assert states == ["interrupted", "completed"]
    assert [t.state for t in optuna_study().trials] == [TrialState.FAIL, TrialState.COMPLETE]


def test_a_full_disk_stops_no_training_and_weights_wait_for_room(
    prepared, store, monkeypatch, capsys
):
    prepared(LONGER, ("trials = 3", "trials = 1"))
    monkeypatch.setattr(execute, "CHECKPOINT_EVERY", 0.0)
    plain, full = artifacts.AtomicFolder.write, []

    def write(self, name, content):
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(self, name, content)

    monkeypatch.setattr(artifacts.AtomicFolder, "write", write)

    def fill():
        full.append(True)
        threading.Timer(1.0, full.clear).start()

    at_step(monkeypatch, 11, fill)
    worker(store, 60.0).work()
    told = capsys.readouterr().err
    assert "No space left on device" in told
    # Once, and not at each step that wanted to save.
    assert told.count("training goes on from the checkpoint before") == 1
    (row,) = find_runs(store, "tiny", role="trial")
    assert (row.state, row.parent) == ("completed", None)
    assert row.weights is not None
    # Nothing is left of the checkpoints.
    files = {file.name for file in (artifacts.artifact_store(store).folder).iterdir()}
    assert not {name for name in files if name.endswith(".checkpoint")}


def test_without_patience_an_outage_is_an_error_at_once(store, away):
    away.begin()
    began = time.monotonic()
    with pytest.raises(StoreError, match="database is locked"):
        find_runs(store, "tiny")
    assert time.monotonic() - began < 1
    assert away.refused == 1


def test_a_study_is_created_once_the_database_is_back(write_study, store, away):
    spec = read_spec(write_study())
    patient = replace(store, patience=Patience(60.0))
    opened = open_storage(patient)
    away.begin(0.3)
    queue = open_queue(patient, opened, spec, "trial", 0)
    assert away.refused > 0
    assert queue.study.study_name == "tiny"


def test_a_study_that_was_created_without_an_answer_is_joined(write_study, store, monkeypatch):
    spec = read_spec(write_study())
    patient = replace(store, patience=Patience(60.0))
    opened = open_storage(patient)
    dialect, lost = opened.engine.dialect, []

    def commit(connection):
        type(dialect).do_commit(dialect, connection)
        if not lost:
            lost.append(connection)
            raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(dialect, "do_commit", commit)
    queue = open_queue(patient, opened, spec, "trial", 0)
    assert lost
    assert [study.study_name for study in optuna.get_all_study_summaries(opened)] == ["tiny"]
    assert queue.study.study_name == "tiny"


def optuna_reads_trials():
    """Fail as Optuna does: it reads once more, on what is left of the transaction."""
    try:
        try:
            raise OperationalError("SELECT", {}, sqlite3.OperationalError("database is locked"))
        except OperationalError:
            raise PendingRollbackError("Can't reconnect until it is rolled back.")  # noqa: B904
    except PendingRollbackError as error:
        told = optuna.exceptions.StorageInternalError("An exception is raised during the commit.")
        raise told from error


def test_a_connection_lost_while_trials_are_read_is_an_outage():
    with pytest.raises(Unreachable), storage._unreachable("here"):
        optuna_reads_trials()


@pytest.mark.parametrize("role", ["trial", "final"])
def test_a_folder_that_cannot_be_written_ends_the_worker_and_no_run(
    prepared, store, work, monkeypatch, role
):
    prepared(("trials = 3", "trials = 1"))
    plain = artifacts.AtomicFolder.write

    def write(self, name, content):
        if any(row.role == role for row in find_runs(store, "tiny")):
            raise OSError(errno.EROFS, "Read-only file system")
        plain(self, name, content)

    with monkeypatch.context() as broken:
        broken.setattr(artifacts.AtomicFolder, "write", write)
        ours = worker(store, 60.0)
        with pytest.raises(StoreError, match="Read-only"):
            ours.work()
    (row,) = find_runs(store, "tiny", role=role)
    assert row.state == "interrupted"
    for lease in leases(store):  # as when the process is gone
        release(store, lease.key, lease.owner)
    work()
    states = [row.state for row in find_runs(store, "tiny", role=role)]
    assert "failed" not in states
    assert states[-1] == "completed"


def test_a_full_disk_for_longer_than_a_lease_costs_nobody_the_trial(prepared, store, monkeypatch):
    prepared(("trials = 3", "trials = 1"))
    monkeypatch.setattr(queue, "LEASE", 2.0)
    monkeypatch.setattr(watch, "_RENEW_EVERY", 0.2)
    plain, began = artifacts.AtomicFolder.write, []

    def write(self, name, content):
        if name.endswith(".safetensors"):
            began.append(time.monotonic())
            if began[-1] < began[0] + 5:
                raise OSError(errno.ENOSPC, "No space left on device")
        plain(self, name, content)

    monkeypatch.setattr(artifacts.AtomicFolder, "write", write)
    thread = threading.Thread(target=worker(store, 60.0).work)
    thread.start()
    while not began:
        time.sleep(0.05)
    while time.monotonic() < began[0] + 4:
        assert [lease.live for lease in leases(store, "tiny/lstm/trial/")] == [True]
        time.sleep(0.2)
    thread.join()
    assert {row.state for row in find_runs(store, "tiny")} == {"completed"}


def test_after_an_outage_the_living_may_renew_what_ran_out(store, away, monkeypatch):
    assert claim(store, "tiny/final/x/1", "elsewhere:boot:1:1", 0.2)
    time.sleep(0.3)
    back = replace(store, patience=Patience(60.0))
    away.begin(0.3)
    assert [lease.live for lease in leases(back)] == [True]
    assert not claim(back, "tiny/final/x/1", "another:boot:1:1", 60.0)
    monkeypatch.setattr(patience, "_SETTLING", 0.0)
    assert claim(back, "tiny/final/x/1", "another:boot:1:1", 60.0)
