"""Checkpoints, weights, curves and database files: what is damaged is told, and never used."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from tsdiag.config import ModelConfig, RunConfig
from tsdiag.diagnostics.signals import Signal
from tsdiag.errors import StoreError, TsdiagError
from tsdiag.explanation import explain
from tsdiag.models import build
from tsdiag.report.leaderboard import leaderboard, leaderboard_text
from tsdiag.runs.weights import pack_trained, shapes_of, unpack_trained
from tsdiag.store.curves import append_curves, load_trace, merge_curves
from tsdiag.store.database import open_store
from tsdiag.store.findings import told_of
from tsdiag.store.runs import RunRow, create_run, find_runs, newest
from tsdiag.store.studies import list_studies, save_study
from tsdiag.training.checkpoint import (
    Progress,
    pack,
    pack_checkpoint,
    restore_checkpoint,
    unpack,
)

sys.path.insert(0, str(Path(__file__).parent))
from damage import MANY, SOME, damaged, told

PACKED = pack({"a": torch.arange(5.0), "b": torch.tensor(True)}, {"step": 17})
JSON = (b"{", b"}", b"[", b"]", b'"', b",", b"null", b"1e9", b"\\ud800", b"F32", b"U8", b"\0")
# Sizes stay small: a model of a billion weights is another matter than a damaged file.
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 64) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)


@st.composite
def altered(draw, value):
    """Facts with one of them, at any depth, lost or replaced by something else of JSON."""
    if isinstance(value, dict) and value and draw(st.booleans()):
        key = draw(st.sampled_from(sorted(value)))
        rest = {name: item for name, item in value.items() if name != key}
        return rest if draw(st.integers(0, 3)) == 0 else {**rest, key: draw(altered(value[key]))}
    if isinstance(value, list) and value and draw(st.booleans()):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], draw(altered(value[place])), *value[place + 1 :]]
    return draw(JUNK)


TENSORS = st.sampled_from(
    [torch.zeros(3), torch.zeros(0), torch.tensor(1), torch.ones(2, 2, dtype=torch.bool)]
)


@st.composite
def other_tensors(draw, tensors):
    """The tensors with one lost, replaced, or one too many."""
    names = [*sorted(tensors), "model.x", "optimizer.x", "optimizer.9.x", "optimizer.a.b", "best."]
    name, rest = draw(st.sampled_from(names)), dict(tensors)
    rest.pop(name, None)
    return {**rest, name: draw(TENSORS)} if draw(st.booleans()) else rest


@pytest.fixture(scope="module")
def model(config, dataset):
    return build(config, shapes_of(dataset), torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def optimizer(model):
    return torch.optim.AdamW(model.parameters(), lr=1e-3)


@pytest.fixture(scope="module")
def checkpoint(model, optimizer):
    sum(parameter.sum() for parameter in model.parameters()).backward()
    optimizer.step()
    best = {name: value.clone() for name, value in model.state_dict().items()}
    return pack_checkpoint(model, optimizer, Progress(step=7, best_weights=best))


@pytest.fixture(scope="module")
def weights(model, config, dataset):
    return pack_trained(model, config, dataset)


@pytest.fixture(autouse=True)
def _generator():
    with torch.random.fork_rng(devices=[]):
        yield


@MANY
@example(b"\xff" * 8)
@example((60_000).to_bytes(8, "little") + b"[" * 60_000)
@given(damaged(PACKED, JSON) | st.binary(max_size=60))
def test_any_packed_file(content):
    try:
        tensors, facts = unpack(content)
    except StoreError as error:
        told(error, "restore it from a copy")
        return
    assert torch.equal(tensors["a"], torch.arange(5.0))
    assert bool(tensors["b"])
    assert facts == {"step": 17}


@SOME
@given(st.data())
def test_any_checkpoint(checkpoint, model, optimizer, data):
    content = data.draw(damaged(checkpoint, JSON))
    try:
        progress = restore_checkpoint(content, model, optimizer)
    except StoreError as error:
        told(error)
        return
    assert (progress.step, len(progress.best_weights)) == (7, len(model.state_dict()))


@MANY
@given(st.data())
def test_any_facts_in_a_checkpoint(checkpoint, model, optimizer, data):
    tensors, facts = unpack(checkpoint)
    if data.draw(st.booleans()):
        facts = data.draw(altered(facts))
    else:
        tensors = data.draw(other_tensors(tensors))
    try:
        progress = restore_checkpoint(pack(tensors, facts), model, optimizer)
    except StoreError as error:
        told(error)
        return
    finally:
        restore_checkpoint(checkpoint, model, optimizer)
    assert progress.best_weights.keys() in (set(), model.state_dict().keys())
    assert isinstance(progress.step, int)
    assert isinstance(progress.best_validation_loss, float | int)


@SOME
@given(st.data())
def test_any_weights(weights, config, data):
    try:
        trained = unpack_trained(data.draw(damaged(weights, JSON)))
    except StoreError:
        return
    assert trained.config == config


@SOME
@given(st.data())
def test_any_facts_in_weights(weights, data):
    tensors, facts = unpack(weights)
    if data.draw(st.booleans()):
        facts = data.draw(altered(facts))
    else:
        tensors = data.draw(other_tensors(tensors))
    try:
        trained = unpack_trained(pack(tensors, facts))
    except StoreError as error:
        told(error)
        return
    assert len(trained.input_scaler.mean) == len(trained.channels)
    assert len(trained.target_scaler.std) == len(trained.targets)


STEPS, VALUES = (np.arange(first, first + 4, dtype=np.float32) for first in (0, 50))


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """A study with a baseline and two trials, in one file."""
    file = tmp_path_factory.mktemp("fuzz") / "tsdiag.db"
    store = open_store(f"sqlite:///{file}")
    save_study(store, "wind", {"search": {"trials": 2}})
    config = RunConfig(model=ModelConfig(kind="lstm")).to_json()
    for trial in (None, 0, 1):
        role = "baseline" if trial is None else "trial"
        facts = {"trial": trial, "state": "completed", "validation_loss": 0.5}
        row = create_run(store, RunRow("wind", role, config, **facts))
        for chunk in (0, 4):
            append_curves(store, row.id, [Signal("train_loss", "", "x", STEPS + chunk, VALUES)])
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    return file


CELLS = {
    "steps": st.binary(max_size=20) | st.integers() | st.text(max_size=5),
    "values": st.binary(max_size=20) | st.integers(0, 1 << 40) | st.floats(allow_nan=False),
    "length": st.integers(-5, 1 << 40) | st.text(max_size=5) | st.binary(max_size=5),
    "checksum": st.integers(-5, 1 << 40) | st.text(max_size=5),
}


@SOME
@given(st.sampled_from(sorted(CELLS)), st.data())
def test_any_packed_curve(database, column, data):
    file = database.with_name("curves.db")
    shutil.copy(database, file)
    cell = data.draw(
        st.one_of(CELLS[column], damaged((STEPS + 4).tobytes()), damaged(VALUES.tobytes()))
    )
    store = open_store(f"sqlite:///{file}")
    run = find_runs(store, "wind", "trial", 0)[0].id
    with closing(sqlite3.connect(file)) as connection, connection:
        where = f'UPDATE tsdiag_curves SET "{column}" = ? WHERE run = ? AND chunk = 1'
        try:
            connection.execute(where, (cell, run))
        except OverflowError:  # no cell of SQLite holds it
            return
    for use in (load_trace, merge_curves):
        try:
            use(store, run)
        except StoreError as error:
            told(error, "damaged")
            continue
        (found,) = load_trace(store, run).signals
        assert found.steps.tolist() == [*range(8)]
        assert found.values.tolist() == [*VALUES, *VALUES]


@MANY
@given(st.data())
def test_any_database_file(database, data):
    for beside in database.parent.glob("damaged.db*"):
        beside.unlink()
    file, content = database.with_name("damaged.db"), bytearray(database.read_bytes())
    written = [place for place, byte in enumerate(content) if byte]
    for place in data.draw(st.lists(st.sampled_from(written), max_size=20)):
        content[place] = data.draw(st.integers(0, 255))
    if data.draw(st.integers(0, 4)) == 0:
        del content[data.draw(st.integers(0, len(content))) :]
    file.write_bytes(content)
    try:
        store = open_store(f"sqlite:///{file}", read_only=True)
        for study in list_studies(store):
            runs = newest(find_runs(store, study.name))
            causes = told_of(store, study.name)
            leaderboard_text(leaderboard(study.name, runs, None, study.floor_losses, causes))
        explain("1", "wind", f"sqlite:///{file}")
    except TsdiagError as error:
        told(error)
