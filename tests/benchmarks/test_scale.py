"""The short forms of benchmarks/scale: what they measure is there, and nothing failed meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import SERVERS

SCALE = Path(__file__).parents[2] / "benchmarks" / "scale"


def run(script, *arguments):
    command = [sys.executable, str(SCALE / script), "--short", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def lines(told):
    """Return the cells of all lines of tables, without their headers."""
    return [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in told.splitlines()
        if line.startswith("│")
    ]


def cells(told):
    return {name: rest for name, *rest in lines(told)}


@pytest.mark.parametrize("kind", SERVERS)
def test_the_load_of_two_simulated_workers_is_counted(kind, tmp_path):
    if not os.environ.get(SERVERS[kind]):
        pytest.skip(f"{SERVERS[kind]} is not set")
    file = tmp_path / "rows.json"
    run("load.py", "--server", os.environ[SERVERS[kind]], "--json", str(file))
    rows = {row["what"]: row for row in json.loads(file.read_text())}
    assert set(rows) == {"working", "starting", "stopping", "waiting"}
    assert all(row["failures"] == 0 for row in rows.values())
    assert [rows[what]["ended"] for what in ("working", "starting", "waiting")] == [0, 0, 0]
    assert rows["stopping"]["ended"] == 2
    working = rows["working"]
    assert working["counts"]["drawing"]["statements"] > 0
    assert working["counts"]["evaluating"]["calls"] > 0
    assert 1 <= working["most_open"] <= 4  # never two connections of one engine at once
    assert working["server"]["committed"] > 0


def test_workers_that_never_sleep_are_as_many_as_the_server_holds(tmp_path):
    url = os.environ.get(SERVERS["postgresql"])
    if not url:
        pytest.skip(f"{SERVERS['postgresql']} is not set")
    file = tmp_path / "rows.json"
    kept = ("--connections", "worker")
    told = run("load.py", "--saturate", *kept, "--server", url, "--json", str(file))
    rows = json.loads(file.read_text())
    assert [row["workers"] for row in rows] == [1, 2]
    assert all(row["failures"] == row["ended"] == 0 for row in rows)
    shown = cells(told)
    for row in rows:
        committed = row["server"]["committed"] / row["window"]
        assert committed > 0
        assert float(shown[f"{row['workers']}"][2]) == pytest.approx(committed, abs=1)


def test_two_real_workers_are_timed_against_one():
    told = run("speedup.py", "--engines", "sqlite", "--workers", "1", "2")
    *_, (_, workers, *_, sooner, _) = lines(told)
    assert workers == "2"
    assert float(sooner) > 0  # how much sooner depends on what else the machine is at


def test_the_life_of_a_trial_reads_no_more_among_more_trials():
    grown = cells(run("growth.py"))
    # The first trial of a process reads all that have ended.
    life = [name for name in grown if name.startswith("trial: ") and "first one" not in name]
    assert len(life) == 8
    for name in life:
        first, last = (int(count.replace(",", "")) for count in grown[name][2].split(" / "))
        assert last <= 1.2 * first + 10, name
