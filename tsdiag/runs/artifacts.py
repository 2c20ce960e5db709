"""Weights and checkpoints as named byte strings in an artifact store."""

from __future__ import annotations

import errno
import io
import re
from typing import BinaryIO, Protocol

from tsdiag.errors import StoreError, Unreachable

_LASTING = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR)


class ArtifactStore(Protocol):
    """What is needed of a store of bytes; Optuna's artifact stores have it."""

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open for reading; any exception means that it is not there."""

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write or overwrite."""

    def remove(self, artifact_id: str) -> None:
        """Delete; any exception means that it was not there."""


def plain_name(name: str) -> str:
    """Return a name that means a file of its own in any folder or bucket, and nothing outside.

    Raises:
        StoreError: it is another kind of name; the database says it, and anyone may have written
            there.
    """
    if not re.fullmatch(r"\w[\w.-]{0,254}", str(name), re.ASCII):
        raise StoreError(
            f"artifact {name!r}: the name leads out of the artifact folder or is none of tsdiag's; "
            "restore the database from a copy"
        )
    return name


def checkpoints_of(run: str) -> tuple[str, str]:
    """Return the names of a run's checkpoints: the new one is written beside the one before."""
    return f"{run}-a.checkpoint", f"{run}-b.checkpoint"


def weights_of(run: str) -> str:
    """Return the name of a run's best weights."""
    return f"{run}.safetensors"


def write_bytes(store: ArtifactStore, name: str, data: bytes) -> str:
    """Write bytes under a name and return the name.

    Raises:
        Unreachable: there is no room, or no way there, for now.
        StoreError: the folder or bucket cannot be written, or the name leads out of it.
    """
    plain_name(name)
    try:
        store.write(name, io.BytesIO(data))
    except OSError as error:
        raise _kind(error)(
            f"write artifact {name} ({len(data):,} bytes): {error}; make room or correct the "
            "rights of the artifact folder or bucket, then run the same command again"
        ) from error
    return name


def read_bytes(store: ArtifactStore, name: str) -> bytes:
    """Return the bytes under a name.

    Raises:
        Unreachable: there is no way there for now.
        StoreError: there are none, or the name leads out of the folder.
    """
    plain_name(name)
    try:
        with store.open_reader(name) as reader:
            return reader.read()
    except Exception as error:
        if isinstance(error, OSError) and _kind(error) is Unreachable:
            raise Unreachable(
                f"read artifact {name}: {error}; see that the artifact folder can be reached"
            ) from error
        missing = not isinstance(error, OSError) or isinstance(error, FileNotFoundError)
        found = f"not found ({type(error).__name__})" if missing else str(error)
        raise StoreError(
            f"read artifact {name}: {found}; it lies where TSDIAG_ARTIFACTS said when the trial "
            "ran, by default in the folder beside the database: copy both together, or run the "
            "trial again"
        ) from error


def _kind(error: OSError) -> type[StoreError]:
    """Return as what an error is told: rights, and names that are not there, stay as they are."""
    return StoreError if error.errno in _LASTING else Unreachable


def remove_bytes(store: ArtifactStore, name: str | None) -> None:
    """Delete what lies under a name, if anything does."""
    if name is None:
        return
    try:
        store.remove(plain_name(name))
    except Exception:
        return
