"""Stopping cleanly: the first signal lets the running step end, the second ends at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Self

# Set by `tsdiag search` for the workers it starts: without it they would outlive a kill -9 of it.
PARENT = "TSDIAG_PARENT"


class Interruption:
    """A context in which SIGINT and SIGTERM set ``requested`` instead of raising."""

    def __init__(self) -> None:
        self.requested = False
        self._parent = int(os.environ.get(PARENT, "0"))
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        # Python lets only the main thread handle signals; a notebook's other threads go without.
        in_main = threading.current_thread() is threading.main_thread()
        for number in (signal.SIGINT, signal.SIGTERM) if in_main else ():
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def __bool__(self) -> bool:
        """Whether to stop: asked by a signal, or left behind by the search that started us."""
        return self.requested or (self._parent > 0 and os.getppid() != self._parent)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.requested:
            os._exit(128 + number)
        self.requested = True
