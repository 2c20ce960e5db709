"""What holds of every figure in the registry."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tsdiag.plots import FIGURES, figures
from tsdiag.plots.style import evenly, head_name, spread


@pytest.mark.parametrize("plot", FIGURES, ids=[plot.name for plot in FIGURES])
def test_a_run_that_measured_nothing_has_no_figure(plot, made):
    assert plot.draw(made({})) is None


def test_figures_of_a_recorded_run(recorded):
    found = figures(recorded("order-blind"))
    assert list(found) == [plot.name for plot in FIGURES]
    for plot in FIGURES:
        figure = found[plot.name]
        assert figure.layout.title.text == plot.title
        assert figure.layout.meta["caption"] == plot.caption
        json.loads(figure.to_json())


def test_figures_of_a_model_without_attention(recorded):
    assert list(figures(recorded("healthy-lstm"))) == ["loss", "gradients", "readout"]


def test_axes_name_their_units(recorded):
    for name in ("order-blind", "healthy-founding"):
        for figure in figures(recorded(name)).values():
            titles = [figure.layout.xaxis.title.text, figure.layout.yaxis.title.text]
            titles += [bar.colorbar.title.text for bar in figure.data if bar.type == "heatmap"]
            assert any("[" in title for title in titles)


def test_the_registry_is_cheap_to_load():
    lists = "import sys, tsdiag.plots, tsdiag.plots.svg; print(*sys.modules)"
    command = [sys.executable, "-c", lists]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert {"torch", "optuna", "plotly", "sqlalchemy"} & set(loaded) == set()


def test_spread_moves_apart_only_what_is_too_close():
    assert spread([0.1, 0.5, 0.9], 0.1) == [0.1, 0.5, 0.9]
    assert spread([0.5, 0.45], 0.1) == pytest.approx([0.55, 0.45])
    assert spread([0.99, 1.0, 0.98], 0.1) == pytest.approx([0.9, 1.0, 0.8])
    assert spread([], 0.1) == []


def test_evenly_keeps_both_ends():
    assert evenly(3, 5) == [0, 1, 2]
    assert evenly(24, 5) == [0, 6, 12, 17, 23]


def test_names_of_heads():
    assert head_name("blocks.0.attention[3]") == "blocks.0 head 3"
    assert head_name("pool[1]") == "pool head 1"
    assert head_name("a<b") == "a&lt;b"
