"""Folder and bucket keep artifacts alike, and only their own, whatever they are called."""

from __future__ import annotations

import io
import shutil

import pytest
from optuna.artifacts.exceptions import ArtifactNotFound

from tests.buckets import bucket_server
from tsdiag.errors import StoreError
from tsdiag.runs.artifacts import read_bytes, remove_bytes, write_bytes
from tsdiag.search.artifacts import FOLDER, AtomicFolder, artifact_store, refuse_other_place
from tsdiag.store.studies import save_study

OUTSIDE = ["../outside", "a/../../outside", "..", ".", "", "a/b", "a\\b", "..\\outside"]
OUTSIDE += ["outside\0.txt", "C:outside", "~", ".hidden", "a\nb", "é", "a" * 256]
OWN = ["0af3-12.checkpoint", "0af3.safetensors", "0af3-beijing33.floors", "b9c2-4e1d-9f3a"]


@pytest.fixture
def folder(tmp_path):
    return AtomicFolder(tmp_path / FOLDER)


@pytest.fixture(params=["folder", "bucket"])
def artifacts(request, store, monkeypatch):
    if request.param == "bucket":
        monkeypatch.setenv("TSDIAG_ARTIFACTS", f"{request.getfixturevalue('bucket')}/a/b")
    return artifact_store(store)


@pytest.fixture
def outside(folder, tmp_path):
    """A file beside the artifact folder, and under its name in a folder within."""
    file = tmp_path / "outside"
    file.write_bytes(b"mine")
    (folder.folder / "a").mkdir()
    (folder.folder / "a" / "b").write_bytes(b"mine")
    return file


def test_what_is_written_is_read(artifacts):
    for size in (0, 1, 100_000, 9_000_000):  # boto3 sends the last one in two parts
        data = bytes(range(250)) * (size // 250) + bytes(size % 250)
        assert write_bytes(artifacts, OWN[0], data) == OWN[0]
        assert read_bytes(artifacts, OWN[0]) == data


def test_what_is_written_again_is_the_new(artifacts):
    for data in (b"long and old", b"new"):
        write_bytes(artifacts, OWN[0], data)
    assert read_bytes(artifacts, OWN[0]) == b"new"


def test_what_is_removed_is_gone_and_the_rest_is_not(artifacts):
    write_bytes(artifacts, "other", b"y")
    for name in OWN:
        write_bytes(artifacts, name, b"x")
        remove_bytes(artifacts, name)
        with pytest.raises(StoreError, match="not found"):
            read_bytes(artifacts, name)
        with pytest.raises(ArtifactNotFound):
            artifacts.open_reader(name)
        remove_bytes(artifacts, name)  # as a second worker may
    assert read_bytes(artifacts, "other") == b"y"


def test_no_name_leads_out(artifacts, outside, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    for name in [*OUTSIDE, str(outside)]:
        with pytest.raises(StoreError, match="restore the database from a copy"):
            read_bytes(artifacts, name)
        with pytest.raises(StoreError, match="artifact"):
            write_bytes(artifacts, name, b"theirs")
        remove_bytes(artifacts, name)
        # The dashboard asks the store itself.
        for use in (artifacts.open_reader, artifacts.remove):
            with pytest.raises(StoreError):
                use(name)
        with pytest.raises(StoreError):
            artifacts.write(name, io.BytesIO(b"theirs"))
    assert sorted(tmp_path.rglob("*")) == before
    assert outside.read_bytes() == b"mine"


def test_links_are_not_followed(folder, outside):
    link = folder.folder / "link.safetensors"
    link.symlink_to(outside)
    with pytest.raises(StoreError, match="not found"):
        read_bytes(folder, link.name)
    with pytest.raises(ArtifactNotFound):
        folder.open_reader(link.name)
    write_bytes(folder, link.name, b"theirs")
    assert (link.is_symlink(), link.read_bytes(), outside.read_bytes()) == (
        False,
        b"theirs",
        b"mine",
    )
    link.unlink()
    link.symlink_to(outside)
    remove_bytes(folder, link.name)
    assert not link.is_symlink()
    assert outside.read_bytes() == b"mine"


def test_a_folder_that_is_gone_is_told(folder):
    shutil.rmtree(folder.folder)
    check_lost(folder)


def test_a_bucket_that_is_gone_is_told(bucket, store, monkeypatch):
    monkeypatch.setenv("TSDIAG_ARTIFACTS", bucket)
    with bucket_server() as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
        artifacts = artifact_store(store)
        write_bytes(artifacts, OWN[0], b"x")
    check_lost(artifacts)
    with pytest.raises(StoreError, match="AWS_ENDPOINT_URL_S3") as told:
        read_bytes(artifacts, OWN[0])
    # To whoever resumes it makes a difference.
    assert "not found" not in str(told.value)


def check_lost(artifacts):
    with pytest.raises(OSError):  # noqa: PT011
        artifacts.write(OWN[0], io.BytesIO(b"x"))
    with pytest.raises(StoreError, match=r"write artifact .* \(1 bytes\): .*; make room or"):
        write_bytes(artifacts, OWN[0], b"x")
    with pytest.raises(StoreError, match="read artifact"):
        read_bytes(artifacts, OWN[0])
    remove_bytes(artifacts, OWN[0])


def test_a_study_s_workers_share_one_place(store, tmp_path, monkeypatch):
    save_study(store, "tiny", {})
    for _ in range(2):
        refuse_other_place(store, "tiny", artifact_store(store))
    assert len(list((tmp_path / FOLDER).iterdir())) == 1
    monkeypatch.setenv("TSDIAG_ARTIFACTS", str(tmp_path / "elsewhere"))
    with pytest.raises(
        StoreError, match="elsewhere, where this worker would leave its own"
    ) as told:
        refuse_other_place(store, "tiny", artifact_store(store))
    assert f"left its artifacts in {tmp_path / FOLDER}," in str(told.value)
    assert "TSDIAG_ARTIFACTS" in str(told.value)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_others_may_read_what_one_has_written(folder):
    write_bytes(folder, "x", b"mine")
    fresh = folder.folder / "fresh"
    fresh.touch()
    assert (folder.folder / "x").stat().st_mode == fresh.stat().st_mode
