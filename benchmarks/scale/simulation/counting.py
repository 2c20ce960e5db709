"""What a worker asks of the database, counted by what it is doing, in memory that all share."""

from __future__ import annotations

import ctypes
import functools
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing import get_context
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, event
from sqlalchemy.pool import Pool

from tsdiag.runs.execute import Execution
from tsdiag.search import queue
from tsdiag.search.queue import TrialQueue
from tsdiag.search.watch import Watch
from tsdiag.search.worker import Worker

FORK = get_context("fork")

# What a worker may be doing; a part of another one counts as itself alone.
PHASES = (
    "asking",
    "drawing",
    "beginning",
    "evaluating",
    "checkpointing",
    "renewing",
    "ending",
    "explaining",
    "telling",
    "waiting",
    "other",
)
FIELDS = (
    "statements",  # as SQLAlchemy sends them: many rows of one are one
    "rows",  # of those, each row of a statement with many
    "transactions",
    "optuna_statements",
    "optuna_transactions",
    "connections",
    "open_seconds",  # of connections, added up
    "calls",
    "seconds",
    "lock_wait",  # seconds until the ask lock was had
    "lock_held",
    "locks",
)
Counts = NDArray[np.float64]

_METHODS: tuple[tuple[type, str, str], ...] = (
    (TrialQueue, "claim", "asking"),
    (Worker, "_resolve", "drawing"),
    (Worker, "_carry_out", "beginning"),  # and training, but for what is named below
    (Execution, "_after_step", "evaluating"),
    (Watch, "__call__", "evaluating"),
    (Execution, "_save", "checkpointing"),
    (Watch, "renew", "renewing"),
    (Execution, "_finish", "ending"),
    (Worker, "_explain", "explaining"),
    (TrialQueue, "finish", "telling"),
    (TrialQueue, "running", "waiting"),
)


class Ledger:
    """Counts of all workers, each in rows of its own; and the connections that are open at once."""

    def __init__(self, workers: int) -> None:
        shape = (workers, len(PHASES), len(FIELDS))
        shared = FORK.RawArray(ctypes.c_double, int(np.prod(shape)))
        self.counts: Counts = np.frombuffer(shared).reshape(shape)
        self._open = FORK.Array(ctypes.c_long, 2)  # now, and most so far

    def total(self) -> Counts:
        """Return the counts of all workers by phase and field."""
        return self.counts.sum(axis=0)

    @property
    def most_open(self) -> int:
        """The most connections that were open at once, of all workers, since the last reset."""
        return int(self._open[1])

    def reset_most_open(self) -> None:
        """Begin anew with as many as are open now."""
        with self._open.get_lock():
            self._open[1] = self._open[0]

    def count(self, worker: int) -> Book:
        """From here on, count what this process does as that worker."""
        book = Book(self.counts[worker])
        for kind, name, phase in _METHODS:
            setattr(kind, name, book.within(phase, getattr(kind, name)))
        queue.held = book.timed_lock(queue.held)
        event.listen(Engine, "before_cursor_execute", book.statement)
        event.listen(Engine, "begin", book.begin)
        event.listen(Pool, "connect", functools.partial(self._opened, book))
        event.listen(Pool, "close", functools.partial(self._closed, book))
        return book

    def _opened(self, book: Book, connection: Any, _: Any) -> None:
        book.opened[id(connection)] = time.monotonic()
        book.add("connections")
        with self._open.get_lock():
            self._open[0] += 1
            self._open[1] = max(self._open[0], self._open[1])

    def _closed(self, book: Book, connection: Any, _: Any) -> None:
        book.add("open_seconds", time.monotonic() - book.opened.pop(id(connection)))
        with self._open.get_lock():
            self._open[0] -= 1


class Book:
    """One worker's counts."""

    def __init__(self, counts: Counts) -> None:
        self.opened: dict[int, float] = {}
        self.ours: Engine | None = None  # the other one is Optuna's
        self._counts = counts
        self._phase = PHASES.index("other")

    def add(self, field: str, amount: float = 1) -> None:
        """Add to a field of the phase that the worker is in."""
        self._counts[self._phase, FIELDS.index(field)] += amount

    def statement(self, connection: Connection, *arguments: Any) -> None:
        """Count a statement that is about to be sent."""
        _, _, parameters, _, many = arguments
        self.add("statements")
        self.add("rows", len(parameters) if many else 1)
        self.add("optuna_statements", connection.engine is not self.ours)

    def begin(self, connection: Connection) -> None:
        """Count a transaction, reading ones included."""
        self.add("transactions")
        self.add("optuna_transactions", connection.engine is not self.ours)

    def within(self, phase: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return a method that counts what happens in it as a phase."""

        @functools.wraps(method)
        def counted(*arguments: Any, **options: Any) -> Any:
            with self._entered(PHASES.index(phase)):
                return method(*arguments, **options)

        return counted

    @contextmanager
    def _entered(self, phase: int) -> Iterator[None]:
        before, self._phase, began = self._phase, phase, time.monotonic()
        try:
            yield
        finally:
            self.add("seconds", time.monotonic() - began)
            self.add("calls")
            self._phase = before

    def timed_lock(
        self, held: Callable[..., AbstractContextManager[None]]
    ) -> Callable[..., AbstractContextManager[None]]:
        """Return the lock with its waits and holds counted, where it is the transformers'."""

        @contextmanager
        def timed(store: Any, key: str, *arguments: Any) -> Iterator[None]:
            asked = time.monotonic()
            with held(store, key, *arguments):
                got = time.monotonic()
                yield
            if key.count("/") == 1:  # the baseline's has its study's slash, too
                self.add("lock_wait", got - asked)
                # With giving it back, which is a part of how long others wait.
                self.add("lock_held", time.monotonic() - got)
                self.add("locks")

        return timed


def named(counts: Counts) -> dict[str, dict[str, float]]:
    """Return counts by the names of phase and field."""
    return {
        phase: dict(zip(FIELDS, row, strict=True))
        for phase, row in zip(PHASES, counts.tolist(), strict=True)
    }
