"""How much memory the limits of this process's control groups leave: those of its container.

A container on a large machine sees all of the machine's memory, and is killed when it takes more
than its limit. Groups are nested (Slurm's are four deep), and any of them may hold the limit.

References: cgroups(7), proc_pid_mountinfo(5); the kernel's admin-guide/cgroup-v2 and
cgroup-v1/memory, for the names of the files.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

PROCESS = Path("/proc/self")


class _Files(NamedTuple):
    """What one version of control groups calls its files, and in `memory.stat` the idle cache."""

    limit: str
    usage: str
    idle: str


# By the type of the file system that a version's groups are mounted as.
_VERSIONS = {
    "cgroup2": _Files("memory.max", "memory.current", "inactive_file"),
    "cgroup": _Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def left_bytes(process: Path = PROCESS) -> int | None:
    """Return what the tightest limit of a process leaves [bytes], or None where there is none."""
    found: list[int] = []
    # Systems without control groups, and groups whose files are hidden from a container.
    with suppress(OSError, ValueError):
        groups = _groups(process)
        for kind, mount, root in _mounts(process):
            if kind in groups:
                found += _left(_VERSIONS[kind], mount, _inside(groups[kind], root))
    return min(found, default=None)


def _groups(process: Path) -> dict[str, str]:
    """Return the path of the process's memory group in each version that it is in."""
    found = {}
    for line in (process / "cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            found["cgroup2"] = path
        elif "memory" in controllers.split(","):
            found["cgroup"] = path
    return found


def _mounts(process: Path) -> Iterator[tuple[str, Path, str]]:
    """Yield version and folder of what is mounted, and which group that folder is."""
    for line in (process / "mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2" or (kind == "cgroup" and "memory" in options.split(",")):
            root, folder = before.split(" ")[3:5]
            yield kind, Path(folder), root


def _inside(path: str, root: str) -> PurePosixPath:
    """Return a group's path as seen from the group that is mounted.

    In a container the path may be the host's, of which only the container's own end is mounted.
    """
    group = PurePosixPath(path)
    return group.relative_to(root) if group.is_relative_to(root) else PurePosixPath()


def _left(files: _Files, mount: Path, group: PurePosixPath) -> Iterator[int]:
    """Yield what each limit from the group up to the one that is mounted leaves [bytes]."""
    for level in (group, *group.parents):
        folder = mount / level.relative_to(level.anchor)
        with suppress(OSError, ValueError):  # "max" is no number: there is no limit
            limit = int((folder / files.limit).read_text())
            used = int((folder / files.usage).read_text())
            yield max(limit - used + _idle(folder, files.idle), 0)


def _idle(folder: Path, name: str) -> int:
    """Return the file cache that the kernel gives up before it kills anything [bytes]."""
    with suppress(OSError):
        lines = (folder / "memory.stat").read_text().splitlines()
        return next((int(line.split()[1]) for line in lines if line.split()[0] == name), 0)
    return 0
