"""Weights and checkpoints as named byte strings in an artifact store."""

from __future__ import annotations

import io
from typing import BinaryIO, Protocol

from tsdiag.errors import StoreError


class ArtifactStore(Protocol):
    """What is needed of a store of bytes; Optuna's artifact stores have it."""

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open for reading; any exception means that it is not there."""

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write or overwrite."""

    def remove(self, artifact_id: str) -> None:
        """Delete; any exception means that it was not there."""


def write_bytes(store: ArtifactStore, name: str, data: bytes) -> str:
    """Write bytes under a name and return the name.

    Raises:
        StoreError: the folder or bucket cannot be written.
    """
    try:
        store.write(name, io.BytesIO(data))
    except OSError as error:
        raise StoreError(
            f"write artifact {name} ({len(data):,} bytes): {error}; make room or correct the "
            "rights of the artifact folder, then run the same command again"
        ) from error
    return name


def read_bytes(store: ArtifactStore, name: str) -> bytes:
    """Return the bytes under a name.

    Raises:
        StoreError: there are none.
    """
    try:
        with store.open_reader(name) as reader:
            return reader.read()
    except Exception as error:
        raise StoreError(
            f"read artifact {name}: not found ({type(error).__name__}); it lies in the folder "
            "beside the database: copy both together, or run the trial again"
        ) from error


def remove_bytes(store: ArtifactStore, name: str | None) -> None:
    """Delete what lies under a name, if anything does."""
    if name is None:
        return
    try:
        store.remove(name)
    except Exception:
        return
