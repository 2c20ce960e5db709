"""What a linear readout finds, place after place."""

from __future__ import annotations

import pytest

from tsdiag.plots.readout import LEAST, readout_data, readout_figure
from tsdiag.plots.style import ORANGE


def test_data_are_the_recorded_ones_in_the_order_of_the_data(recorded):
    case = recorded("pooling-discards-channels")
    data = readout_data(case)
    places = [where for where in data.places if where != "output"]
    orders = [case.record.signal("readout_order", where).values[-1] for where in places]
    assert orders == sorted(orders)
    for where, skill in zip(data.places, data.skill, strict=True):
        assert skill == pytest.approx(case.record.signal("readout_skill", where).values[-1])
    assert data.step == 400


def test_the_place_that_loses_most_is_marked(recorded):
    data = readout_data(recorded("pooling-discards-channels"))
    assert data.places[data.fall] == "head"
    assert data.lost == pytest.approx(0.6627 - 0.1962, abs=1e-4)
    figure = readout_figure(data)
    (bars,) = figure.data
    assert bars.marker.color.index(ORANGE) == data.fall
    assert list(bars.x) == pytest.approx(list(data.skill))
    assert "0.20, most lost here: −0.47" in [a.text for a in figure.layout.annotations]
    assert figure.layout.yaxis.ticktext == data.places


def test_modules_that_hand_on_are_left_out(recorded):
    data = readout_data(recorded("order-blind"))
    assert data.places == (
        "input",
        "window_norm",
        "embedding",
        "positions",
        "blocks.0",
        "blocks.1",
        "final_norm",
        "pooling",
        "head",
    )


def test_missing_signals(recorded, without, made):
    case = recorded("order-blind")
    assert readout_data(without(case, "readout_skill")) is None
    assert readout_data(without(case, "readout_order")) is None
    alone = {("readout_skill", "input"): ([0], [0.5]), ("readout_order", "input"): ([0], [0])}
    assert readout_data(made(alone)) is None


def test_nothing_lost_and_very_bad_skills(made):
    def curves(*skills):
        return {
            (name, f"place{order}"): ([7], [value])
            for order, skill in enumerate(skills)
            for name, value in (("readout_skill", skill), ("readout_order", order))
        }

    little = readout_data(made(curves(0.7, 0.65)))
    assert little.fall is None
    rising = readout_data(made(curves(0.1, 0.2, 0.3)))
    assert rising.fall is None
    assert ORANGE not in readout_figure(rising).data[0].marker.color
    broken = readout_data(made(curves(0.101, -80.0)))
    figure = readout_figure(broken)
    assert min(figure.data[0].x) == LEAST
    # below 0 there is nothing to lose
    assert figure.layout.annotations[1].text == "−80.00, most lost here: −0.10"
