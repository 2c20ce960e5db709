"""Windows of time in which simulated workers load a database: training, waiting, starting."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import ForkProcess
from pathlib import Path

import psutil
from simulation.counting import FIELDS, PHASES, Counts, Ledger, named
from simulation.crews import Crew, cpu_seconds, stop
from simulation.measured import Measured
from simulation.recording import Recording
from simulation.replay import Pace
from simulation.servers import Server, Usage
from sqlalchemy import URL

from tsdiag.search.conduct import prepare
from tsdiag.search.spec import StudySpec
from tsdiag.store.database import open_store
from tsdiag.store.runs import WHOLE, find_runs

# No trial is made shorter by more: what comes by the clock would come too often beside the rest.
MOST_SPEED = 20.0
START_WITHIN = 180.0  # [s] for all workers to have their first trial
# Of a trial that does not end in the window: asked this often whether to stop [s].
_STEP = 1.5


@dataclass(frozen=True)
class Load:
    """Whose load a column is."""

    workers: int
    pace: Pace
    connections: str


@dataclass(frozen=True)
class Bench:
    """What all columns have in common."""

    server: Server
    filled: str  # the database of a study in which some trials are done
    spec: StudySpec
    recording: Recording
    options: argparse.Namespace
    folder: Path

    def crew(self, url: URL, load: Load, spread: float) -> Crew:
        """Return the workers of a column on a database."""
        return Crew(
            url=url.render_as_string(hide_password=False),
            study=self.spec.name,
            workers=load.workers,
            recording=self.recording,
            pace=load.pace,
            connections=load.connections,
            spread=spread,
        )

    def load(self, workers: int, minutes: float, connections: str) -> Load:
        """Return workers on trials of a length, sped up as far as the machine may be loaded."""
        seconds = max(60 * minutes / MOST_SPEED, workers / self.options.rate)
        pace = Pace(minutes, 60 * minutes / seconds, self.options.stalled)
        return Load(workers, pace, connections)

    def endless(self, workers: int) -> Load:
        """Return workers whose trials do not end in the window."""
        pace = Pace(self.recording.steps * _STEP / 60)
        return Load(workers, pace, self.options.connections[0])


class Window:
    """What is done between two looks at everything that counts."""

    def __init__(
        self, bench: Bench, database: str, ledger: Ledger, processes: list[ForkProcess]
    ) -> None:
        self._bench, self._database = bench, database
        self._ledger, self._processes = ledger, processes
        ledger.reset_most_open()
        self._began = self._look()

    def _look(self) -> tuple[float, Counts, Usage, float, float]:
        return (
            time.monotonic(),
            self._ledger.total().copy(),
            self._bench.server.usage(self._database),
            cpu_seconds(self._processes),
            psutil.net_io_counters(pernic=True)["lo"].bytes_sent,
        )

    def close(self, what: str, load: Load) -> Measured:
        """Return what was done since it was opened."""
        (began, counts, usage, client, sent), now = self._began, self._look()
        return Measured(
            what=what,
            workers=load.workers,
            minutes=load.pace.minutes,
            seconds=load.pace.seconds,
            connections=load.connections,
            stalled=load.pace.stalled,
            window=now[0] - began,
            counts=named(now[1] - counts),
            server=now[2].since(usage),
            client_seconds=now[3] - client,
            network_bytes=now[4] - sent,
            most_open=self._ledger.most_open,
            failures=_failed_trials(self._bench.folder),
            ended=sum(not process.is_alive() for process in self._processes),
        )


def working(bench: Bench, load: Load) -> Measured:
    """Measure a steady state of workers that train."""
    each = load.pace.seconds
    with _database(bench) as url, _logs(bench.folder):
        ledger = Ledger(load.workers)
        with bench.crew(url, load, each).at_work(ledger, bench.folder) as crew:
            time.sleep(1.2 * each + 1)
            window = Window(bench, url.database or "", ledger, crew)
            before = {phase: _calls(ledger, phase).sum() for phase in ("drawing", "evaluating")}
            time.sleep(max(1.0, bench.options.trials / load.workers) * each)
            # A machine that is busy with other things may have come to neither yet.
            _until(lambda: all(_calls(ledger, phase).sum() > n for phase, n in before.items()))
            return window.close("working", load)


def unthrottled(bench: Bench, load: Load, seconds: float) -> Measured:
    """Measure workers that do not sleep, once each of them has a trial."""
    with _database(bench) as url, _logs(bench.folder):
        ledger = Ledger(load.workers)
        with bench.crew(url, load, 0.0).at_work(ledger, bench.folder) as crew:
            _until_all(ledger, load.workers, "drawing")
            window = Window(bench, url.database or "", ledger, crew)
            time.sleep(seconds)
            return window.close("never asleep", load)


def waiting(bench: Bench, workers: int, seconds: float) -> Measured:
    """Measure workers of which one trains the last trial, while the others wait for it."""
    load = bench.endless(workers)
    with _database(bench) as url, _one_trial_left(bench, url), _logs(bench.folder):
        ledger = Ledger(workers)
        with bench.crew(url, load, 0.0).at_work(ledger, bench.folder) as crew:
            _until_all(ledger, workers - 1, "waiting")
            window = Window(bench, url.database or "", ledger, crew)
            time.sleep(seconds)
            return window.close("waiting", load)


def starting_and_stopping(bench: Bench, workers: int) -> list[Measured]:
    """Measure workers that all begin at once, until the last has a trial, and all stop at once."""
    load = bench.endless(workers)
    with _database(bench) as url, _logs(bench.folder):
        ledger = Ledger(workers)
        with bench.crew(url, load, 0.0).at_work(ledger, bench.folder) as crew:
            window = Window(bench, url.database or "", ledger, crew)
            _until_all(ledger, workers, "drawing")
            started = window.close("starting", load)
            window = Window(bench, url.database or "", ledger, crew)
            stop(crew)
            return [started, window.close("stopping", load)]


def _until_all(ledger: Ledger, workers: int, phase: str) -> None:
    """Wait until so many workers have been through a phase, or too long."""
    _until(lambda: (_calls(ledger, phase) > 0).sum() >= workers)


def _calls(ledger: Ledger, phase: str) -> Counts:
    """Return how often each worker has been through a phase."""
    return ledger.counts[:, PHASES.index(phase), FIELDS.index("calls")]


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_WITHIN
    while time.monotonic() < deadline and not is_so():
        time.sleep(0.1)


@contextmanager
def _database(bench: Bench) -> Iterator[URL]:
    """Give a copy of the filled study; where a server cannot copy, the study itself goes on."""
    if bench.server.kind == "postgresql":
        with bench.server.database(bench.filled) as url:
            yield url
    else:
        yield bench.server.url.set(database=bench.filled)


@contextmanager
def _one_trial_left(bench: Bench, url: URL) -> Iterator[None]:
    """Let a study want but one trial more, and then again as many as before."""
    store = open_store(url.render_as_string(hide_password=False))
    done = sum(row.state in WHOLE for row in find_runs(store, bench.spec.name, "trial"))
    prepare(store, bench.spec.with_search(trials=done + 1))
    try:
        yield
    finally:
        prepare(store, bench.spec)


@contextmanager
def _logs(folder: Path) -> Iterator[None]:
    """Leave no log of workers behind; print the first complaint."""
    try:
        yield
    finally:
        logs = sorted(folder.glob("worker-*.log"))
        for complaint in [text for file in logs if (text := file.read_text())][:1]:
            sys.stderr.write(f"a worker said:\n{complaint[-800:]}\n")
        for file in logs:
            file.unlink()


def _failed_trials(folder: Path) -> int:
    return sum(file.read_text().count(" failed: ") for file in folder.glob("worker-*.log"))
