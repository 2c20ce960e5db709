"""One row of the load: what a window of time held, and what a trial of it took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from simulation.servers import Usage


@dataclass(frozen=True)
class Measured:
    """Workers of one kind over a window of time."""

    what: str  # working, never asleep, waiting, starting or stopping
    workers: int
    minutes: float  # a trial's length
    seconds: float  # and what it took on the clock here [s]
    connections: str  # how a worker keeps them
    stalled: bool
    window: float  # [s]
    counts: dict[str, dict[str, float]]  # by phase and field, of all workers
    server: Usage
    client_seconds: float  # CPU time of the workers [s]
    network_bytes: float  # both ways, with the headers of TCP
    most_open: int
    failures: int  # trials
    ended: int  # workers that are no more

    @property
    def trials(self) -> float:
        """How many trials were told."""
        return self.counts["telling"]["calls"]

    def total(self, field: str) -> float:
        """Return a field's sum over all phases."""
        return sum(phase[field] for phase in self.counts.values())

    def each(self, field: str) -> float:
        """Return a field's sum per trial."""
        return self.total(field) / self.trials

    @property
    def ask_held(self) -> float:
        """How long the ask lock is held for a trial, however often [s]."""
        return self.each("lock_held")

    @property
    def ask_wait(self) -> float:
        """How long a worker waits for the ask lock, each time [s]."""
        return self.total("lock_wait") / max(self.total("locks"), 1.0)

    @property
    def ask_seconds(self) -> float:
        """What an ask takes, with its waits [s]."""
        return self.counts["asking"]["seconds"] / self.trials

    @property
    def server_seconds(self) -> float:
        """CPU time of the server per trial [s]."""
        return self.server.cpu_seconds / self.trials


def told_briefly(row: Measured) -> str:
    """Return a line about a column that has just been measured."""
    cores = row.server.cpu_seconds / row.window, row.client_seconds / row.window
    return (
        f"{_header(row)}: {row.trials:.0f} trials in {row.window:.0f} s, "
        f"{cores[0]:.2f} cores of server and {cores[1]:.2f} of workers"
    )


def show_measured(console: Console, rows: Sequence[Measured]) -> None:
    """Print what a trial took, a column per row."""
    rows = [row for row in rows if row.trials > 0]
    if not rows:
        return
    table = Table(title="per trial", title_justify="left")
    table.add_column("")
    for row in rows:
        table.add_column(_header(row), justify="right")
    for name, show in _LINES:
        table.add_row(escape(name), *(show(row) for row in rows))
    console.print(table)


def _header(row: Measured) -> str:
    kept = "" if row.connections == "transaction" else f", one a {row.connections}"
    stalled = ", stalled" if row.stalled else ""
    return f"W {row.workers}, {row.minutes:g} min{kept}{stalled}"


def _of_optuna(row: Measured, field: str) -> str:
    # Where a worker has one engine for both, whose a statement is cannot be told.
    part = "" if row.connections == "worker" else f", {row.each('optuna_' + field):.0f}"
    return f"{row.each(field):.0f}{part}"


_LINES = (
    ("trials in the window", lambda r: f"{r.trials:.0f} in {r.window:.0f} s"),
    ("trials a second", lambda r: f"{r.trials / r.window:.2f}"),
    ("statements, of Optuna", lambda r: _of_optuna(r, "statements")),
    ("their rows", lambda r: f"{r.each('rows'):.0f}"),
    ("transactions, of Optuna", lambda r: _of_optuna(r, "transactions")),
    ("connections opened", lambda r: f"{r.each('connections'):.1f}"),
    ("most open at once", lambda r: f"{r.most_open}"),
    ("open on average", lambda r: f"{r.total('open_seconds') / r.window:.2f}"),
    ("stored [kB]", lambda r: f"{r.server.stored_bytes / r.trials / 1e3:.0f}"),
    ("log written [kB]", lambda r: f"{r.server.wal_bytes / r.trials / 1e3:.0f}"),
    ("network [kB]", lambda r: f"{r.network_bytes / r.trials / 1e3:.0f}"),
    ("server CPU [ms]", lambda r: f"{1e3 * r.server_seconds:.0f}"),
    ("client CPU [ms]", lambda r: f"{1e3 * r.client_seconds / r.trials:.0f}"),
    ("ask [ms]", lambda r: f"{1e3 * r.ask_seconds:.0f}"),
    ("ask lock held [ms]", lambda r: f"{1e3 * r.ask_held:.0f}"),
    ("wait for it [ms]", lambda r: f"{1e3 * r.ask_wait:.0f}"),
    ("server, committed a second", lambda r: f"{r.server.committed / r.window:.0f}"),
    ("server, rolled back a second", lambda r: f"{r.server.rolled_back / r.window:.0f}"),
    ("failed trials, lost workers", lambda r: f"{r.failures}, {r.ended}"),
)


def show_phases(console: Console, row: Measured) -> None:
    """Print what a worker did when it asked the database, per trial."""
    table = Table(title=f"by what it is for, W {row.workers}", title_justify="left")
    for header in ("", "times", "statements", "rows", "transactions", "connections", "ms"):
        table.add_column(header, justify="left" if not header else "right")
    names = ("calls", "statements", "rows", "transactions", "connections", "seconds")
    for phase, counts in row.counts.items():
        *counted, seconds = (counts[name] / max(row.trials, 1.0) for name in names)
        if any(counted):
            shown = (f"{value:.1f}" for value in counted)
            table.add_row(phase, *shown, f"{1e3 * seconds:.0f}")
    console.print(table)


def show_idle(console: Console, rows: Sequence[Measured]) -> None:
    """Print what workers ask a second that have nothing to do, or that all begin at once."""
    table = Table(title="not working", title_justify="left")
    headers = (
        *("workers", "doing", "for [s]", "statements/s", "connections/s", "most open"),
        *("server CPU [cores]", "client CPU [cores]", "failed trials", "ended"),
    )
    for header in headers:
        table.add_column(escape(header), justify="right")
    for row in rows:
        table.add_row(
            f"{row.workers}",
            row.what,
            f"{row.window:.1f}",
            f"{row.total('statements') / row.window:.0f}",
            f"{row.total('connections') / row.window:.0f}",
            f"{row.most_open}",
            f"{row.server.cpu_seconds / row.window:.2f}",
            f"{row.client_seconds / row.window:.2f}",
            f"{row.failures}",
            f"{row.ended}",
        )
    if rows:
        console.print(table)
