"""What ends a run that nobody prunes: a lost lease, the end of the time, or somebody's wish."""

import math

import pytest

from tsdiag.runs.outbox import TakenOver
from tsdiag.search import watch
from tsdiag.search.watch import LeaseWatch
from tsdiag.training.observer import Moment

MOMENT = Moment(None, None, step=3)


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands where the test puts it."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr(watch, "uptime", lambda: Clock.now)
    monkeypatch.setattr(watch.time, "monotonic", lambda: Clock.now)
    return Clock


@pytest.mark.parametrize(
    ("wish", "deadline", "state"),
    [
        (False, math.inf, None),
        (False, 1000.0, None),
        (False, 999.0, "interrupted"),
        (True, math.inf, "interrupted"),
    ],
)
def test_it_pauses_for_two_reasons_alone(clock, wish, deadline, state):
    assert LeaseWatch(lambda: True, wish, deadline)(MOMENT) == state


def test_the_lease_is_renewed_now_and_then_and_not_at_every_step(clock):
    asked = []
    watched = LeaseWatch(lambda: not asked.append(clock.now), False, math.inf)
    for clock.now in (1000.0, 1001.0, 1030.0, 1030.1, 1031.0, 1061.0):
        assert watched(MOMENT) is None
    assert asked == [1000.0, 1030.1, 1061.0]


def test_lost_is_lost_although_the_next_step_comes_at_once(clock):
    watched = LeaseWatch(lambda: False, False, math.inf)
    for _ in range(2):
        with pytest.raises(TakenOver):
            watched(MOMENT)
        with pytest.raises(TakenOver):
            watched.pause()


def test_in_the_last_seconds_a_lost_lease_is_noticed_too(clock):
    with pytest.raises(TakenOver):
        LeaseWatch(lambda: False, False, deadline=0.0)(MOMENT)
