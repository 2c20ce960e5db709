"""Gradient norms by block over steps."""

from __future__ import annotations

import numpy as np

from tsdiag.plots.gradients import BEHIND, NAMED, gradients_data, gradients_figure


def test_data_are_the_recorded_ones(recorded):
    case = recorded("vanishing-gradients")
    data = gradients_data(case)
    assert list(data.blocks)[:3] == ["blocks.0", "blocks.1", "blocks.2"]
    assert len(data.blocks) == len(case.record.places("block_gradient_norm"))
    for where, (steps, values) in data.blocks.items():
        signal = case.record.signal("block_gradient_norm", where)
        np.testing.assert_array_equal(steps, signal.steps)
        np.testing.assert_array_equal(values, signal.values)


def test_missing_signals(recorded, without):
    case = recorded("order-blind")
    assert gradients_data(without(case, "block_gradient_norm")) is None
    data = gradients_data(without(case, "head_gradient_norm"))
    assert data.head is None
    assert [trace.name for trace in gradients_figure(data).data] == ["blocks.0", "blocks.1"]


def test_figure_has_a_line_for_each_block_and_one_behind_them(recorded):
    data = gradients_data(recorded("order-blind"))
    figure = gradients_figure(data)
    assert [trace.name for trace in figure.data] == ["blocks.0", "blocks.1", BEHIND]
    assert figure.layout.yaxis.type == "log"
    assert figure.layout.yaxis.title.text == "gradient norm [loss per weight]"
    low, high = (10**power for power in figure.layout.yaxis.range)
    for trace in figure.data:
        assert low < min(trace.y)
        assert max(trace.y) < high


def test_of_many_blocks_some_are_named(recorded):
    figure = gradients_figure(gradients_data(recorded("vanishing-gradients")))
    named = [trace.name for trace in figure.data if trace.showlegend]
    assert len(figure.data) > NAMED + 1
    assert len(named) == NAMED + 1
    assert named[0] == "blocks.0"
    assert named[-2] == figure.data[-2].name


def test_a_gradient_of_zero_is_drawn_and_told(made):
    case = made(
        {
            ("block_gradient_norm", "blocks.0"): ([0, 1, 2], [0.0, 0.0, 0.0]),
            ("block_gradient_norm", "blocks.1"): ([0, 1, 2], [1.0, 0.1, 0.01]),
        }
    )
    figure = gradients_figure(gradients_data(case))
    dead, alive = figure.data
    assert max(dead.y) < min(alive.y)
    assert list(dead.customdata) == [0, 0, 0]
    assert [a.text for a in figure.layout.annotations] == ["down here: exactly 0"]


def test_all_gradients_zero_or_not_finite(made):
    curve = {("block_gradient_norm", "blocks.0"): ([0, 1, 2], [0.0, np.nan, np.inf])}
    gradients_figure(gradients_data(made(curve)))
