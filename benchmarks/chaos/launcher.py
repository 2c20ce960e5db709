"""A real ``tsdiag worker`` on what looks like a machine of its own, with leases of seconds.

    python launcher.py SETTINGS worker NAME ...

SETTINGS is the JSON of a ``Machine``. Everything behind it is tsdiag's own command line.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from datetime import datetime, tzinfo
from io import IOBase
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Machine:
    """What differs between the machines of the workers."""

    lease: float  # [s]
    checkpoint_every: float  # [s]
    name: str = ""  # tells it from all other machines; "": it is this one, where deaths are seen
    skew: float = 0.0  # how far its clock is ahead [s]
    leap: float = 0.0  # so long after its start its clock is set ahead by an hour; 0: never [s]
    full: str = ""  # while there is such a file, its artifact folder is full

    def to_json(self) -> str:
        """Return the settings for the command line."""
        return json.dumps(asdict(self))


_LEAP = 3600.0  # longer than a study has in all [s]


def shorten(machine: Machine) -> None:
    """Set leases of seconds, which are renewed as many times as those of minutes are."""
    from tsdiag.compare import finals
    from tsdiag.runs import execute
    from tsdiag.search import queue, storage, watch, worker
    from tsdiag.store import patience

    replace(queue, "LEASE", machine.lease)
    replace(queue, "_ASK_LEASE", 2 * machine.lease)
    replace(finals, "_LEASE", machine.lease)
    replace(worker, "_FLOORS_LEASE", 4 * machine.lease)
    replace(watch, "_RENEW_EVERY", machine.lease / 10)
    replace(execute, "CHECKPOINT_EVERY", machine.checkpoint_every)
    # The pauses between attempts, and for how long nobody is taken for dead after an outage.
    replace(patience, "_LONGEST", machine.lease / 5)
    replace(patience, "_SETTLING", machine.lease)
    replace(storage, "held", functools.partial(storage.held, seconds=2 * machine.lease))


def replace(module: Any, name: str, value: object) -> None:
    """Set a name that a module has; a renamed constant would go unnoticed otherwise."""
    if not hasattr(module, name):
        raise AttributeError(f"{module.__name__} has no {name} any more: correct the launcher")
    setattr(module, name, value)


def move(name: str) -> None:
    """Take this process to another machine: who is gone from there, nobody can see."""
    from tsdiag.store import owners

    replace(owners, "_boot", lambda: name)


class _LikeDatetime(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, datetime)


def skew_clock(skew: float, leap: float) -> None:
    """Shift the wall clock of tsdiag and Optuna; what waits goes by the monotonic one, as ever."""
    real, began = time.time, time.monotonic()

    def shifted() -> float:
        leapt = leap > 0 and time.monotonic() > began + leap
        return real() + skew + (_LEAP if leapt else 0.0)

    time.time = shifted

    class Skewed(datetime, metaclass=_LikeDatetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.fromtimestamp(time.time(), tz)

    for name, module in list(sys.modules.items()):
        if name.startswith(("tsdiag.", "optuna.")) and vars(module).get("datetime") is datetime:
            vars(module)["datetime"] = Skewed


def fill_disk(full: Path) -> None:
    """Refuse to write artifacts while a file is there: for where no small disk can be mounted."""
    from tsdiag.search.artifacts import AtomicFolder

    write = AtomicFolder.write

    def refuse(self: AtomicFolder, artifact_id: str, content_body: IOBase) -> None:
        if full.exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), artifact_id)
        write(self, artifact_id, content_body)

    replace(AtomicFolder, "write", refuse)


def main(settings: str, *arguments: str) -> None:
    machine = Machine(**json.loads(settings))
    from tsdiag.cli.main import app

    shorten(machine)
    if machine.name:
        move(machine.name)
    if machine.skew or machine.leap:
        skew_clock(machine.skew, machine.leap)
    if machine.full:
        fill_disk(Path(machine.full))
    sys.argv = ["tsdiag", *arguments]
    app()


if __name__ == "__main__":
    main(*sys.argv[1:])
