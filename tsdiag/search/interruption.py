"""Stopping cleanly: the first signal lets the running step end, the second ends at once.

A worker whose step, evaluation or probe takes too long to be waited for hands over what it is at
from a thread, as it was saved last, and ends.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

# Set by `tsdiag search` for the workers it starts: without it they would outlive a kill -9 of it.
PARENT = "TSDIAG_PARENT"
# Between a signal and the hand-over, and at most for that: launchers give ten seconds at the least
# before they kill [s].
_GRACE, _LAST = 6.5, 2.5
_ASKING = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """A context in which SIGINT and SIGTERM set ``requested`` instead of raising."""

    def __init__(self) -> None:
        self.requested = False
        # What to do before ending, where the main thread does not come to it in time.
        self.overdue: Callable[[], object] | None = None
        self._parent = int(os.environ.get(PARENT, "0"))
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        # Python lets only the main thread handle signals; a notebook's other threads go without.
        in_main = threading.current_thread() is threading.main_thread()
        if in_main:
            self._before = {number: signal.signal(number, self._note) for number in _ASKING}
            self._listen()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        if self._before:
            signal.set_wakeup_fd(self._wakeup_before)
            self._told.close()  # which ends the thread

    def __bool__(self) -> bool:
        """Whether to stop: asked by a signal, or left behind by the search that started us."""
        return self.requested or (self._parent > 0 and os.getppid() != self._parent)

    def _note(self, *_: object) -> None:
        self.requested = True

    def _listen(self) -> None:
        """Hear signals in a thread of their own.

        Python runs a handler only between two steps of its main thread's program, so after a call
        that computes for a minute it is a minute late; what it writes to a socket comes at once.
        """
        self._told, heard = socket.socketpair()
        self._told.setblocking(False)
        self._wakeup_before = signal.set_wakeup_fd(self._told.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._hear, args=(heard,), daemon=True).start()

    def _hear(self, heard: socket.socket) -> None:
        asked = 0
        with heard:
            while numbers := heard.recv(64):
                for number in filter(_ASKING.__contains__, numbers):
                    asked += 1
                    if asked > 1:
                        os._exit(128 + number)
                    self.requested = True
                    if self.overdue is not None:
                        _later(_GRACE, self._end)
                        _later(_GRACE + _LAST, lambda: os._exit(1))

    def _end(self) -> None:
        try:
            assert self.overdue is not None
            self.overdue()
        except BaseException as error:
            sys.stderr.write(f"could not hand over: {error}\n")
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)


def _later(seconds: float, do: Callable[[], object]) -> None:
    timer = threading.Timer(seconds, do)
    timer.daemon = True  # a main thread that comes to its end is not held up
    timer.start()
