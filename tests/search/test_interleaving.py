"""No trial is lost and none counts twice, at whichever transaction a worker is stopped for longer
than its leases last, or loses the database, or the answer to a commit; on every database."""

from __future__ import annotations

import functools
import shutil
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta

import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._rdb.models import BaseModel
from optuna.trial import TrialState
from sqlalchemy import Engine, delete, event, update

from tests.servers import lost, new_database
from tsdiag.search.queue import RESUMES
from tsdiag.search.registration import open_queue
from tsdiag.search.spec import read_spec
from tsdiag.search.storage import open_storage
from tsdiag.store import patience
from tsdiag.store.database import Store, open_store
from tsdiag.store.leases import leases
from tsdiag.store.patience import Patience
from tsdiag.store.runs import RunRow, create_run, end_run, find_runs, get_run
from tsdiag.store.schema import LEASES, METADATA

WANTED = 3
# More commits than a worker makes for one trial. Not each on a server, which would take minutes.
MOMENTS = {
    "sqlite": range(1, 30),
    "postgresql": range(1, 30, 5),
    "mysql": range(3, 30, 5),
}
at_each_moment = pytest.mark.parametrize(
    ("store", "moment"),
    [(kind, moment) for kind, moments in MOMENTS.items() for moment in moments],
    indirect=["store"],
)


@pytest.fixture(scope="module")
def served():
    """Of a kind of server, the URL of a database with all tables, made once."""
    with ExitStack() as made:

        @functools.cache
        def find(kind):
            url = made.enter_context(new_database(kind)).render_as_string(False)
            open_storage(open_store(url))
            return url

        yield find


@pytest.fixture
def store(request, tmp_path, empty_database, served):
    if request.param == "sqlite":
        shutil.copy(empty_database, tmp_path / "tsdiag.db")
        return open_store(f"sqlite:///{tmp_path}/tsdiag.db")
    found = open_store(served(request.param))
    with found.write() as connection:
        for table in reversed([*METADATA.sorted_tables, *BaseModel.metadata.sorted_tables]):
            if table.name not in ("tsdiag_schema", "version_info"):
                connection.execute(delete(table))
    return found


@pytest.fixture
def quick(monkeypatch):
    """Wait for milliseconds where patience waits for seconds."""
    monkeypatch.setattr(patience, "_FIRST", 0.001)
    monkeypatch.setattr(patience, "_SETTLING", 0.0)


@pytest.fixture
def commits():
    """Do something right before, or right after, one of the coming commits of any engine."""
    count, plans = [0], {}

    def act(dialect, when):
        do = plans.pop((count[0], when), None)
        if do is not None:
            do(dialect)

    def wrap(dialect):
        plain = dialect.do_commit

        def commit(connection):
            count[0] += 1
            act(dialect, "before")
            plain(connection)
            act(dialect, "after")

        dialect.do_commit = commit
        return plain

    wrapped = {}

    def connected(dialect, *_):
        if dialect not in wrapped:
            wrapped[dialect] = wrap(dialect)

    event.listen(Engine, "do_connect", connected)

    def at(number, when, do):
        count[0] = 0
        plans.clear()
        plans[number, when] = do
        return lambda: not plans  # whether it has happened

    yield at
    event.remove(Engine, "do_connect", connected)
    for dialect, plain in wrapped.items():
        dialect.do_commit = plain


def lose(dialect):
    raise lost(dialect)


def expire(store):
    """Let all leases run out, as while a worker is stopped."""
    with store.engine.connect() as connection, connection.begin():
        past = datetime.now(UTC) - timedelta(seconds=1)
        connection.execute(update(LEASES).values(expires=past))


def carry_out(queue, store):
    """Do one trial as a worker does; None where there is nothing left."""
    trial = queue.claim(WANTED)
    if trial is None:
        return None
    trial.suggest_float("optimizer.lr", 1e-4, 1e-2, log=True)
    facts = {"trial": trial.number, "max_steps": 10}
    row = create_run(queue._store, RunRow("tiny", "trial", "{}", **facts))
    try:
        trial.report(0.5, 10)
    except UpdateFinishedTrialError:  # another has settled it
        end_run(queue._store, row.id, state="interrupted")
        return trial
    ending = {"state": "completed", "step": 10, "validation_loss": 0.5}
    if end_run(queue._store, row.id, **ending):
        queue.finish(trial.number, get_run(queue._store, row.id))
    return trial


@pytest.fixture
def queues(write_study, store, quick):
    """Return two workers' queues of one study, seemingly of two machines."""
    spec, found = read_spec(write_study()), []
    for name in ("here", "there"):
        own = Store(store.url, store.engine, patience=Patience(5.0))
        queue = open_queue(own, open_storage(own), spec, "trial", 0)
        queue._owner = f"{name}:boot:1:1"
        found.append(queue)
    return found


def check(store, queue):
    trials = queue.study.get_trials(deepcopy=False)
    continued = {trial.user_attrs.get(RESUMES) for trial in trials}
    done = [t for t in trials if t.state == TrialState.COMPLETE]
    assert len(done) == WANTED
    # What is continued is done by its successor alone.
    assert not continued & {trial.number for trial in done}
    resumed = [t.user_attrs[RESUMES] for t in done if RESUMES in t.user_attrs]
    assert len(set(resumed)) == len(resumed)
    assert not [t for t in trials if t.state == TrialState.RUNNING]
    assert not leases(store, "tiny/trial/")
    rows = find_runs(store, "tiny", role="trial")
    assert sorted(r.trial for r in rows if r.state == "completed") == [t.number for t in done]
    assert not [row for row in rows if row.state == "running"]


def finish_all(queue, store):
    while carry_out(queue, store) is not None:
        pass


@at_each_moment
def test_stopped_while_another_one_does_it_all(queues, store, commits, moment):
    here, there = queues

    def others_turn(_):
        expire(store)
        finish_all(there, store)

    # After one and before the next: the other one would wait for what is locked in between.
    happened = commits(moment, "after", others_turn)
    # What a worker is told that reports to a trial which another has settled since.
    with suppress(UpdateFinishedTrialError):
        finish_all(here, store)
    assert happened()
    finish_all(here, store)
    check(store, here)


@at_each_moment
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_commit_and_a_lost_answer(queues, store, commits, moment, when):
    here, _ = queues
    happened = commits(moment, when, lose)
    finish_all(here, store)
    assert happened()
    check(store, here)
