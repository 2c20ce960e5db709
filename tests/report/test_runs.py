"""A run in one line."""

from __future__ import annotations

import pytest

from tsdiag.report.runs import run_line
from tsdiag.store.runs import RunRow

DONE = {"state": "completed", "validation_loss": 0.417, "step": 800, "seconds": 13.0}


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (
            RunRow("s", "trial", "{}", trial=3, **DONE),
            "trial 3: completed, validation loss 0.4170, 800 steps in 13 s",
        ),
        (
            RunRow("s", "final", "{}", label="trial 3", seed=1002, **DONE),
            "final run of trial 3, seed 1002: completed, validation loss 0.4170, 800 steps in 13 s",
        ),
        (
            RunRow("s", "trial", "{}", trial=4, state="infeasible", reason="24 GiB\x1b[2J"),
            "trial 4: infeasible (24 GiB?[2J)",
        ),
    ],
)
def test_a_line_has_what_came_of_a_run_and_why(row, line):
    assert run_line(row) == line
