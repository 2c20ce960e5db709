"""The clock of deadlines: no correction of the time of day moves it, and sleep does not stop it."""

from __future__ import annotations

import time

# Linux alone has the clock that goes on while the machine sleeps; elsewhere sleep may stop it.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", None)


def uptime() -> float:
    """Return how long this machine has been up, the same in all of its processes [s]."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)
