"""A worker that is busy when it is asked to end hands its trial over from a thread, in time."""

import os
import signal
import subprocess
import sys
import time

import pytest
from optuna.trial import TrialState

from tsdiag.search.queue import RESUMES
from tsdiag.store.leases import leases
from tsdiag.store.runs import find_runs

# A step that takes a minute, in many calls or in a single one of C, and a final scoring that does.
BUSY = """
import hashlib, sys, time
from tsdiag.{module} import {name}
plain = {name}.{method}

def slow(self, *arguments, **options):
    found = plain(self, *arguments, **options)
    if {condition}:
        print("busy", flush=True)
        {wait}
    return found

{name}.{method} = slow
from tsdiag.cli.main import app
sys.argv = ["tsdiag", "worker", "tiny", "--device", "cpu"]
app()
"""
SLEEP = "time.sleep(60)"
STEP = {
    "wait": SLEEP,
    "module": "training.loop",
    "name": "Training",
    "method": "_step",
    "condition": "self.progress.step == 25 and self.config.model.kind == 'transformer'",
}
CALL = STEP | {"wait": 'hashlib.pbkdf2_hmac("sha256", b"", b"", 300_000_000)'}
SCORING = {
    "wait": SLEEP,
    "module": "search.worker",
    "name": "Worker",
    "method": "_scores",
    "condition": "arguments[0].model.kind == 'transformer'",
}


@pytest.mark.parametrize("busy", [STEP, CALL, SCORING], ids=["step", "call", "scoring"])
def test_sigterm_to_a_worker_that_cannot_answer(
    prepared, store, tmp_path, busy, work, optuna_study
):
    prepared(("max_steps = 10", "max_steps = 40"), ("trials = 3", "trials = 1"))
    worker = subprocess.Popen(
        [sys.executable, "-c", BUSY.format(**busy)],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert worker.stdout.readline() == "busy\n"
        began = time.monotonic()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(20) == 0
        assert time.monotonic() - began < 10
    finally:
        worker.kill()
        worker.communicate()
    first, second = optuna_study().trials
    assert (first.state, second.state) == (TrialState.FAIL, TrialState.WAITING)
    assert second.user_attrs[RESUMES] == 0
    assert not leases(store)
    (row,) = find_runs(store, "tiny", role="trial")
    assert (row.state, row.reason) == ("interrupted", "its worker was asked to stop")
    work()
    assert [row.state for row in find_runs(store, "tiny", role="trial")][1:] == ["completed"]
