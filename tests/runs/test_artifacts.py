"""Artifacts lie in their folder, whatever the database says that they are called."""

from __future__ import annotations

import io

import pytest
from optuna.artifacts.exceptions import ArtifactNotFound

from tsdiag.errors import StoreError
from tsdiag.runs.artifacts import read_bytes, remove_bytes, write_bytes

OUTSIDE = ["../outside", "/outside", "a/../../outside", "..", ".", "", "a/b", "a\\b", "..\\outside"]
OUTSIDE += ["outside\0.txt", "C:outside", "~", ".hidden", "a\nb", "é", "a" * 256]


@pytest.fixture
def outside(artifacts, tmp_path):
    """A file beside the artifact folder, and under its name in a folder within."""
    file = tmp_path / "outside"
    file.write_bytes(b"mine")
    (artifacts.folder / "a").mkdir()
    (artifacts.folder / "a" / "b").write_bytes(b"mine")
    return file


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_name_leads_out_of_the_folder(artifacts, outside, tmp_path, name):
    names = [str(outside) if name == "/outside" else name]
    before = sorted(tmp_path.rglob("*"))
    for name in names:
        with pytest.raises(StoreError, match="restore the database from a copy"):
            read_bytes(artifacts, name)
        with pytest.raises(StoreError, match="artifact"):
            write_bytes(artifacts, name, b"theirs")
        remove_bytes(artifacts, name)
        # The dashboard asks the folder itself.
        for use in (artifacts.open_reader, artifacts.remove):
            with pytest.raises(StoreError):
                use(name)
        with pytest.raises(StoreError):
            artifacts.write(name, io.BytesIO(b"theirs"))
    assert sorted(tmp_path.rglob("*")) == before
    assert outside.read_bytes() == b"mine"


def test_links_are_not_followed(artifacts, outside):
    link = artifacts.folder / "link.safetensors"
    link.symlink_to(outside)
    with pytest.raises(StoreError, match="not found"):
        read_bytes(artifacts, link.name)
    with pytest.raises(ArtifactNotFound):
        artifacts.open_reader(link.name)
    write_bytes(artifacts, link.name, b"theirs")
    assert (link.is_symlink(), link.read_bytes(), outside.read_bytes()) == (
        False,
        b"theirs",
        b"mine",
    )
    link.unlink()
    link.symlink_to(outside)
    remove_bytes(artifacts, link.name)
    assert not link.is_symlink()
    assert outside.read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["0af3-12.checkpoint", "0af3.safetensors", "b9c2-4e1d-9f3a"])
def test_names_of_its_own_and_optunas_pass(artifacts, name):
    assert write_bytes(artifacts, name, b"x") == name
    assert read_bytes(artifacts, name) == b"x"
    remove_bytes(artifacts, name)
    assert list(artifacts.folder.iterdir()) == []
