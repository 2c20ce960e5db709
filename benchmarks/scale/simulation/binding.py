"""The number of workers at which something binds, as a function of a trial's length.

What a trial costs is fitted as  a + b minutes + c workers : a part of its own, one for each minute
of training (checkpoints, renewals), one for each other worker (every ask and every question to the
pruner reads the running trials). W workers on trials of m minutes tell W / (60 m) trials a second,
so a resource of which a trial takes cost(m, W) seconds binds where  W cost(m, W) / (60 m)  reaches
what there is: cores of the server for its CPU time, 1 for the ask lock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table
from simulation.measured import Measured

MINUTES = (1, 5, 30)
MOST = 100_000  # workers, beyond which nobody asks


@dataclass(frozen=True)
class Cost:
    """What a trial takes of a resource [s]."""

    own: float
    minute: float
    worker: float

    def of(self, minutes: float, workers: float) -> float:
        """Return it for trials of a length, beside so many workers."""
        return self.own + self.minute * minutes + self.worker * workers

    def binds_at(self, minutes: float, there: float) -> float:
        """Return the number of workers that take all there is."""
        # worker W^2 + (own + minute m) W - 60 m there = 0
        linear, wanted = self.own + self.minute * minutes, 60 * minutes * there
        if self.worker <= 0:
            return min(wanted / linear, MOST)
        root = np.sqrt(linear**2 + 4 * self.worker * wanted)
        return float((root - linear) / (2 * self.worker))


def fitted(rows: Sequence[Measured], of: Callable[[Measured], float]) -> Cost:
    """Return the costs by least squares, none of them negative."""
    from scipy.optimize import nnls

    design = np.array([[1.0, row.minutes, row.workers] for row in rows])
    wanted = np.array([of(row) for row in rows])
    # Relative errors count: a trial among 200 workers costs several times what it costs alone.
    weights = 1 / wanted
    found, _ = nnls(design * weights[:, None], wanted * weights)
    return Cost(*(float(value) for value in found))


def show_binding(console: Console, rows: Sequence[Measured], connections: int) -> None:
    """Print what binds first, by the length of trials."""
    rows = [row for row in rows if row.trials > 0]
    if len(rows) < 2 or not all(math.isfinite(row.server_seconds) for row in rows):
        return
    console.print(f"one connection a {rows[0].connections}")
    server = fitted(rows, lambda row: row.server_seconds)
    lock = fitted(rows, lambda row: row.ask_held)
    opened = fitted(rows, lambda row: row.each("open_seconds"))
    for name, cost in (("server CPU", server), ("ask lock", lock), ("connections", opened)):
        console.print(
            f"{name:12s} {1e3 * cost.own:.0f} ms a trial + {1e3 * cost.minute:.1f} ms a minute "
            f"+ {1e3 * cost.worker:.2f} ms a worker",
            highlight=False,
        )
    table = Table(title="workers at which it binds", title_justify="left")
    headers = ("a trial's length", "server, 1 core", "server, 16 cores", "ask lock")
    for header in (*headers, f"{connections} connections, on average"):
        table.add_column(header, justify="right")
    for minutes in MINUTES:
        table.add_row(
            f"{minutes} min",
            *(f"{server.binds_at(minutes, cores):.0f}" for cores in (1, 16)),
            f"{lock.binds_at(minutes, 1):.0f}",
            f"{opened.binds_at(minutes, connections):.0f}",
        )
    console.print(table)
