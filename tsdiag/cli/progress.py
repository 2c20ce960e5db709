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
from tsdiag.uptime import uptime

if TYPE_CHECKING:
    from collections.abc import Callable

    from tsdiag.search.conduct import Snapshot
    from tsdiag.store.tally import Running

# Between two plain lines [s]: a log of ten minutes stays readable.
_PLAIN_EVERY = 10.0


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
    loss = snapshot.tally.baseline.loss
    told = "not measured yet" if loss is None else f"validation loss {number(loss, 4)}"
    return ", ".join([told, *map(_step, snapshot.tally.under_way("baseline"))])


def _trials(snapshot: Snapshot) -> str:
    tally = snapshot.tally
    asked = max(snapshot.spec.search.trials, tally.count("trial"))  # a repair comes on top
    words = [f"{tally.ended('trial')} of {asked} done"]
    for state in ("pruned", "diverged", "infeasible", "failed"):
        count = tally.counts.get(("trial", state), 0)
        words += [f"{count} {state}"] * (count > 0)
    running = (f"trial {run.trial} {_step(run)}" for run in tally.under_way("trial"))
    return ", ".join([*words, *running])


def _best(snapshot: Snapshot) -> str:
    best = next(iter(snapshot.tally.best), None)
    if best is None or best.loss is None:
        return "none yet"
    words = f"trial {best.trial} with {number(best.loss, 4)}"
    if reference := snapshot.tally.baseline.loss:
        words += f" ({100 * (best.loss / reference - 1):+.1f} % against the LSTM)"
    floor = min(snapshot.floors.items(), key=lambda item: item[1], default=None)
    return words + (f", best floor {floor[0]} {number(floor[1], 4)}" if floor else "")


def _finals(snapshot: Snapshot) -> str:
    tally = snapshot.tally
    if not tally.count("final"):
        return "after the search"
    asked = snapshot.spec.search.final_seeds * tally.finalists
    running = (f"{run.label} seed {run.seed} {_step(run)}" for run in tally.under_way("final"))
    scoring = ["scoring the test span"] if snapshot.scoring else []
    return ", ".join([f"{tally.ended('final')} of {asked} done", *running, *scoring])


def _time(snapshot: Snapshot) -> str:
    left = snapshot.deadline - uptime()
    words = f"{duration(uptime() - snapshot.started)} gone"
    estimate = min(_estimate(snapshot) or 0.0, left)
    if not snapshot.scoring and estimate >= 1.0:  # below, it would say no more than that
        words += f", about {duration(estimate)} to go"
    return words if math.isinf(left) else f"{words}, at most {duration(max(left, 0.0))}"


def _estimate(snapshot: Snapshot) -> float | None:
    """Return the seconds left at the pace of the trials that have ended, or None before any."""
    from tsdiag.compare.finals import FINALISTS
    from tsdiag.search.budget import final_seconds

    search, tally = snapshot.spec.search, snapshot.tally
    if tally.seconds is None:
        return None
    trials = max(0, search.trials - tally.ended("trial")) * tally.seconds / snapshot.workers
    share = 1 - tally.ended("final") / (search.final_seeds * (1 + FINALISTS))
    finals = final_seconds(tally.baseline, tally.best, search.final_seeds, snapshot.workers)
    return trials + max(share, 0.0) * finals


def _step(run: Running) -> str:
    return f"at step {run.step}/{run.max_steps}"
