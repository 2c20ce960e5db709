"""Optuna's storage and artifact folder for a storage URL."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import BinaryIO

import optuna
from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound
from sqlalchemy.pool import NullPool

from tsdiag.errors import StoreError, redact
from tsdiag.runs.artifacts import plain_name
from tsdiag.store.database import BUSY, Store
from tsdiag.store.failures import told
from tsdiag.store.leases import held
from tsdiag.store.owners import owner
from tsdiag.store.urls import parse

FOLDER = "tsdiag-artifacts"


def open_storage(store: Store) -> optuna.storages.RDBStorage:
    """Open Optuna's tables in a store's database; no connection is kept between calls.

    Raises:
        StoreError: the tables there are of another version of Optuna.
    """
    options: dict[str, object] = {"poolclass": NullPool}
    if store.engine.dialect.name == "sqlite":
        options["connect_args"] = {"timeout": BUSY}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        # Two processes that create Optuna's tables at once trip over each other.
        with told(store.url, "open"), held(store, "optuna-tables", owner()):
            return optuna.storages.RDBStorage(store.full_url, engine_kwargs=options)
    except RuntimeError as error:
        raise StoreError(
            f"open Optuna's tables in {store.url}: {error}; upgrade them with: optuna storage "
            "upgrade --storage URL"
        ) from error


class AtomicFolder(FileSystemArtifactStore):
    """A folder of artifacts in which a file is there whole or not at all, kill -9 or not."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder)
        self.folder = folder

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
        handle, name = tempfile.mkstemp(dir=self.folder, prefix=".writing-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content_body.read())
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def artifact_store(store: Store) -> AtomicFolder:
    """Return the artifact folder of a database: TSDIAG_ARTIFACTS, or a folder beside the file.

    Raises:
        StoreError: the folder cannot be made.
    """
    url = parse(store.full_url)
    beside = Path(url.database or ".").parent if url.get_backend_name() == "sqlite" else Path()
    asked = os.environ.get("TSDIAG_ARTIFACTS")
    if asked is not None and "://" in asked:
        raise StoreError(
            f"TSDIAG_ARTIFACTS = {redact(asked)}: only folders can hold artifacts as "
            "yet; name a folder that all workers reach"
        )
    folder = Path(asked or beside / FOLDER)
    try:
        return AtomicFolder(folder)
    except OSError as error:
        raise StoreError(
            f"make the artifact folder {folder}: {error}; name another one in TSDIAG_ARTIFACTS"
        ) from error
