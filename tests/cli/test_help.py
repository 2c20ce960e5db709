"""What every --help says, held as text; TSDIAG_UPDATE_SNAPSHOTS=1 writes it anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tsdiag
from tsdiag.cli.main import COMMANDS, app

SNAPSHOTS = Path(__file__).parents[1] / "snapshots"
UPDATE = os.environ.get("TSDIAG_UPDATE_SNAPSHOTS") == "1"


def run(*words):
    return CliRunner().invoke(app, list(words), prog_name="tsdiag")


@pytest.mark.parametrize("words", [(), *((name,) for name in COMMANDS)], ids="-".join)
def test_help_is_as_recorded(words):
    answer = run(*words, "--help")
    assert answer.exit_code == 0
    file = SNAPSHOTS / f"{'-'.join(('tsdiag', *words))}.txt"
    if UPDATE:
        file.write_text(answer.stdout, encoding="utf-8")
    assert answer.stdout == file.read_text(encoding="utf-8")


def test_no_snapshot_is_left_of_a_command_that_is_gone():
    expected = {"tsdiag.txt", *(f"tsdiag-{name}.txt" for name in COMMANDS)}
    assert {file.name for file in SNAPSHOTS.glob("tsdiag*.txt")} == expected


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_terminal_and_explains_every_option(name):
    lines = run(name, "--help").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    options = lines[lines.index("Options:") + 1 :]
    # An option without words stands alone, and the next line begins another one.
    alone = [
        line
        for line, after in zip(options, [*options[1:], "  --end"], strict=True)
        if line.startswith("  -") and "  " not in line.strip() and after.startswith("  -")
    ]
    assert alone == []


def test_version():
    assert run("--version").stdout == f"tsdiag {tsdiag.__version__}\n"


def test_mistyped_command_is_misuse_with_the_closest_one():
    answer = run("dashbord")
    assert answer.exit_code == 2
    assert "dashboard" in answer.stderr
