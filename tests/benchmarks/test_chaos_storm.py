"""A short storm over a whole study on each real server: nothing lost, doubled, stuck or changed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import SERVERS

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "chaos" / "run.py"

# For the storm, and for it to take down its workers, its database and its disk [s].
LIMIT, TO_LEAVE = 900, 60


def run(command):
    """Return exit code and words of a command; one that takes too long is asked to leave first."""
    pipe, both = subprocess.PIPE, subprocess.STDOUT
    with subprocess.Popen(command, stdout=pipe, stderr=both, text=True) as process:
        try:
            words, _ = process.communicate(timeout=LIMIT)
        except BaseException:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                sys.stderr.write(process.communicate(timeout=TO_LEAVE)[0])
            raise
        finally:
            process.kill()  # if it is there yet
    return process.returncode, words


@pytest.mark.parametrize("kind", SERVERS)
def test_a_study_comes_through_a_short_storm(kind):
    url = os.environ.get(SERVERS[kind])
    if not url:
        pytest.skip(f"{SERVERS[kind]} is not set")
    # Behind a proxy: the server is that of other tests, too.
    command = [sys.executable, SCRIPT, "--short", "--url", url]
    code, words = run(command)
    assert code == 0, words
