"""Who holds a lease: a process, told apart from every other one on this and other machines."""

from __future__ import annotations

import functools
import os
import socket
import uuid
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def owner() -> str:
    """Return this process's name as an owner: ``host:boot:pid:start``."""
    return _name(os.getpid())


def is_gone(name: str) -> bool:
    """Say whether an owner is surely dead: a process of this very host that is no more.

    False where that cannot be known, such as for another machine or container.
    """
    host, boot, pid, start = (name.split(":") + [""] * 4)[:4]
    here = owner().split(":")
    if [host, boot] != here[:2] or not pid.isdigit() or os.name != "posix":
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass  # another user's process, so there is one
    state, now_start = _process(int(pid))
    # A killed process stays a zombie (Z) until its parent looks; X is its last moment.
    return state in ("Z", "X") or ("" not in (start, now_start) and start != now_start)


@functools.cache
def _name(pid: int) -> str:
    return f"{socket.gethostname().replace(':', '_')}:{_boot()}:{pid}:{_process(pid)[1]}"


def _boot() -> str:
    """Return what is new at each boot, and differs between containers of one machine.

    Containers share the boot and may share the host's name, yet number processes on their own.
    """
    try:
        namespace = os.readlink("/proc/self/ns/pid").strip("pid:[]")
        return f"{_BOOT_ID.read_text().strip()}/{namespace}"
    except OSError:  # no /proc: the network card says at least which machine it is
        return f"{uuid.getnode():x}"


def _process(pid: int) -> tuple[str, str]:
    """Return a process's state letter and start time [clock ticks since boot], "" if unknown."""
    try:
        # proc(5): the second field is the program's name in brackets and may hold anything.
        rest = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return "", ""
    return rest[0], rest[19]
