"""The number of workers at which something binds, as a function of a trial's length.

What a trial costs is fitted as  a + b minutes + c workers : a part of its own, one for each minute
of training (checkpoints, renewals), one for each other worker (every ask and every question to the
pruner reads the running trials). W workers on trials of m minutes tell W / (60 m) trials a second,
so a resource of which a trial takes cost(m, W) seconds binds where  W cost(m, W) / (60 m)  reaches
what there is: cores of the server for its CPU time, 1 for the ask lock, and for connections that
are opened for a transaction those that the server allows, of which as many are open on average.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.optimize import nnls
from simulation.crews import KEPT
from simulation.measured import Measured

MINUTES = (1, 5, 30)
MOST = 100_000  # workers, beyond which nobody asks


@dataclass(frozen=True)
class Cost:
    """What a trial takes of a resource [s]."""

    own: float
    minute: float
    worker: float

    @property
    def words(self) -> str:
        """The three parts, to be read."""
        own, minute, worker = 1e3 * self.own, 1e3 * self.minute, 1e3 * self.worker
        return f"{own:.0f} ms a trial + {minute:.1f} ms a minute + {worker:.2f} ms a worker"

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
    lengths = len({row.minutes for row in rows}) > 1  # else what is a minute's cannot be told
    design = np.array([[1.0, row.minutes * lengths, row.workers] for row in rows])
    wanted = np.array([of(row) for row in rows])
    # Relative errors count: a trial among 200 workers costs several times what it costs alone.
    found, _ = nnls(design / wanted[:, None], np.ones(len(rows)))
    return Cost(*(float(value) for value in found))


def show_binding(console: Console, rows: Sequence[Measured], connections: int) -> None:
    """Print what binds first, by the length of trials; all rows keep connections alike."""
    rows = [row for row in rows if row.trials > 0]
    if len({row.workers for row in rows}) < 2 or any(math.isnan(r.server_seconds) for r in rows):
        return
    server = fitted(rows, lambda row: row.server_seconds)
    lock = fitted(rows, lambda row: row.ask_held)
    kept = KEPT[rows[0].connections]
    opened = None if kept else fitted(rows, lambda row: row.each("open_seconds"))
    costs = {"server CPU": server, "ask lock": lock, "connections": opened}
    for name, cost in costs.items():
        if cost is not None:
            console.print(f"{name:12s} {cost.words}", highlight=False)
    title = f"workers at which it binds, one connection a {rows[0].connections}"
    table = Table(title=title, title_justify="left")
    headers = ("a trial's length", "server, 1 core", "server, 16 cores", "ask lock")
    for header in (*headers, f"{connections} connections"):
        table.add_column(header, justify="right")
    lengths = sorted({row.minutes for row in rows})
    for minutes in lengths if len(lengths) == 1 else MINUTES:
        most = opened.binds_at(minutes, connections) if opened else connections // kept
        table.add_row(
            f"{minutes:g} min",
            *(f"{server.binds_at(minutes, cores):.0f}" for cores in (1, 16)),
            f"{lock.binds_at(minutes, 1):.0f}",
            f"{most:.0f}",
        )
    console.print(table)
