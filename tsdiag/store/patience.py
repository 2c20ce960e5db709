"""Patience with a database that goes away for a while: the same call again, with growing pauses.

A worker whose database restarts has lost nothing: what it asks for it asks again, and what its
training measures waits in the meantime (``attempt``). Each call is safe to repeat, also where it
had come through and only the answer was lost.
"""

from __future__ import annotations

import functools
import math
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

from tsdiag.errors import Unreachable

if TYPE_CHECKING:
    from tsdiag.store.database import Store

R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

# Between two attempts [s]: soon at first, since a restart takes seconds; then rarely enough that
# hundreds of workers together do not keep a server from coming back.
_FIRST, _LONGEST = 0.5, 15.0
# Others may need as long as this to renew their leases after an outage [s].
_SETTLING = 4 * _LONGEST
_SLICE = 0.2


@dataclass
class Patience:
    """How long one process puts up with a database or artifact store that is away.

    One object is shared by all calls of a process, so that an outage is timed and told once.
    """

    seconds: float = 0.0
    stopped: Callable[[], bool] = bool  # asked while it waits; True ends the waiting
    _since: float | None = field(default=None, init=False)  # time.monotonic() of the first failure
    _back: float | None = field(default=None, init=False)  # when it was last reached again
    _pause: float = field(default=_FIRST, init=False)
    _next: float = field(default=0.0, init=False)  # before it, attempts are not made
    _at_once: bool = field(default=False, init=False)  # within an attempt: nothing waits

    def __call__(self, call: Callable[[], R]) -> R:
        """Return what a call returns, waiting for as long as patience lasts.

        Raises:
            Unreachable: patience is over, or somebody asks to stop.
        """
        while True:
            try:
                found = call()
            except Unreachable as error:
                if self._at_once:
                    raise
                self._note(error)
                self._sleep(error)
            else:
                self._reached()
                return found

    def attempt(self, call: Callable[[], object]) -> bool:
        """Make a call that need not come through now, and tell whether it did; never waits.

        Raises:
            Unreachable: patience is over.
        """
        if time.monotonic() < self._next:
            return False
        before, self._at_once = self._at_once, True
        try:
            call()
        except Unreachable as error:
            self._note(error)
            return False
        finally:
            self._at_once = before
        self._reached()
        return True

    def is_settling(self) -> bool:
        """Tell whether it is away, or came back so lately that others' leases may have run out."""
        return self._since is not None or self.since_back() < _SETTLING

    def since_back(self) -> float:
        """Return how long ago the database came back [s], infinite where it was never away."""
        return math.inf if self._back is None else time.monotonic() - self._back

    def _note(self, error: Unreachable) -> None:
        """Begin an outage, or go on with one; raise where it has lasted too long."""
        now = time.monotonic()
        if self._since is None:
            self._since, self._pause = now, _FIRST
            if self.seconds > 0:
                sys.stderr.write(f"{error}; trying again for {self.seconds:.10g} s\n")
        if now - self._since >= self.seconds:
            raise error
        # Not all workers at the same moment.
        self._next = now + self._pause * random.uniform(0.7, 1.0)
        self._pause = min(2 * self._pause, _LONGEST)

    def _sleep(self, error: Unreachable) -> None:
        while (left := self._next - time.monotonic()) > 0:
            if self.stopped():
                raise error
            time.sleep(min(left, _SLICE))

    def _reached(self) -> None:
        if self._since is None:
            return
        now = time.monotonic()
        if self.seconds > 0:
            sys.stderr.write(f"reached again after {now - self._since:.1f} s\n")
        self._since, self._next, self._back = None, 0.0, now


def patient(function: F) -> F:
    """Let a function of a store, harmless to repeat, wait for a database that is away."""

    @functools.wraps(function)
    def tried(store: Store, *arguments: Any, **options: Any) -> Any:
        return store.patience(lambda: function(store, *arguments, **options))

    return cast("F", tried)
