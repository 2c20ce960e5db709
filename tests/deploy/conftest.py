"""The files that start tsdiag on many machines, read as their programs read them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.servers import new_database

ROOT = Path(__file__).parents[2]
# ${NAME}, ${NAME:-default} or ${NAME:?what to do}.
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")

STUDY = """
[study]
name = "tiny"
[data]
path = "rows.csv"
time = "time"
target = "level"
transform = "difference"
context_length = 16
[space]
"model.d_model" = 8
"model.n_layers" = 1
"model.n_heads" = [1, 2]
"model.head_dim" = 4
"model.ff_dim" = 16
"model.embedding" = "linear"
[training]
batch_size = 16
max_steps = 10
evaluate_every = 5
validation_windows = 32
precision = "float32"
[search]
trials = 3
final_seeds = 1
[[enqueue]]
"model.n_heads" = 2
"""


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def manifests():
    """Every Kubernetes object, by kind."""
    files = sorted((ROOT / "deploy/kubernetes").glob("*.yaml"))
    found = [item for file in files for item in yaml.safe_load_all(file.read_text())]
    assert len({item["kind"] for item in found}) == len(found)
    return {item["kind"]: item for item in found}


def interpolated(value, environment):
    """Return a compose file's value as ``docker compose`` sees it in an environment."""
    if isinstance(value, dict):
        return {key: interpolated(item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolated(item, environment) for item in value]
    if not isinstance(value, str):
        return value

    def replaced(found):
        name, how, word = found.groups()
        if environment.get(name) or how is None:
            return environment.get(name, "")
        if how == "?":
            raise LookupError(f"{name}: {word}")
        return word

    return VARIABLE.sub(replaced, value)


@pytest.fixture(scope="session")
def compose():
    """Return the compose file as it is in an environment; by default with a password alone."""
    tree = yaml.safe_load((ROOT / "docker-compose.yml").read_text())

    def read(**environment):
        return interpolated(tree, environment or {"POSTGRES_PASSWORD": "given"})

    return read


@pytest.fixture
def server():
    """Return the URL of a new PostgreSQL database, dropped after the test."""
    with new_database("postgresql") as url:
        yield url


@pytest.fixture
def study(tmp_path):
    """Return the folder of a study that takes seconds, with its rows."""
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "study.toml").write_text(STUDY)
    rows = ["time,level,other"]
    level = 0.0
    for hour in range(400):
        other = (hour * 37 % 101) / 50 - 1
        level = 0.8 * level + other
        rows.append(f"2024-01-{1 + hour // 24:02d}T{hour % 24:02d}:00,{level:.5f},{other:.5f}")
    (folder / "rows.csv").write_text("\n".join(rows) + "\n")
    return folder


class Process:
    """A command in a process of its own, and what it printed."""

    def __init__(self, words, log, folder, environment):
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                words,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
                start_new_session=True,
            )

    @property
    def text(self):
        return self.log.read_text()

    def wait(self, seconds=120):
        return self.process.wait(seconds)


@pytest.fixture
def start(tmp_path):
    """Start commands that end with the test at the latest, in a folder that is to stay empty."""
    folder, logs = tmp_path / "here", tmp_path / "logs"
    folder.mkdir()
    logs.mkdir()
    started = []

    def begin(*words, **environment):
        log = logs / f"{len(started)}.txt"
        started.append(Process(words, log, folder, {"HOME": str(folder)} | environment))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.wait()
    # In a container nothing but the artifacts and temporary files can be written.
    assert list(folder.iterdir()) == []


@pytest.fixture
def path_with_tsdiag(tmp_path):
    """Return a PATH that finds this environment's tsdiag first."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "tsdiag"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tsdiag "$@"\n')
    command.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture
def registered(study, start, path_with_tsdiag, tmp_path, server):
    """Register the study with some of its values changed; return its workers' environment."""
    environment = {
        "PATH": path_with_tsdiag,
        "TSDIAG_STORAGE": server.set(password=None).render_as_string(),
        "PGPASSWORD": str(server.password or "none asked for"),
        "TSDIAG_ARTIFACTS": str(tmp_path / "artifacts"),
    }

    def register(**changes):
        text = (study / "study.toml").read_text()
        for name, value in changes.items():
            text = re.sub(rf"^{name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
        (study / "study.toml").write_text(text)
        prepared = start("tsdiag", "prepare", str(study), **environment)
        assert prepared.wait() == 0, prepared.text
        return environment

    return register
