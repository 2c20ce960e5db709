"""A folder for artifacts that can be full for a while."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Of a study of 300 trials the artifacts are some 20 MiB [bytes].
_SIZE = 64 << 20


@dataclass(frozen=True)
class Disk:
    """The folder, and how it is made to be full."""

    folder: Path
    filler: Path
    is_real: bool  # a small file system of its own; else workers only act as if it were full

    @property
    def words(self) -> str:
        """How the disk is full, for the table."""
        return "a tmpfs, filled up" if self.is_real else "writes that raise ENOSPC"

    def fill(self) -> None:
        """Leave no room."""
        with contextlib.suppress(OSError), self.filler.open("wb", buffering=0) as file:
            if self.is_real:
                while file.write(bytes(1 << 16)):
                    continue

    def free(self) -> None:
        """Give the room back."""
        self.filler.unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    """Mount a small file system where this process may; else stand in for one."""
    folder.mkdir()
    if not _mounted(folder):
        yield Disk(folder, folder.parent / "disk-is-full", is_real=False)
        return
    try:
        yield Disk(folder, folder / "filler", is_real=True)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def _mounted(folder: Path) -> bool:
    if os.geteuid() != 0:
        return False
    size = f"size={_SIZE}"
    words = ["mount", "-t", "tmpfs", "-o", size, "tsdiag-chaos", folder]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0
