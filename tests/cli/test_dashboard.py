"""The dashboard serves the studies of the storage, and goes when it is asked to."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from tsdiag.cli.main import app
from tsdiag.search.storage import open_storage
from tsdiag.store.database import open_store


@pytest.fixture
def empty(tmp_path):
    url = f"sqlite:///{tmp_path}/studies.db"
    open_store(url)
    return url


@pytest.fixture
def url(empty):
    from optuna.study import StudyDirection

    storage = open_storage(open_store(empty))
    storage.create_new_study([StudyDirection.MINIMIZE], "wind")
    return empty


@contextmanager
def served(url, folder):
    command = [sys.executable, "-c", "from tsdiag.cli.main import app; app()", "dashboard"]
    process = subprocess.Popen(
        [*command, "--storage", url, "--port", "0"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process, re.search(r"http://\S+", process.stdout.readline()).group()
    finally:
        process.kill()
        process.communicate()


def get(address):
    with urllib.request.urlopen(address, timeout=30) as answer:
        return answer.read()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_shows_the_studies_and_stops_cleanly(url, tmp_path, number):
    with served(url, tmp_path) as (process, address):
        found = json.loads(get(f"{address}api/studies"))
        assert [study["study_name"] for study in found["study_summaries"]] == ["wind"]
        assert b"<html" in get(f"{address}dashboard").lower()
        process.send_signal(number)
        said = process.communicate(timeout=30)[1]
    assert process.returncode == 0
    assert said == "dashboard stopped\n"


def test_a_port_in_use_is_misuse_with_another_one_to_try(url):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        answer = CliRunner().invoke(app, ["dashboard", "--storage", url, "--port", str(port)])
    assert answer.exit_code == 2
    assert f"127.0.0.1:{port}" in answer.stderr
    assert "--port" in answer.stderr


def test_an_unknown_host_is_told(url):
    answer = CliRunner().invoke(app, ["dashboard", "--storage", url, "--host", "203.0.113.7"])
    assert answer.exit_code == 2
    assert "203.0.113.7:8080" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


def test_a_storage_without_studies_is_told(empty):
    answer = CliRunner().invoke(app, ["dashboard", "--storage", empty])
    assert answer.exit_code == 2
    assert "tsdiag search" in answer.stderr


def test_a_mistyped_storage_is_told_and_not_made(tmp_path):
    answer = CliRunner().invoke(app, ["dashboard", "--storage", f"sqlite:///{tmp_path}/wrong.db"])
    assert answer.exit_code == 1
    assert "wrong.db" in answer.stderr
    assert list(tmp_path.iterdir()) == []
