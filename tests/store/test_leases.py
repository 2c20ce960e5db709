from __future__ import annotations

import os
import signal
import time

import pytest

from tsdiag.errors import StoreError
from tsdiag.store.leases import claim, held, holder, leases, release, renew
from tsdiag.store.owners import is_gone, owner

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


def test_leases_are_listed_by_prefix_with_the_dead_ones(store):
    for key, seconds in (("a_b/1", 60), ("a_b/2", -1), ("axb/1", 60), ("A_B/1", 60)):
        assert claim(store, key, OTHER, seconds)
    assert [(lease.key, lease.live) for lease in leases(store, "a_b/")] == [
        ("a_b/1", True),
        ("a_b/2", False),
    ]
    assert len(leases(store)) == 4
    assert leases(store, "a_b/")[0].host == "elsewhere"


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
