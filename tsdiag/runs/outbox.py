"""What a run has to tell the store: sent as it comes, kept while the database is away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

from tsdiag.diagnostics.signals import Signal
from tsdiag.runs.artifacts import ArtifactStore, remove_bytes, write_bytes
from tsdiag.store.curves import append_curves
from tsdiag.store.database import Store
from tsdiag.store.runs import change_running, end_run


class TakenOver(Exception):
    """Another worker has taken this run for dead and goes on with it: nothing more is written."""


class Outbox:
    """Curves and columns of one run on their way to the store, in order.

    Curves go first: they must reach as far as the checkpoint that the row then names. What the
    row no longer names is removed last, so that whoever reads it finds what it names.
    """

    def __init__(self, store: Store, artifacts: ArtifactStore, run: str) -> None:
        self._store = store
        self._artifacts = artifacts
        self._run = run
        self._appends = 0
        self._curves: list[tuple[int, Sequence[Signal]]] = []
        self._columns: dict[str, object] = {}
        self._unnamed: list[str] = []

    def add(self, signals: Sequence[Signal]) -> None:
        """Take what was measured."""
        if signals:
            self._curves.append((self._appends, signals))
            self._appends += 1

    def set(self, **columns: object) -> None:
        """Take columns of the run's row; of what is set twice the last counts."""
        self._columns |= columns

    @property
    def unnamed_checkpoint(self) -> str | None:
        """The checkpoint that the row does not name yet, or None."""
        return cast("str | None", self._columns.get("checkpoint"))

    def remove(self, artifact: str | None) -> None:
        """Take the name of an artifact to remove once the row has let go of it."""
        if artifact is not None:
            self._unnamed.append(artifact)

    def write(self, artifact: str, data: bytes, pause: Callable[[], object]) -> str:
        """Write an artifact, waiting for room; return its name.

        ``pause`` is called before each attempt: however long it takes, the run stays this worker's.
        """

        def attempt() -> str:
            pause()
            return write_bytes(self._artifacts, artifact, data)

        # Of its own: that the database can be reached says nothing of the artifact store.
        return replace(self._store.patience)(attempt)

    def send(self) -> None:
        """Send everything, waiting for the database as long as the store's patience lasts.

        Raises:
            StoreError: the database refused or could not be reached; what was not sent is kept.
            TakenOver: another worker has ended the run.
        """
        while self._curves:
            chunk, signals = self._curves[0]
            append_curves(self._store, self._run, signals, chunk)
            del self._curves[0]
        write = end_run if "state" in self._columns else change_running
        if self._columns and not write(self._store, self._run, **self._columns):
            raise TakenOver
        self._columns = {}
        while self._unnamed:
            remove_bytes(self._artifacts, self._unnamed.pop())

    def offer(self) -> bool:
        """Send everything if the database can be reached right now; tell whether it could.

        Raises:
            Unreachable: the database has been away for longer than patience lasts.
        """
        return self._store.patience.attempt(self.send)
