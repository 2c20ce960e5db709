"""A short storm over a whole study on each real server: nothing lost, doubled, stuck or changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import SERVERS

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "chaos" / "run.py"


@pytest.mark.parametrize("kind", SERVERS)
def test_a_study_comes_through_a_short_storm(kind):
    url = os.environ.get(SERVERS[kind])
    if not url:
        pytest.skip(f"{SERVERS[kind]} is not set")
    # Behind a proxy: the server is that of other tests, too.
    command = [sys.executable, SCRIPT, "--short", "--url", url]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert found.returncode == 0, found.stdout + found.stderr
