"""Losses against floors and baseline, and where a run stalled."""

from __future__ import annotations

import numpy as np
import pytest

from tsdiag.plots.loss import loss_data, loss_figure


def test_data_are_the_recorded_ones(recorded):
    case = recorded("order-blind")
    data = loss_data(case)
    for name, steps, values in (
        ("validation_loss", data.steps, data.validation),
        ("train_loss", data.train_steps, data.train),
    ):
        signal = case.record.signal(name)
        np.testing.assert_array_equal(steps, signal.steps)
        np.testing.assert_array_equal(values, signal.values)
    assert data.floors == case.standing.scores.floors
    assert data.baseline == case.standing.scores.baseline
    assert data.validation[data.best] == data.validation.min()


def test_missing_signals(recorded, without):
    case = recorded("order-blind")
    assert loss_data(without(case, "validation_loss")) is None
    data = loss_data(without(case, "train_loss"))
    assert len(data.train) == 0
    assert loss_figure(data).data[0].name == "validation"


def test_the_stall_begins_where_little_is_gained_any_more(made):
    losses = [1.0, 0.5, 0.4, 0.41, 0.395, 0.39]
    curve = {("validation_loss", ""): (range(0, 60, 10), losses)}
    data = loss_data(made(curve, "stalled"))
    assert data.stall == 2
    assert data.gained == pytest.approx(1 - 0.39 / 0.4, abs=1e-6)
    assert loss_data(made(curve, "learning")).stall is None


def test_a_loss_that_falls_to_the_end_has_no_stall(made):
    curve = {("validation_loss", ""): (range(0, 40, 10), [1.0, 0.9, 0.8, 0.7])}
    assert loss_data(made(curve, "stalled")).stall is None


def test_losses_that_are_not_finite_are_left_out(made):
    curve = {("validation_loss", ""): ([0, 10, 20], [1.0, np.inf, np.nan])}
    data = loss_data(made(curve, "diverged"))
    assert list(data.validation) == [1.0]
    assert data.levels == {}
    assert loss_data(made({("validation_loss", ""): ([0], [np.nan])})) is None
    loss_figure(data)


def test_figure_of_a_stalled_run(recorded):
    data = loss_data(recorded("order-blind"))
    figure = loss_figure(data)
    assert [trace.name for trace in figure.data] == [
        "train",
        "validation",
        "best: 0.6907 at step 200",
    ]
    levels = {shape.y0 for shape in figure.layout.shapes if shape.type == "line"}
    assert levels == {*data.floors.values(), data.baseline}
    (stretch,) = (shape for shape in figure.layout.shapes if shape.type == "rect")
    assert (stretch.x0, stretch.x1) == (100, 400)
    told = [annotation.text for annotation in figure.layout.annotations]
    assert "stalled from step 100" in told
    assert "baseline 0.176" in told
    assert figure.layout.yaxis.title.text == "loss [target variance]"


def test_figure_of_a_learning_run_shades_nothing(recorded):
    figure = loss_figure(loss_data(recorded("healthy-founding")))
    assert {shape.type for shape in figure.layout.shapes} == {"line"}


def test_losses_far_apart_are_drawn_by_powers_of_ten(recorded):
    assert loss_figure(loss_data(recorded("learning-rate-too-high"))).layout.yaxis.type == "log"
    assert loss_figure(loss_data(recorded("order-blind"))).layout.yaxis.type is None


def test_names_of_levels_do_not_cover_each_other(recorded):
    figure = loss_figure(loss_data(recorded("order-blind")))
    low, high = figure.layout.yaxis.range
    heights = sorted(a.y for a in figure.layout.annotations if a.xref == "paper")
    assert len(heights) == 5
    # a line of text is 15 of the 276 pixels between the axes' ends
    assert min(np.diff(heights)) >= 0.999 * 15 / 276 * (high - low)
