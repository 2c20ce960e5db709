"""Times in the database are the server's: a worker's clock may be years off."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.fetched import fetched
from tsdiag.diagnostics.findings import Diagnosis, RunScores
from tsdiag.store import clock
from tsdiag.store.clock import read_clock
from tsdiag.store.findings import save_diagnosis, told_of, told_until
from tsdiag.store.interventions import save_plan
from tsdiag.store.runs import RunRow, create_run, get_run, update_run
from tsdiag.store.schema import INTERVENTIONS
from tsdiag.store.studies import save_study


class Slow(datetime):
    """The clock of a machine on which it is the year 2001."""

    @classmethod
    def now(cls, zone=None):
        return datetime(2001, 1, 1, tzinfo=zone)


@pytest.fixture
def skewed(store, monkeypatch):
    """A store of which this process has no idea what time it is."""
    monkeypatch.setattr(clock, "datetime", Slow)
    return store


def test_every_time_is_the_server_s(skewed):
    own = skewed.engine.dialect.name == "sqlite"  # a file has no other clock than its reader's
    run = create_run(skewed, RunRow("a", "trial", "{}", trial=0))
    update_run(skewed, run.id, state="completed")
    scores = RunScores(validation_loss=0.5)
    found = Diagnosis(study="a", trial=0, state="learning", state_reason="", scores=scores)
    save_diagnosis(skewed, run, "transformer", found)
    save_plan(skewed, run, "a plan")
    with skewed.read() as connection:
        planned = connection.scalar(
            INTERVENTIONS.select().with_only_columns(INTERVENTIONS.c.written)
        )
    ended = get_run(skewed, run.id)
    times = [
        *(run.started, run.updated, ended.updated, ended.finished, planned),
        *(told_of(skewed, "a")[run.id].written, save_study(skewed, "a", {}).created),
        read_clock(skewed),
    ]
    wanted = datetime(2001, 1, 1, tzinfo=UTC) if own else datetime.now(UTC)
    assert [abs(found - wanted) < timedelta(minutes=5) for found in times] == [True] * len(times)


def test_a_time_that_is_given_is_kept(skewed):
    at = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    run = create_run(skewed, RunRow("a", "trial", "{}", state="failed", started=at, finished=at))
    assert (run.started, run.finished) == (at, at)
    assert get_run(skewed, run.id) == run


def test_the_server_s_time_takes_no_statement_of_its_own(store):
    with fetched() as found:
        run = create_run(store, RunRow("a", "trial", "{}"))
        update_run(store, run.id, step=1)
    assert [one.split()[0] for one, _ in found.statements if "BEGIN" not in one] == [
        "INSERT",
        "UPDATE",
    ]


def test_what_was_told_too_early_is_found_by_the_same_clock(store):
    scores = RunScores(validation_loss=0.5)
    found = Diagnosis(study="a", trial=0, state="learning", state_reason="", scores=scores)
    rows = [
        create_run(store, RunRow("a", role, "{}", trial=trial))
        for role, trial in (("baseline", 0), ("trial", 1), ("trial", 0), ("final", 0))
    ]
    for row in rows:
        save_diagnosis(store, row, "transformer", found)
    between = read_clock(store)
    later = create_run(store, RunRow("a", "trial", "{}", trial=2, parent=rows[1].id))
    save_diagnosis(store, later, "transformer", found)
    # The second one is continued; trials come before the baseline, as they began.
    assert told_until(store, "a", between, "cut") == [rows[2].id, rows[0].id]
    assert told_until(store, "a", read_clock(store), "cut") == [rows[2].id, later.id, rows[0].id]
    cut = found.model_copy(update={"state_reason": "it was cut short"})
    save_diagnosis(store, later, "transformer", cut)
    assert told_until(store, "a", between, "cut") == [rows[2].id, later.id, rows[0].id]
