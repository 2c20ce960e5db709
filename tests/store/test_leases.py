from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace

import pytest
from sqlalchemy import Engine, event

from tests.servers import lost
from tsdiag.errors import StoreError
from tsdiag.store import patience
from tsdiag.store.leases import claim, held, holder, leases, release, renew
from tsdiag.store.owners import is_gone, owner
from tsdiag.store.patience import Patience

OTHER = "elsewhere:some-boot:17:23"


def tell(process) -> str:
    process.stdin.write("go\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def test_of_four_processes_one_wins(store, url, start):
    processes = [start("claim", url, "trial/7", "60") for _ in range(4)]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.stdout.readline().strip() for process in processes]
    assert sorted(said) == ["lost", "lost", "lost", "won"]
    winner = processes[said.index("won")]
    assert holder(store, "trial/7").owner.split(":")[2] == str(winner.pid)


def test_a_killed_holder_is_followed_at_once_and_a_live_one_is_not(store, url, start):
    process = start("claim", url, "trial/7", "600")
    assert tell(process) == "won"
    assert not claim(store, "trial/7", owner(), 60)
    # The parent has not looked at the dead child, so that it is a zombie here.
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert holder(store, "trial/7") is None
    assert claim(store, "trial/7", owner(), 60)
    assert holder(store, "trial/7").owner == owner()


def test_an_expired_lease_is_taken_and_its_old_holder_is_told(store):
    assert claim(store, "trial/7", OTHER, 60)
    assert not claim(store, "trial/7", owner(), 60)
    assert renew(store, "trial/7", OTHER, 0.05)
    time.sleep(0.06)
    assert claim(store, "trial/7", owner(), 60)
    assert not renew(store, "trial/7", OTHER, 60)
    assert not release(store, "trial/7", OTHER)
    assert holder(store, "trial/7").owner == owner()


def test_renewing_puts_the_end_off(store):
    assert claim(store, "trial/7", OTHER, -1)
    assert renew(store, "trial/7", OTHER, 60)
    assert not claim(store, "trial/7", owner(), 60)


def test_the_same_owner_may_claim_again_and_give_back(store):
    assert claim(store, "trial/7", owner(), 60)
    assert claim(store, "trial/7", owner(), 60)
    assert release(store, "trial/7", owner())
    assert holder(store, "trial/7") is None
    assert claim(store, "trial/7", OTHER, 60)


def test_a_lease_is_waited_for_and_given_back(store):
    assert claim(store, "set-up", OTHER, 0.1)
    with held(store, "set-up", owner(), seconds=5):
        assert holder(store, "set-up").owner == owner()
    assert holder(store, "set-up") is None
    assert claim(store, "set-up", OTHER, 60)
    with (
        pytest.raises(StoreError, match=f'cannot take the lease "set-up" .*{OTHER}.* end that one'),
        held(store, "set-up", owner(), seconds=0.02),
    ):
        pass


def test_where_others_take_turns_it_is_waited_for_as_long_as_they_do(store):
    assert claim(store, "set-up", OTHER, 60)

    def take_turns():
        for turn in range(15):
            time.sleep(0.1)
            assert claim(store, "set-up", OTHER, 60), turn
        release(store, "set-up", OTHER)

    others = threading.Thread(target=take_turns)
    others.start()
    with held(store, "set-up", owner(), seconds=0.2):  # 0.6 s of one turn are too many
        assert holder(store, "set-up") is None or holder(store, "set-up").owner == owner()
    others.join()


@pytest.fixture
def away(monkeypatch):
    """Refuse connections until a time that is set."""
    monkeypatch.setattr(patience, "_FIRST", 0.02)
    monkeypatch.setattr(patience, "_LONGEST", 0.05)
    until = [0.0]

    def refuse(dialect, *_):
        if time.monotonic() < until[0]:
            raise lost(dialect)

    event.listen(Engine, "do_connect", refuse)
    yield until
    event.remove(Engine, "do_connect", refuse)


def test_an_outage_is_not_the_holder_s_time(store, away):
    assert claim(store, "set-up", OTHER, 1.5)
    patient = replace(store, patience=Patience(60.0))
    away[0] = time.monotonic() + 1.0
    with held(patient, "set-up", owner(), seconds=0.3):
        assert time.monotonic() > away[0]


def test_leases_are_listed_by_prefix_with_the_dead_ones(store):
    for key, seconds in (("a_b/1", 60), ("a_b/2", -1), ("axb/1", 60), ("A_B/1", 60)):
        assert claim(store, key, OTHER, seconds)
    assert [(lease.key, lease.live) for lease in leases(store, "a_b/")] == [
        ("a_b/1", True),
        ("a_b/2", False),
    ]
    assert len(leases(store)) == 4


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        ({}, False),
        ({"pid": "999999999"}, True),
        ({"start": "1"}, True),  # the number was given to a younger process
        ({"start": ""}, False),  # an unknown start proves nothing
        ({"host": "elsewhere", "pid": "999999999"}, False),
        ({"boot": "another", "pid": "999999999"}, False),
        ({"pid": "1", "start": ""}, False),
        ({"pid": "not a number"}, False),
    ],
)
def test_who_is_gone(change, gone):
    parts = dict(zip(("host", "boot", "pid", "start"), owner().split(":"), strict=True))
    assert is_gone(":".join({**parts, **change}.values())) is gone


def test_another_program_s_words_for_an_owner_are_no_reason_to_take_over():
    assert not is_gone("somebody")
