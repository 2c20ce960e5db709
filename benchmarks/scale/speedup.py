"""How many times sooner do 8 workers finish a study than one, when its trials sleep?

    python benchmarks/scale/speedup.py [--short] [--engines sqlite postgresql] [--workers 1 8]

Each worker is a process of its own, `tsdiag worker` as anybody starts it, with training replaced by
sleep (see load.py). A study is its trials, one run of the baseline and the final runs. The clock
runs from the start of the first process to the end of the last, so loading torch is in it. *At
best* is what the rounds of runs would take were there nothing but sleep.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from measuring.environment import show_environment
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from simulation.crews import artifacts_in
from simulation.recording import read_recording, record
from simulation.servers import Server, private_server
from simulation.studies import recorded_study, simulated_study

from tsdiag.search.conduct import prepare
from tsdiag.search.spec import StudySpec
from tsdiag.store.database import open_store
from tsdiag.store.runs import WHOLE, RunRow, find_runs
from tsdiag.store.urls import parse

LAUNCH = Path(__file__).parent / "simulation" / "launch.py"
FINALISTS = 3  # two transformers and the baseline


@dataclass(frozen=True)
class Timed:
    """One study, done by some workers."""

    engine: str
    workers: int
    seconds: float
    first: float  # until the first run began [s]
    trained: float  # sum of what the runs took [s]
    runs: int
    at_best: float  # [s]


def timed(engine: str, url: str, spec: StudySpec, workers: int, file: Path, each: float) -> Timed:
    """Let real processes do a study, and time them."""
    store = open_store(url)
    prepare(store, spec)
    command = [sys.executable, str(LAUNCH), str(file), str(each), "worker", spec.name]
    # By environment: arguments are public, and the URL may hold a password.
    environment = os.environ | {"TSDIAG_STORAGE": url}
    began, clock = time.time(), time.monotonic()
    processes = [
        subprocess.Popen([*command, "--index", str(index), "--device", "cpu"], env=environment)
        for index in range(workers)
    ]
    try:
        codes = [process.wait() for process in processes]
    finally:
        for process in processes:
            process.kill()
    seconds = time.monotonic() - clock
    if any(codes):
        raise SystemExit(f"workers ended with {codes}; see above")
    rows = find_runs(store, spec.name)
    _require_whole(rows, spec)
    first = min(row.started.timestamp() for row in rows if row.started)
    trained = sum(row.seconds for row in rows)
    at_best = _rounds(spec, workers) * each
    return Timed(engine, workers, seconds, first - began, trained, len(rows), at_best)


def _require_whole(rows: list[RunRow], spec: StudySpec) -> None:
    wanted = 1 + spec.search.trials + FINALISTS * spec.search.final_seeds
    whole = sum(row.state in WHOLE for row in rows)
    if whole != wanted:
        raise SystemExit(f"{whole} runs went their whole way, not {wanted}")


def _rounds(spec: StudySpec, workers: int) -> int:
    """Return how many runs lie one after the other: final runs wait for the last trial."""
    searched = math.ceil((1 + spec.search.trials) / workers)
    return searched + math.ceil(FINALISTS * spec.search.final_seeds / workers)


@contextmanager
def _database(engine: str, folder: Path, server: str) -> Iterator[str]:
    if engine == "sqlite":
        with tempfile.TemporaryDirectory(dir=folder) as own:
            yield f"sqlite:///{own}/tsdiag.db"
    elif server:
        with Server(parse(server)).database() as url:
            yield url.render_as_string(hide_password=False)
    else:
        with private_server(engine) as private, private.database() as url:
            yield url.render_as_string(hide_password=False)


def show(console: Console, rows: list[Timed]) -> None:
    table = Table()
    headers = (
        *("engine", "workers", "runs", "study [s]", "first run after [s]", "in runs [s]"),
        *("at best [s]", "times sooner", "at best"),
    )
    for header in headers:
        table.add_column(escape(header), justify="left" if header == "engine" else "right")
    alone = {row.engine: row for row in rows if row.workers == 1}
    for row in rows:
        one = alone.get(row.engine)
        sooner = (
            (f"{one.seconds / row.seconds:.2f}", f"{one.at_best / row.at_best:.2f}") if one else ()
        )
        table.add_row(
            row.engine,
            f"{row.workers}",
            f"{row.runs}",
            f"{row.seconds:.1f}",
            f"{row.first:.1f}",
            f"{row.trained:.1f}",
            f"{row.at_best:.1f}",
            *sooner,
        )
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--engines", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--server", default="", help="URL of a server, else one is started")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0, help="what a run sleeps")
    options = parser.parse_args()
    if options.short:
        options.engines = options.engines[:1]
        options.workers = [min(2, workers) for workers in options.workers]
        options.trials, options.seconds = 5, 2.0
    console, rows = Console(width=120), []
    show_environment(console)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        artifacts_in(folder)
        file = folder / "recorded.db"
        record(recorded_study(options.short), file)
        grid = read_recording(file).evaluations
        every, seeds = grid[1][0] - grid[0][0], 1 if options.short else 5
        spec = simulated_study(grid[-1][0], every, options.trials, seeds)
        for engine in options.engines:
            for workers in options.workers:
                with _database(engine, folder, options.server) as url:
                    rows.append(timed(engine, url, spec, workers, file, options.seconds))
                show(console, rows)


if __name__ == "__main__":
    main()
