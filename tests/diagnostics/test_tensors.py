"""Tensors make up parts of a model by their names alone."""

from __future__ import annotations

import pytest

from tsdiag.diagnostics.tensors import is_position, listed, share, wholes


def test_children_count_alike_below_a_wrapper():
    names = ["module.a.x", "module.a.y", "module.b.0.x", "module.b.1.x", "module.c.x"]
    assert share(["module.a.x", "module.a.y"], names) == pytest.approx(1 / 3)
    assert share(["module.b.0.x"], names) == pytest.approx(1 / 6)
    assert share([], []) == 0


def test_shortest_paths():
    names = ["a.x", "a.y", "b.0.x", "b.1.x", "bb.x"]
    assert wholes(["a.x", "a.y", "b.1.x"], names) == ("a", "b.1")
    assert wholes(["a.x"], names) == ("a.x",)
    assert wholes(["b.0.x", "b.1.x", "bb.x"], names) == ("b", "bb")


def test_lists_in_words():
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


def test_tables_of_positions_by_name():
    tables = ["positions.table", "encoder.pos_embed", "transformer.wpe.weight", "model.pe"]
    assert all(map(is_position, tables))
    assert not any(map(is_position, ["blocks.0.post_norm.weight", "layers.0.pos_ffn.w1.bias"]))
