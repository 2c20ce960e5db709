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
from inspect import signature
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from tsdiag.cli.dashboard import dashboard
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
        listening = [c.laddr for c in psutil.Process(process.pid).net_connections() if not c.raddr]
        assert {(where.ip, address) for where in listening} == {
            ("127.0.0.1", f"http://127.0.0.1:{listening[0].port}/")
        }
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


def test_the_proxy_that_is_shown_asks_for_a_password_and_finds_the_dashboard():
    text = (Path(__file__).parents[2] / "deploy" / "README.md").read_text()
    nginx = text.partition("```nginx\n")[2].partition("```")[0]
    place = nginx.partition("location / {")[2]
    options = {name: option.default for name, option in signature(dashboard).parameters.items()}
    found = re.search(r"proxy_pass\s+http://(.+):(\d+);", place)
    assert found.groups() == (options["host"], str(options["port"]))
    assert re.search(r'auth_basic\s+"tsdiag";', place)
    assert re.search(r"auth_basic_user_file\s+\S+;", place)
    assert nginx.count("{") == nginx.count("}")
    caddy = text.partition("tsdiag.example.org {")[2]
    assert caddy.index("basic_auth") < caddy.index(
        f"reverse_proxy {options['host']}:{options['port']}"
    )
