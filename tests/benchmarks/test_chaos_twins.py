"""Bit-equality in benchmarks/chaos: it holds for a run as it is, and one flipped bit breaks it."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import select

from tsdiag.store.schema import CURVES

CHAOS = Path(__file__).parents[2] / "benchmarks" / "chaos"


@pytest.fixture(scope="module")
def twins():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(CHAOS)
        specification = importlib.util.spec_from_file_location("chaos_twins", CHAOS / "twins.py")
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        yield module
        sys.modules.pop("ledger", None)  # a name that others may want


@pytest.fixture(scope="module")
def trained(twins, config, tmp_path_factory):
    """Return what a run of twelve steps has left: its row, its curves, its artifacts."""
    quiet = twins._Quiet(tmp_path_factory.mktemp("left"))
    asked = {"study": "s", "role": "trial", "trial": 0, "label": "", "state": "completed"}
    row, _ = quiet.run_again(asked | {"config": config.to_json()})
    with quiet._store.read() as connection:
        curves = [dict(found) for found in connection.execute(select(CURVES)).mappings()]
    return SimpleNamespace(row=row, curves=curves, files=quiet.artifacts.folder)


@pytest.fixture
def left(trained):
    """Return copies of row and curves, and the artifacts as they were when the test is over."""
    weights = trained.files / trained.row["weights"]
    before = weights.read_bytes()
    yield SimpleNamespace(
        row=dict(trained.row),
        curves=[dict(row) for row in trained.curves],
        files=trained.files,
        weights=weights,
    )
    weights.write_bytes(before)


def found_in(twins, left):
    lineage = twins.Lineage("trial 0", 2, left.row)
    ((_, found),) = twins.differences([lineage], left.curves, left.files)
    return found


def flipped(data, at):
    """Return bytes of which the lowest bit of one is another."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_a_run_that_is_done_again_is_the_same(twins, left):
    assert found_in(twins, left) == []


@pytest.mark.parametrize("part", ["steps", "values"])
def test_one_bit_of_a_curve_is_named(part, twins, left):
    (row,) = (row for row in left.curves if row["name"] == "validation_loss")
    row[part] = flipped(row[part], len(row[part]) - 4)
    assert found_in(twins, left) == ["curve validation_loss"]


def test_a_missing_curve_is_named(twins, left):
    left.curves = [row for row in left.curves if row["name"] != "validation_loss"]
    assert found_in(twins, left) == ["curve validation_loss"]


def test_one_bit_of_the_weights_is_named(twins, left):
    data = left.weights.read_bytes()
    left.weights.write_bytes(flipped(data, len(data) - 1))
    assert found_in(twins, left) == ["weights"]


def test_missing_weights_are_named(twins, left):
    left.weights.unlink()
    assert found_in(twins, left) == ["weights"]


@pytest.mark.parametrize("name", ["validation_loss", "last_validation_loss"])
def test_the_next_number_in_place_of_a_loss_is_named(name, twins, left):
    loss = left.row[name]
    left.row[name] = math.nextafter(loss, math.inf)
    assert found_in(twins, left) == [f"{name} {left.row[name]!r}, not {loss!r}"]
