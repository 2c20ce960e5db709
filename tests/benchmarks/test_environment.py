"""What a benchmark says that it ran on, and with which words."""

from __future__ import annotations

import importlib.util
import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "measuring" / "environment.py"


@pytest.fixture
def environment():
    specification = importlib.util.spec_from_file_location("measuring_environment", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "words",
    [
        ["--url", "postgresql://me:s3cret@host:5432/rows"],
        ["--url=mysql://me:my 's3cret'@host/rows", "--json", "me@rows.json"],
        ["--server", "mysql://host/rows?user=me&password=s3cret"],
    ],
)
def test_the_command_is_told_without_passwords(words, environment, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run.py", *words, "--short"])
    told = io.StringIO()
    environment.show_environment(Console(file=told, width=200))
    command = told.getvalue().splitlines()[-1]
    assert command.startswith("command     python run.py --")
    assert command.endswith(" --short")
    assert "s3cret" not in command
    assert "host" in command
