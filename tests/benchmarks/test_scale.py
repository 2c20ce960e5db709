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


def test_two_real_workers_share_a_study_of_sleeping_trials():
    told = run("speedup.py", "--engines", "sqlite", "--workers", "2")
    assert "times sooner" in told
