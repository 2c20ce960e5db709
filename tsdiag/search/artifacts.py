"""Where a database's weights, checkpoints and figures lie: a folder, or an S3 bucket."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from tsdiag.errors import StoreError, Unreachable, redact
from tsdiag.runs.artifacts import (
    ArtifactStore,
    plain_name,
    read_bytes,
    remove_bytes,
    write_bytes,
)
from tsdiag.store.database import Store
from tsdiag.store.studies import set_attribute
from tsdiag.store.urls import parse

FOLDER = "tsdiag-artifacts"
PLACE = "TSDIAG_ARTIFACTS"
# Attribute of a study: the mark that its first worker left among the artifacts, and where.
ARTIFACTS = "artifacts"

# A bucket's name, and a prefix of which no part is "." or "..".
_BUCKET = re.compile(r"s3://([\w.-]{3,63})((?:/(?!\.+(?:/|$))[\w.=+-]+)*)/?", re.ASCII)


class AtomicFolder(FileSystemArtifactStore):
    """A folder of artifacts in which a file is there whole or not at all, kill -9 or not."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder)
        self.folder = folder

    def __str__(self) -> str:
        return str(self.folder.resolve())

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open for reading what lies in the folder itself: a link may lead anywhere."""
        path = self._get_filepath(artifact_id)
        if path.is_symlink():
            raise ArtifactNotFound(f"{artifact_id} is a link, which is not followed")
        return super().open_reader(artifact_id)

    def _get_filepath(self, artifact_id: str) -> Path:
        # Optuna's own check lets names of subfolders and ".." within the folder pass; the
        # dashboard gives names from addresses.
        return self.folder / plain_name(artifact_id)

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write beside the target and rename over it, which file systems do atomically."""
        target = self._get_filepath(artifact_id)  # a link there is replaced, not followed
        # Not by tempfile, whose files nobody else may read: workers of a shared folder may run
        # under several accounts.
        new = self.folder / f".writing-{uuid4().hex}"
        try:
            with new.open("xb") as file:
                file.write(content_body.read())
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, target)
        except BaseException:
            new.unlink(missing_ok=True)
            raise


def artifact_store(store: Store) -> ArtifactStore:
    """Return where the artifacts of a database lie: TSDIAG_ARTIFACTS, or a folder beside the file.

    A bucket that cannot be reached is waited for as the store's patience says.

    Raises:
        StoreError: the folder cannot be made, or the bucket is not there or lets nobody in.
    """
    asked = os.environ.get(PLACE)
    if asked and "://" in asked:
        return store.patience(lambda: _open_bucket(asked))
    url = parse(store.full_url)
    beside = Path(url.database or ".").parent if url.get_backend_name() == "sqlite" else Path()
    folder = Path(asked or beside / FOLDER)
    try:
        return AtomicFolder(folder)
    except OSError as error:
        raise StoreError(
            f"make the artifact folder {folder}: {error}; name another one in {PLACE}"
        ) from error


def refuse_other_place(store: Store, study: str, artifacts: ArtifactStore) -> None:
    """Check that a study's workers can write artifacts, and that all of them mean one place.

    The first one leaves a mark there, and the others look for it: where each had a folder of its
    own, trials could not be resumed elsewhere, and the verdict would find no weights.

    Raises:
        StoreError: this one has another place, or cannot write to it.
    """
    mine = f"{uuid4().hex}.study"
    store.patience(lambda: write_bytes(artifacts, mine, study.encode()))
    first = set_attribute(store, study, ARTIFACTS, {"mark": mine, "in": str(artifacts)}, once=True)
    if first["mark"] == mine:
        return
    remove_bytes(artifacts, mine)
    try:
        store.patience(lambda: read_bytes(artifacts, first["mark"]))
    except Unreachable:
        raise
    except StoreError as error:
        raise StoreError(
            f'study "{study}": its first worker left its artifacts in {first["in"]}, and they are '
            f"not in {artifacts}, where this worker would leave its own; name the folder or "
            f"bucket that all workers share in {PLACE}"
        ) from error


def _open_bucket(asked: str) -> ArtifactStore:
    place = _BUCKET.fullmatch(asked)
    if place is None:
        raise StoreError(
            f"{PLACE} = {redact(asked)}: artifacts lie in a folder or in an S3 bucket; name a "
            "folder that all workers reach, or write s3://BUCKET/PREFIX"
        )
    try:
        from tsdiag.search.bucket import Bucket
    except ModuleNotFoundError as error:
        raise StoreError(
            f"{PLACE} = {asked}: no package {error.name}, which S3 needs; install it: "
            'pip install "tsdiag[s3]"'
        ) from None
    try:
        return Bucket(place[1], place[2].strip("/"))
    except OSError as error:
        # What trying again does not help with has a number.
        raise (StoreError if error.errno else Unreachable)(f"open {PLACE} = {error}") from None
