"""Attention entropy of heads, as lines or as a map."""

from __future__ import annotations

import numpy as np

from tsdiag.plots.entropy import NAMED, entropy_data, entropy_figure


def test_data_are_the_recorded_ones(recorded):
    case = recorded("healthy-founding")
    data = entropy_data(case)
    assert len(data.heads) == 16
    assert data.heads[:2] == ("blocks.0.attention[0]", "blocks.0.attention[1]")
    for where, values in zip(data.heads, data.entropy, strict=True):
        signal = case.record.signal("attention_entropy", where)
        np.testing.assert_array_equal(data.steps, signal.steps)
        np.testing.assert_array_equal(values, signal.values)


def test_missing_without_attention(recorded):
    assert entropy_data(recorded("healthy-lstm")) is None


def test_heads_measured_at_different_steps_have_gaps(made):
    case = made(
        {
            ("attention_entropy", "blocks.0.attention[0]"): ([0, 10], [0.9, 0.8]),
            ("attention_entropy", "blocks.0.attention[1]"): ([10, 20], [0.7, 0.6]),
        }
    )
    data = entropy_data(case)
    assert list(data.steps) == [0, 10, 20]
    np.testing.assert_allclose(data.entropy, [[0.9, 0.8, np.nan], [np.nan, 0.7, 0.6]], rtol=1e-6)


def test_few_heads_are_lines(recorded):
    figure = entropy_figure(entropy_data(recorded("order-blind")))
    assert [trace.type for trace in figure.data] == ["scatter"] * 4
    assert figure.data[0].name == "blocks.0 head 0"
    assert len({trace.line.color for trace in figure.data}) == 4


def test_many_heads_are_rows_of_a_map(recorded):
    data = entropy_data(recorded("healthy-founding"))
    figure = entropy_figure(data)
    (trace,) = figure.data
    assert trace.type == "heatmap"
    np.testing.assert_array_equal(trace.z, data.entropy)
    assert (trace.zmin, trace.zmax) == (0, 1)
    assert len(figure.layout.yaxis.ticktext) == 16
    low, high = figure.layout.yaxis.range
    assert low > high  # the first block is on top


def test_of_very_many_heads_the_first_of_some_blocks_are_named(made):
    heads = [f"blocks.{block}.attention[{head}]" for block in range(20) for head in range(8)]
    curves = {("attention_entropy", head): ([0], [0.5]) for head in heads}
    figure = entropy_figure(entropy_data(made(curves)))
    names = figure.layout.yaxis.ticktext
    assert len(names) <= NAMED
    assert names[:2] == ("blocks.0 head 0", "blocks.2 head 0")
    assert figure.layout.yaxis.tickvals[:2] == (0, 16)
