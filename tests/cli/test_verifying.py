"""What a waiting person sees of a verification."""

from __future__ import annotations

import pytest

from tsdiag.cli.verifying import stage_lines
from tsdiag.search.verification import STOPPING, TIMED, UNCHOSEN, Stage
from tsdiag.uptime import uptime


@pytest.mark.parametrize(
    ("steps", "wave", "left", "now", "runs"),
    [
        (None, TIMED, 12, "timing a step of each set: 12 to go", "7 so far"),
        (None, "screening", 3, "screening: 3 to go", "7 so far"),
        (150, "confirmation", 1, "confirmation: 1 to go", "7 so far, 150 steps each in the"),
        (150, STOPPING, 0, "stopping; what has ended is kept", "7 so far, 150 steps"),
        (150, "", 0, "done", "7 so far, 150 steps"),
    ],
)
def test_what_is_under_way_is_told(steps, wave, left, now, runs):
    began = uptime()
    found = dict(stage_lines(Stage(steps, wave, left, 7, UNCHOSEN, began, began + 60, 2)))
    assert found["now"] == now
    assert found["runs"].startswith(runs)
    assert found["so far"] == UNCHOSEN
    assert "gone" in found["time"]
