"""Errors become one message on stderr and an exit code that scripts can tell apart."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from tsdiag.cli.failures import reported
from tsdiag.errors import ConfigError, DataError

PRINTS_MUCH = """
import typer
from tsdiag.cli.failures import reported

def lines() -> None:
    for number in range(100_000):
        typer.echo(f"line {number}")

app = typer.Typer()
app.command()(reported(lines))
app()
"""


def run(error, *words):
    def command(count: int = 1) -> None:
        typer.echo(f"result {count}")
        if error is not None:
            raise error

    app = typer.Typer(rich_markup_mode=None)
    app.command()(reported(command))
    return CliRunner().invoke(app, list(words))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("asked; found; do"), 2),
        (DataError("asked; found; do"), 1),
    ],
)
def test_known_errors_are_one_line_without_a_traceback(error, code):
    answer = run(error)
    assert answer.exit_code == code
    assert answer.stderr == "Error: asked; found; do\n"
    assert answer.stdout == "result 1\n"


def test_unknown_errors_name_themselves_and_the_way_to_more():
    answer = run(ZeroDivisionError("division by zero"))
    assert answer.exit_code == 1
    assert answer.stderr.startswith("Error: unexpected ZeroDivisionError: division by zero; ")
    assert "--traceback" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


def test_traceback_only_when_asked_for():
    answer = run(DataError("asked; found; do"), "--traceback")
    assert answer.exit_code == 1
    assert "Traceback (most recent call last)" in answer.stderr
    assert answer.stderr.endswith("Error: asked; found; do\n")


@pytest.mark.parametrize("error", [DataError, ZeroDivisionError])
@pytest.mark.parametrize("words", [[], ["--traceback"]], ids=["plain", "traceback"])
def test_names_in_errors_steer_no_terminal(error, words):
    answer = run(error('column "a\x1b[2J\rb\u202e"'), *words)
    assert 'column "a?[2J?b?"' in answer.stderr
    assert all(char.isprintable() or char == "\n" for char in answer.stderr)


def test_interrupt_ends_quietly_with_the_shells_code():
    answer = run(KeyboardInterrupt())
    assert answer.exit_code == 130
    assert answer.stderr == "interrupted\n"


def test_own_exit_codes_pass():
    assert run(typer.Exit(5)).exit_code == 5


def test_options_of_the_command_stay():
    assert run(None, "--count", "3").stdout == "result 3\n"


def test_a_reader_that_leaves_is_no_fault():
    command = [sys.executable, "-c", PRINTS_MUCH]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"line 0\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
