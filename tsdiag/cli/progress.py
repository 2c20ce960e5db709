"""Live progress on stderr: a few lines that refresh on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tsdiag.report.wording import duration, number

if TYPE_CHECKING:
    from collections.abc import Callable

    from tsdiag.search.conduct import Snapshot
    from tsdiag.store.runs import RunRow

# Between two plain lines [s]: a log of ten minutes stays readable.
_PLAIN_EVERY = 10.0
_UNENDED = ("running", "interrupted")


T = TypeVar("T")
# What a waiting person wants to know, as pairs of a word and a fact.
Lines = list[tuple[str, str]]


class Progress(Generic[T]):
    """A context that shows snapshots as ``lines`` tells them; call it with each new one."""

    def __init__(self, lines: Callable[[T], Lines]) -> None:
        self._lines = lines
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._told = 0.0
        self._last: list[str] = []

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, snapshot: T) -> None:
        """Show what is going on now."""
        if self._console.is_terminal:
            self._live.update(_view(self._lines(snapshot)), refresh=True)
            return
        now = time.monotonic()
        if now - self._told >= _PLAIN_EVERY:
            self._told = now
            line = "; ".join(f"{name} {text}" for name, text in self._lines(snapshot))
            self._console.print(line, soft_wrap=True, markup=False, highlight=False)


def _view(lines: Lines) -> Table:
    grid = Table.grid(padding=(0, 2))
    for name, text in lines:
        # As it is: square brackets in a configuration's values are no markup.
        grid.add_row(Text(name, "bold"), Text(text))
    return grid


def search_lines(snapshot: Snapshot) -> Lines:
    """Return how a search is getting on."""
    return [
        ("baseline", _baseline(snapshot)),
        ("trials", _trials(snapshot)),
        ("best", _best(snapshot)),
        ("finals", _finals(snapshot)),
        ("time", _time(snapshot)),
    ]


def _baseline(snapshot: Snapshot) -> str:
    rows = [row for row in snapshot.rows if row.role == "baseline"]
    losses = [row.validation_loss for row in rows if row.validation_loss is not None]
    running = [_step(row) for row in rows if row.state == "running"]
    loss = f"validation loss {number(min(losses), 4)}" if losses else "not measured yet"
    return ", ".join([loss, *running])


def _trials(snapshot: Snapshot) -> str:
    rows = [row for row in snapshot.rows if row.role == "trial"]
    running = [row for row in rows if row.state == "running"]
    ended = [row for row in rows if row.state not in _UNENDED]
    asked = max(snapshot.spec.search.trials, len(rows))  # a repair comes on top
    words = [f"{len(ended)} of {asked} done"]
    for state in ("pruned", "diverged", "infeasible", "failed"):
        count = sum(row.state == state for row in ended)
        words += [f"{count} {state}"] * (count > 0)
    return ", ".join([*words, *(f"trial {row.trial} {_step(row)}" for row in running)])


def _best(snapshot: Snapshot) -> str:
    rows = [row for row in snapshot.rows if row.role == "trial" and row.validation_loss is not None]
    best = min(rows, key=lambda row: row.validation_loss or math.inf, default=None)
    if best is None or best.validation_loss is None:
        return "none yet"
    words = f"trial {best.trial} with {number(best.validation_loss, 4)}"
    lstm = [row.validation_loss for row in snapshot.rows if row.role == "baseline"]
    reference = min((loss for loss in lstm if loss is not None), default=None)
    if reference:
        words += f" ({100 * (best.validation_loss / reference - 1):+.1f} % against the LSTM)"
    floor = min(snapshot.floors.items(), key=lambda item: item[1], default=None)
    return words + (f", best floor {floor[0]} {number(floor[1], 4)}" if floor else "")


def _finals(snapshot: Snapshot) -> str:
    rows = [row for row in snapshot.rows if row.role == "final"]
    ended = sum(row.state not in _UNENDED for row in rows)
    running = [
        f"{row.label} seed {row.seed} {_step(row)}" for row in rows if row.state == "running"
    ]
    labels = {row.label for row in rows}
    asked = snapshot.spec.search.final_seeds * max(len(labels), 1)
    scoring = ["scoring the test span"] if snapshot.scoring else []
    words = ", ".join([f"{ended} of {asked} done", *running, *scoring])
    return words if rows else "after the search"


def _time(snapshot: Snapshot) -> str:
    left = snapshot.deadline - time.time()
    words = f"{duration(time.time() - snapshot.started)} gone"
    if not snapshot.scoring and (estimate := _estimate(snapshot)) is not None:
        words += f", about {duration(min(estimate, max(left, 0.0)))} to go"
    return words if math.isinf(left) else f"{words}, at most {duration(max(left, 0.0))}"


def _estimate(snapshot: Snapshot) -> float | None:
    """Return the seconds left at the pace of the trials that have ended, or None before any."""
    from tsdiag.compare.finals import FINALISTS
    from tsdiag.search.budget import final_seconds

    search, rows = snapshot.spec.search, snapshot.rows
    ended = [row.seconds for row in rows if row.role == "trial" and row.state not in _UNENDED]
    if not ended:
        return None
    trials = max(0, search.trials - len(ended)) * sum(ended) / len(ended) / snapshot.workers
    done = sum(row.role == "final" and row.state not in _UNENDED for row in rows)
    share = 1 - done / (search.final_seeds * (1 + FINALISTS))
    return trials + max(share, 0.0) * final_seconds(rows, search.final_seeds, snapshot.workers)


def _step(row: RunRow) -> str:
    return f"at step {row.step}/{row.max_steps}"
