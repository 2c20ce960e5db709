"""How many requests a second the server holds: workers that never sleep, and ever more of them.

Each asks for its next trial as soon as it has told the last one, so nothing but the machine and the
ask lock slows them down. Twice as many come until the server commits hardly more a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psutil
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from simulation.bench import Bench, Load, unthrottled
from simulation.crews import KEPT
from simulation.measured import Measured
from simulation.replay import Pace

# Twice the workers that bring less than this many times the transactions have met a limit.
RISE = 1.1
_CORES = psutil.cpu_count() or 1


def saturated(bench: Bench, connections: str, most: int, seconds: float) -> Iterator[Measured]:
    """Yield 1, 2, 4, 8 ... workers that never sleep, until more of them bring nothing."""
    pace = Pace(0.0, stalled=bench.options.stalled)
    workers, best = 1, 0.0
    most = min(most, bench.server.most_connections // max(1, KEPT[connections]))
    while workers <= most:
        row = unthrottled(bench, Load(workers, pace, connections), seconds)
        yield row
        if _committed(row) < RISE * best:
            return
        workers, best = 2 * workers, _committed(row)


def show_saturated(console: Console, rows: Sequence[Measured]) -> None:
    """Print a row for each number of workers, a table for each way to keep connections."""
    for how in dict.fromkeys(row.connections for row in rows):
        table = Table(title=f"never asleep, a connection a {how}: a second", title_justify="left")
        for name in ("workers", *(name for name, _ in _COLUMNS)):
            table.add_column(escape(name), justify="right")
        for row in rows:
            if row.connections == how:
                table.add_row(f"{row.workers}", *(show(row) for _, show in _COLUMNS))
        console.print(table)


def _committed(row: Measured) -> float:
    """Return the transactions that the server says it has committed [1/s]."""
    return row.server.committed / row.window


def _server_cores(row: Measured) -> float:
    return row.server.cpu_seconds / row.window


def _client_cores(row: Measured) -> float:
    return row.client_seconds / row.window


def _waiting(row: Measured) -> float:
    """Return the share of the workers' time in which they wait for the ask lock."""
    return row.total("lock_wait") / (row.workers * row.window)


_COLUMNS = (
    ("trials", lambda r: f"{r.trials / r.window:.2f}"),
    ("statements", lambda r: f"{r.total('statements') / r.window:.0f}"),
    ("committed", lambda r: f"{_committed(r):.0f}"),
    ("rolled back", lambda r: f"{r.server.rolled_back / r.window:.0f}"),
    ("server [cores]", lambda r: f"{_server_cores(r):.2f}"),
    ("client [cores]", lambda r: f"{_client_cores(r):.2f}"),
    ("both, of all", lambda r: f"{(_server_cores(r) + _client_cores(r)) / _CORES:.0%}"),
    ("committed a core", lambda r: f"{_committed(r) / _server_cores(r):.0f}"),
    ("waiting to ask", lambda r: f"{_waiting(r):.0%}"),
    ("failed, lost", lambda r: f"{r.failures}, {r.ended}"),
)
