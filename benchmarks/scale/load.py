"""What do W workers ask of the database, and at how many does it bind?

    python benchmarks/scale/load.py [--short] [--server URL | --engine mysql] [--workers 1 8 25]

Workers are real but for their training, which sleeps and replays one recorded run: 450 curves and
9 evaluations, learning, or with `--stalled` one that the dear probes are asked about. They are
forked from one process that has loaded torch. A private server is started unless `--server` names
one of this machine. Each column is a window of a steady state: workers begin one after the other,
over the length of a trial, on a copy of a study in which `--filled` trials are done.

What a trial of `--minutes` writes, workers write in less time, as long as that leaves `--rate`
trials a second for all: two cores hold hardly more than one, client and server together.
`--connections` names how workers keep theirs: one for each transaction, as they come, or one kept
for each of a worker's two engines, ours and Optuna's, or one for a worker.

`--saturate` measures what is held instead: workers that never sleep, 1, 2, 4, 8 ... of them, until
the server commits hardly more transactions a second.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from measuring.environment import show_environment
from rich.console import Console
from simulation.bench import Bench, starting_and_stopping, waiting, working
from simulation.binding import show_binding
from simulation.crews import KEPT, artifacts_in, fill
from simulation.measured import Measured, show_idle, show_measured, show_phases, told_briefly
from simulation.recording import read_recording, record
from simulation.saturation import saturated, show_saturated
from simulation.servers import Server, Usage, private_server
from simulation.studies import recorded_study, simulated_study

from tsdiag.store.urls import parse


def measure(bench: Bench, console: Console) -> list[Measured]:
    """Measure all that was asked for, telling each as it is done."""
    options, rows = bench.options, []
    sizes = [(workers, options.minutes[0]) for workers in options.workers]
    sizes += [(options.beside, minutes) for minutes in options.minutes[1:]]
    plan = [bench.load(*size, how) for how in options.connections for size in sizes]
    there = bench.server.most_connections
    for load in plan:
        if load.workers * KEPT[load.connections] > there:
            console.print(f"W {load.workers}, one a {load.connections}: more than {there}")
            continue
        rows.append(working(bench, load))
        _keep(options.json, rows)
        console.print(told_briefly(rows[-1]), highlight=False)
    for workers in options.idle:
        rows += starting_and_stopping(bench, workers)
        rows.append(waiting(bench, workers, options.watch))
        _keep(options.json, rows)
        console.print(f"W {workers}, not working: measured", highlight=False)
    return rows


def saturate(bench: Bench, console: Console) -> list[Measured]:
    """Measure what the server holds, telling each column as it is done."""
    options, rows = bench.options, []
    for how in options.connections:
        for row in saturated(bench, how, options.most, options.watch):
            rows.append(row)
            _keep(options.json, rows)
            console.print(told_briefly(row), highlight=False)
    return rows


def show(console: Console, rows: Sequence[Measured], connections: int) -> None:
    trained, busy = (
        [row for row in rows if row.what == what] for what in ("working", "never asleep")
    )
    show_measured(console, trained)
    for row in trained[:1] + trained[-1:]:
        show_phases(console, row)
    show_saturated(console, busy)
    show_idle(console, [row for row in rows if row.what not in ("working", "never asleep")])
    for how in KEPT:
        show_binding(console, [row for row in trained if row.connections == how], connections)


def _keep(file: Path | None, rows: Sequence[Measured]) -> None:
    if file is not None:
        file.write_text(json.dumps([asdict(row) for row in rows], indent=1))


def _kept(file: Path) -> list[Measured]:
    rows = json.loads(file.read_text())
    return [Measured(**{**row, "server": Usage(**row["server"])}) for row in rows]


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="a few workers, a few seconds")
    parser.add_argument("--server", help="URL of a server of this machine")
    parser.add_argument("--engine", choices=["postgresql", "mysql"], default="postgresql")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 8, 25, 50, 100, 200])
    parser.add_argument("--minutes", type=float, nargs="+", default=[5, 1, 30])
    parser.add_argument("--beside", type=int, default=25, help="workers for all but the first")
    parser.add_argument("--idle", type=int, nargs="*", default=[8, 50, 200])
    parser.add_argument("--saturate", action="store_true", help="workers that never sleep")
    parser.add_argument("--most", type=int, default=64, help="of those that never sleep")
    parser.add_argument("--watch", type=float, default=20.0, help="these, or the idle [s]")
    parser.add_argument("--rate", type=float, default=0.7, help="trials a second of all workers")
    parser.add_argument("--trials", type=int, default=12, help="in a window, at least")
    parser.add_argument("--filled", type=int, default=100, help="trials that are done before")
    parser.add_argument("--connections", nargs="+", choices=list(KEPT), default=["transaction"])
    parser.add_argument("--max-connections", type=int, default=0, help="of a private server")
    parser.add_argument("--stalled", action="store_true", help="trials that stall")
    parser.add_argument("--json", type=Path, help="where to keep the figures as well")
    parser.add_argument("--show", type=Path, nargs="+", help="kept figures, instead of measuring")
    options = parser.parse_args(arguments)
    if options.short:
        options.workers, options.minutes, options.idle = [2], [0.5], [2]
        options.trials, options.filled, options.watch, options.rate = 4, 3, 1.0, 2.0
        options.most = 2
    return options


def main() -> None:
    options = parse_options()
    console = Console(width=140)
    if options.show:
        show(
            console, [row for file in options.show for row in _kept(file)], options.max_connections
        )
        return
    show_environment(console)
    with ExitStack() as open_now:
        folder = Path(open_now.enter_context(tempfile.TemporaryDirectory()))
        artifacts_in(folder)
        record(recorded_study(options.short), folder / "recorded.db")
        recording = read_recording(folder / "recorded.db")
        server = (
            Server(parse(options.server))
            if options.server
            else open_now.enter_context(private_server(options.engine, options.max_connections))
        )
        console.print(
            f"server      {server.version}, {server.most_connections} connections\n"
            f"a run       {recording.curves} curves, {len(recording.evaluations)} evaluations, "
            f"{recording.steps} steps, {recording.seconds:.0f} s when it was recorded",
            highlight=False,
        )
        steps = recording.evaluations
        spec = simulated_study(recording.steps, steps[1][0] - steps[0][0])
        url = open_now.enter_context(server.database())
        whole = url.render_as_string(hide_password=False)
        state = fill(whole, spec, recording, options.filled, options.stalled)
        console.print(f"trials      {options.filled} done before, diagnosed as {state}")
        bench = Bench(server, url.database or "", spec, recording, options, folder)
        rows = saturate(bench, console) if options.saturate else measure(bench, console)
        show(console, rows, server.most_connections)


if __name__ == "__main__":
    main()
