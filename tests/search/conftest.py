"""A study so small that a trial of it takes a tenth of a second."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import warnings

import pytest

TINY = """
[study]
name = "tiny"
[data]
generate = { kind = "macd", rows = 900, channels = 10 }
target = "level"
transform = "difference"
context_length = 32
[space]
"model.d_model" = 8
"model.n_layers" = 1
"model.n_heads" = [1, 2]
"model.head_dim" = 4
"model.ff_dim" = 16
"model.embedding" = "patch"
"model.patch_length" = 8
[training]
batch_size = 16
max_steps = 10
evaluate_every = 5
validation_windows = 64
[search]
trials = 3
final_seeds = 2
"""


@pytest.fixture(autouse=True, scope="session")
def _quiet_optuna():
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture(autouse=True)
def _no_experimental_warnings():
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


@pytest.fixture(autouse=True)
def _one_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def write_study(tmp_path):
    """Write a study file: the tiny one, with changes as pairs of old and new text."""

    def write(*changes, text=TINY):
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        file = tmp_path / "study.toml"
        file.write_text(text)
        return file

    return write


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """Return a database with all tables, which takes a second to make and none to copy."""
    from tsdiag.search.storage import open_storage
    from tsdiag.store.database import open_store

    file = tmp_path_factory.mktemp("empty") / "tsdiag.db"
    open_storage(open_store(f"sqlite:///{file}"))
    return file


@pytest.fixture
def store(tmp_path, empty_database):
    from tsdiag.store.database import open_store

    shutil.copy(empty_database, tmp_path / "tsdiag.db")
    return open_store(f"sqlite:///{tmp_path}/tsdiag.db")


@pytest.fixture
def prepared(write_study, store):
    """Register a study and return its specification and data."""
    from tsdiag.search.conduct import prepare
    from tsdiag.search.spec import read_spec

    def make(*changes):
        spec = read_spec(write_study(*changes))
        return spec, prepare(store, spec)

    return make


@pytest.fixture
def work(store):
    """Be a study's only worker, in this process, until nothing is left to do."""
    from tsdiag.search.interruption import Interruption
    from tsdiag.search.worker import Place, Worker

    def run(name="tiny", interruption=None, show=lambda _: None, **place):
        interruption = Interruption() if interruption is None else interruption
        worker = Worker(store, name, Place(device="cpu", **place), interruption, show)
        worker.work()
        return worker

    return run


@pytest.fixture
def optuna_study(store):
    import optuna

    def load(name="tiny"):
        return optuna.load_study(study_name=name, storage=store.full_url)

    return load


class Command:
    """A tsdiag command in a process and a process group of its own."""

    def __init__(self, folder, *arguments, **environment):
        self.folder = folder
        self.log = (folder / f"log-{time.monotonic_ns()}").open("wb+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tsdiag", *arguments],
            cwd=folder,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        )

    @property
    def text(self):
        with open(self.log.name, "rb") as file:
            return file.read().decode()

    def workers(self):
        """Return the process numbers of the workers that a search has started."""
        import psutil

        def is_worker(child):
            try:
                return "worker" in child.cmdline()
            except psutil.NoSuchProcess:  # ended meanwhile: its siblings still count
                return False

        try:
            children = psutil.Process(self.process.pid).children()
        except psutil.NoSuchProcess:
            return []
        return [child.pid for child in children if is_worker(child)]

    def kill_all(self):
        for pid in [self.process.pid, *self.workers()]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()

    def wait(self, seconds=90):
        return self.process.wait(seconds)

    def close(self):
        if self.process.poll() is None:
            self.kill_all()
        self.log.close()


@pytest.fixture
def command(tmp_path):
    """Start tsdiag commands that end with the test at the latest."""
    started = []

    def start(*arguments, **environment):
        started.append(Command(tmp_path, *arguments, **environment))
        return started[-1]

    yield start
    for one in started:
        one.close()
