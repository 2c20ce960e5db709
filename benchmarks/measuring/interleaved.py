"""Two sides of a contest, timed in turns in one process: A B A B ..., in CPU time of one thread.

What disturbs the machine for longer than a turn then meets both sides alike, and the spread of the
ratios over the rounds says how far to trust their median.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Side:
    """One way to do the work; ``spend`` does a little of it and returns CPU seconds per step."""

    label: str
    spend: Callable[[], float]


@dataclass(frozen=True)
class Goal:
    """The ratio that is aimed at, and the one below which something is wrong."""

    aim: float
    floor: float


@dataclass(frozen=True)
class Contest:
    """The rival, our side, and how many times cheaper ours is to be, where that is agreed."""

    title: str
    rival: Side
    ours: Side
    goal: Goal | None = None


@dataclass(frozen=True)
class Outcome:
    """CPU seconds per step of both sides, round by round."""

    contest: Contest
    rival: Sequence[float]
    ours: Sequence[float]

    @property
    def ratio(self) -> float:
        """How many times cheaper ours is: the ratio of the medians."""
        return median(self.rival) / median(self.ours)

    @property
    def range(self) -> tuple[float, float]:
        """Return the least and the largest ratio of a single round."""
        ratios = [theirs / own for theirs, own in zip(self.rival, self.ours, strict=True)]
        return min(ratios), max(ratios)


def timed(work: Callable[[int], object], steps: int) -> Callable[[], float]:
    """Return what carries out ``work(steps)`` and says what a step of it cost [CPU s]."""

    def spend() -> float:
        started = time.process_time()
        work(steps)
        return (time.process_time() - started) / steps

    return spend


def interleaved(sides: Sequence[Side], rounds: int) -> list[list[float]]:
    """Return CPU seconds per step "side round"; one more turn of each goes before, untimed."""
    spent: list[list[float]] = [[] for _ in sides]
    # A collection of one side's garbage must not be paid for by the other.
    gc.collect()
    gc.disable()
    try:
        for turn in range(rounds + 1):
            for side, found in zip(sides, spent, strict=True):
                cost = side.spend()
                if turn:
                    found.append(cost)
    finally:
        gc.enable()
    return spent


def fight(contest: Contest, rounds: int) -> Outcome:
    """Time both sides of a contest in turns."""
    return Outcome(contest, *interleaved((contest.rival, contest.ours), rounds))


def show_outcomes(console: Console, title: str, outcomes: Sequence[Outcome]) -> None:
    """Print one row a contest."""
    table = Table(title=f"{title}: CPU time of a training step", title_justify="left")
    for header in ("contest", "rival", "ours"):
        table.add_column(header, overflow="fold")
    for header in ("rival (ms)", "ours (ms)", "ratio", "of the rounds", "aim / floor", ""):
        table.add_column(header, justify="right", no_wrap=True)
    for outcome in outcomes:
        table.add_row(*_cells(outcome))
    console.print(table)


def _cells(outcome: Outcome) -> list[str]:
    contest, goal = outcome.contest, outcome.contest.goal
    low, high = outcome.range
    verdict = ""
    if goal is not None:
        verdict = "aim" if outcome.ratio >= goal.aim else "floor"
        verdict = verdict if outcome.ratio >= goal.floor else "BELOW"
    return [
        contest.title,
        contest.rival.label,
        contest.ours.label,
        f"{1000 * median(outcome.rival):.2f}",
        f"{1000 * median(outcome.ours):.2f}",
        f"{outcome.ratio:.2f}",
        f"{low:.2f} to {high:.2f}",
        "" if goal is None else f"{goal.aim:g} / {goal.floor:g}",
        verdict,
    ]
