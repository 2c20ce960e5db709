"""The Slurm script: read by the shell, run as an array's task, and stopped as Slurm stops it."""

from __future__ import annotations

import re
import signal
import subprocess

import pytest

from tsdiag.store.database import open_store
from tsdiag.store.leases import leases
from tsdiag.store.runs import find_runs

ENDLESS = {"max_steps": 1_000_000, "evaluate_every": 50}


@pytest.fixture
def script(root):
    return root / "deploy/slurm/worker.sh"


@pytest.fixture
def task(script, registered, start):
    """Register the study with changes, and start a task of the array."""

    def begin(**changes):
        return start(str(script), "tiny", **registered(**changes))

    return begin


def options(script):
    return dict(re.findall(r"^#SBATCH --([\w-]+)=?(\S*)", script.read_text(), re.MULTILINE))


def test_the_shell_can_read_it(script):
    subprocess.run(["bash", "-n", str(script)], check=True, timeout=30)


def test_it_is_an_array_that_is_stopped_ahead_of_its_limit(script):
    asked = options(script)
    assert re.fullmatch(r"0-\d+%\d+", asked["array"])
    assert asked["time"]
    # B: the batch shell, which the worker has replaced; else only job steps get it.
    where, name, seconds = re.fullmatch(r"(B):(TERM)@(\d+)", asked["signal"]).groups()
    assert (where, name) == ("B", "TERM")
    assert int(seconds) > 60  # Slurm may send it up to a minute early, and the worker needs 10 s
    assert re.search(r"^exec tsdiag worker ", script.read_text(), re.MULTILINE)


@pytest.mark.parametrize("missing", ["study", "TSDIAG_STORAGE", "TSDIAG_ARTIFACTS"])
def test_what_is_missing_is_told(script, start, path_with_tsdiag, missing):
    given = {"TSDIAG_STORAGE": "sqlite:///x.db", "TSDIAG_ARTIFACTS": "artifacts"}
    words = [] if missing == "study" else ["tiny"]
    given.pop(missing, None)
    task = start(str(script), *words, PATH=path_with_tsdiag, **given)
    assert task.wait() != 0
    assert ("name the study" if missing == "study" else missing) in task.text


def test_a_task_does_the_study(task, server):
    one = task(trials=1)
    assert one.wait() == 0, one.text
    rows = find_runs(open_store(server.render_as_string(hide_password=False)), "tiny")
    assert {row.state for row in rows} == {"completed"}
    assert {row.role for row in rows} == {"baseline", "trial", "final"}


def test_the_signal_before_the_limit_hands_the_trial_back(task, server, until):
    one = task(**ENDLESS)
    store = open_store(server.render_as_string(hide_password=False))
    until(lambda: any(row.step > 0 for row in find_runs(store, "tiny")), message=one.text)
    # To the batch shell alone, as --signal=B: does.
    one.process.send_signal(signal.SIGTERM)
    assert one.wait(30) == 0, one.text
    (row,) = find_runs(store, "tiny")
    assert row.state == "interrupted"
    assert row.checkpoint is not None
    assert [lease for lease in leases(store) if lease.live] == []
