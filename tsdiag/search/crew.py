"""The worker processes of one machine: started, watched, stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Self

from tsdiag.errors import TsdiagError
from tsdiag.search.interruption import PARENT
from tsdiag.search.worker import Place
from tsdiag.store.database import Store

# A worker that was killed is started anew this often, all workers together.
_RESTARTS = 10


@dataclass
class Member:
    """One worker process and where its complaints go."""

    place: Place
    process: subprocess.Popen[bytes]
    stderr: IO[bytes]


@dataclass
class Crew:
    """Workers on this machine; each has one thread and a core to itself."""

    store: Store
    study: str
    places: list[Place]
    members: list[Member] = field(default_factory=list)
    _restarts: int = 0
    _stopping: bool = False

    def __enter__(self) -> Self:
        """Start all workers."""
        for place in self.places:
            self.members.append(self._hire(place))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave no worker behind, whatever went wrong here."""
        if self.members:
            self.stop()
            _wait_for(self.members)
            for member in self.members:
                member.stderr.close()

    def is_working(self) -> bool:
        """Look after the workers; False once all have ended.

        Raises:
            TsdiagError: workers ended with an error.
        """
        for member in list(self.members):
            code = member.process.poll()
            if code is not None:
                self.members.remove(member)
                self._part_from(member, code)
        return bool(self.members)

    def stop(self) -> None:
        """Ask all workers to checkpoint, queue their trials again, and end."""
        self._stopping = True
        for member in self.members:
            member.process.send_signal(signal.SIGTERM)

    def _hire(self, place: Place) -> Member:
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        arguments = [
            *(sys.executable, "-m", "tsdiag", "worker", self.study),
            *("--index", str(place.index), "--of", str(place.of)),
            *("--deadline", repr(place.deadline), "--device", place.device),
            *("--patience", f"{self.store.patience.seconds:f}s"),
            *(["--finals-only"] if place.finals_only else []),
            *(["--verify", place.verify] if place.verify else []),
        ]
        # By environment, not by argument: arguments are public, and the URL may hold a password.
        environment = os.environ | {
            "TSDIAG_STORAGE": self.store.full_url,
            PARENT: str(os.getpid()),
            "OMP_NUM_THREADS": "1",
        }
        process = subprocess.Popen(
            arguments,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            # Ctrl-C reaches the search alone, which then asks its workers once.
            start_new_session=True,
        )
        return Member(place, process, stderr)

    def _part_from(self, member: Member, code: int) -> None:
        with member.stderr as stderr:
            stderr.seek(0)
            told = stderr.read().decode(errors="replace").strip()
        if told and code <= 0:
            sys.stderr.write(f"{told}\n")
        if code < 0 and not self._stopping and self._restarts < _RESTARTS:
            self._restarts += 1
            sys.stderr.write(
                f"worker {member.place.index} was killed by signal {-code}; it is started anew\n"
            )
            self.members.append(self._hire(member.place))
        elif code != 0 and not self._stopping:
            raise TsdiagError(
                f"worker {member.place.index} of study {self.study} ended with code {code}: "
                f"{told[-2000:] or '(it said nothing)'}"
            )


def _wait_for(members: list[Member], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    for member in members:
        try:
            member.process.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            member.process.kill()
