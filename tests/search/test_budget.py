"""A study's time ends for all workers at once, on whichever machine they are."""

import math
import time
from datetime import UTC, datetime

import pytest

from tsdiag.search import budget
from tsdiag.search.budget import join, others_at_work
from tsdiag.search.conduct import conduct
from tsdiag.store.leases import claim
from tsdiag.store.studies import load_study
from tsdiag.uptime import uptime


def test_who_comes_later_has_what_is_left(prepared, store):
    prepared()
    first = join(store, "tiny", 60.0)
    time.sleep(0.2)
    assert join(store, "tiny", 60.0) == pytest.approx(first, abs=0.05)
    assert first == pytest.approx(uptime() + 59.8, abs=0.15)


def test_a_wrong_clock_changes_nothing(prepared, store, monkeypatch):
    prepared()
    join(store, "tiny", 60.0)
    plain = time.time
    monkeypatch.setattr(time, "time", lambda: plain() + 3600)
    assert join(store, "tiny", 60.0) - uptime() == pytest.approx(60.0, abs=0.5)


def test_a_person_s_search_begins_it_anew_unless_others_are_at_work(prepared, store, capsys):
    spec, dataset = prepared(("trials = 3", "trials = 1"))
    join(store, "tiny", 0.0)
    # Its time is over, and nobody is there: a search has all of its own.
    spec = spec.with_search(timeout="50s")
    conduct(store, spec, dataset, workers=1, device="cpu")
    assert "shares their time" not in capsys.readouterr().err
    until = load_study(store, "tiny").attributes[budget.UNTIL]

    assert claim(store, "tiny/trial/9", "elsewhere:boot:1:1", 60.0)
    assert others_at_work(store, "tiny") == 1
    conduct(store, spec, dataset, workers=1, device="cpu")
    assert load_study(store, "tiny").attributes[budget.UNTIL] == until
    assert "1 at work on tiny already: this search shares their time" in capsys.readouterr().err


def test_without_a_limit_there_is_none(prepared, store):
    prepared()
    assert math.isinf(join(store, "tiny", None))
    assert budget.UNTIL not in load_study(store, "tiny").attributes


def test_a_worker_after_the_end_says_so(command, prepared, store):
    prepared(("trials = 3", 'trials = 3\ntimeout = "30s"'))
    join(store, "tiny", 0.0)
    late = command("worker", "tiny", "--device", "cpu")
    assert late.wait() == 0
    assert "the time of study tiny has been over for" in late.text


def test_a_search_beside_the_last_runs_of_one_whose_time_is_over_has_its_own(prepared, store):
    spec, dataset = prepared(("trials = 3", "trials = 1"))
    join(store, "tiny", 0.0)
    assert claim(store, "tiny/final/baseline 0/1", "elsewhere:boot:1:1", 5.0)
    began = datetime.now(UTC)
    conduct(store, spec.with_search(timeout="50s"), dataset, workers=1, device="cpu")
    until = datetime.fromisoformat(load_study(store, "tiny").attributes[budget.UNTIL])
    assert (until - began).total_seconds() == pytest.approx(50.0, abs=5.0)
