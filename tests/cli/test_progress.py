"""What a waiting person sees: plain lines where there is no terminal, not too many of them."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tsdiag.cli import progress
from tsdiag.cli.progress import Progress

SNAPSHOTS = [{"runs": 1}, {"runs": 2}, {"runs": 3}]


def lines(snapshot):
    return [("runs", f"{snapshot['runs']} of [bold]3[/bold]"), ("time", "1 s gone")]


@pytest.fixture
def at(monkeypatch):
    """Set the clock that says when the next plain line is due."""
    return lambda now: monkeypatch.setattr(progress.time, "monotonic", lambda: now)


def test_plain_lines_come_every_ten_seconds_as_they_are(at, capsys):
    with Progress(lines) as show:
        for snapshot, now in zip(SNAPSHOTS, (100.0, 109.0, 110.0), strict=True):
            at(now)
            show(snapshot)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "runs 1 of [bold]3[/bold]; time 1 s gone",
        "runs 3 of [bold]3[/bold]; time 1 s gone",
    ]


def test_on_a_terminal_every_snapshot_is_shown(monkeypatch):
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=60)
    monkeypatch.setattr(progress, "Console", lambda **_: terminal)
    with Progress(lines) as show:
        for snapshot in SNAPSHOTS:
            show(snapshot)
    assert all(f"{number} of [bold]3[/bold]" in screen.getvalue() for number in (1, 2, 3))
