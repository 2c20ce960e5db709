"""Figures as SVG without a browser."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ET
import zlib

import numpy as np
import plotly.graph_objects as go
import pytest

from tsdiag.plots import figures
from tsdiag.plots.svg import svg
from tsdiag.plots.svg_frame import Scale
from tsdiag.plots.svg_marks import thin

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</text><script>alert(1)</script>\"'&\x00"


def elements(document, name):
    return list(ET.fromstring(document).iter(f"{SVG}{name}"))


def texts(document):
    return [element.text for element in elements(document, "text")]


@pytest.mark.parametrize(
    "run", ["order-blind", "healthy-founding", "healthy-lstm", "rank-collapse"]
)
def test_every_figure_is_small_and_loads_nothing(run, recorded):
    for figure in figures(recorded(run)).values():
        document = svg(figure)
        assert len(document.encode()) < 40_000
        assert figure.layout.title.text in texts(document)
        links = re.findall(r'(?:href|src)="([^"]{0,20})', document)
        assert all(link.startswith("data:image/png") for link in links)
        assert "url(" not in document


def test_loss(recorded):
    document = svg(figures(recorded("order-blind"))["loss"])
    paths = elements(document, "path")
    assert len(paths) == 2
    assert [path.get("d").count("L") + 1 for path in paths] == [60, 9]
    assert len(elements(document, "circle")) == 9 + 1 + 2  # evaluations, the best, the legend
    dashed = [line for line in elements(document, "line") if line.get("stroke-dasharray")]
    assert len(dashed) == 5
    told = texts(document)
    for words in ("train", "validation", "ridge 0.151", "stalled from step 100", "step", "400"):
        assert words in told


def test_places_are_exact():
    figure = go.Figure(
        go.Scatter(x=[0, 10], y=[0, 4], line_color="#000"),
        {
            "width": 300,
            "height": 200,
            "margin": {"l": 50, "r": 50, "t": 50, "b": 50},
            "xaxis_range": [0, 10],
            "yaxis_range": [0, 8],
        },
    )
    (path,) = elements(svg(figure), "path")
    assert path.get("d") == "M50 150L250 100"


def test_logarithmic_axes_take_shapes_as_they_are_and_annotations_in_powers(recorded):
    figure = go.Figure(go.Scatter(x=[0, 1], y=[1, 100]))
    figure.update_layout(
        yaxis={"type": "log", "range": [0, 2]}, height=300, margin={"t": 0, "b": 0}
    )
    figure.add_shape(type="line", xref="paper", x0=0, x1=1, y0=10, y1=10, line_dash="dash")
    figure.add_annotation(x=0, y=1, text="ten", yanchor="bottom")
    document = svg(figure)
    (line,) = (line for line in elements(document, "line") if line.get("stroke-dasharray"))
    assert line.get("y1") == "150"
    (told,) = (text for text in elements(document, "text") if text.text == "ten")
    assert told.get("y") == "146"  # its lower edge, a little above


def test_a_line_is_broken_where_there_is_no_value():
    figure = go.Figure(go.Scatter(x=[0, 1, 2, 3, 4], y=[1, 2, np.nan, 3, 4]))
    (path,) = elements(svg(figure), "path")
    assert re.sub(r"[\d. ]", "", path.get("d")) == "MLML"


def test_bars(recorded):
    figure = figures(recorded("order-blind"))["readout"]
    document = svg(figure)
    bars = [bar for bar in elements(document, "rect") if bar.get("fill") != "#fff"]
    assert len(bars) == len(figure.data[0].x)
    widths = [float(bar.get("width")) for bar in bars]
    ratio = np.array(widths) / np.abs(figure.data[0].x)
    np.testing.assert_allclose(ratio, ratio[0], rtol=0.02)
    assert "final_norm" in texts(document)


def test_upright_bars_stand_on_zero():
    figure = go.Figure(go.Bar(x=[0, 1], y=[2, -1]), {"yaxis_range": [-2, 2], "height": 560})
    up, down = (bar for bar in elements(svg(figure), "rect") if bar.get("fill") != "#fff")
    assert float(up.get("y")) + float(up.get("height")) == float(down.get("y")) == 290
    assert float(up.get("height")) == 2 * float(down.get("height"))


def test_a_map_is_a_picture_of_its_values(recorded):
    figure = go.Figure(
        go.Heatmap(
            x=[0, 10, 30],
            y=[0, 1],
            z=[[0, 1, 0], [1, np.nan, 0]],
            zmin=0,
            zmax=1,
            colorscale=[[0, "#000000"], [1, "#ff0000"]],
        ),
        {"xaxis_range": [-5, 40], "yaxis_range": [1.5, -0.5], "width": 205, "height": 190},
    )
    picture, _ = elements(svg(figure), "image")
    wide, high = float(picture.get("width")), float(picture.get("height"))
    assert (wide, high) == (45, 10)
    pixels = decoded(picture)
    assert pixels.shape == (2, 45, 3)
    # the borders of the columns are half-way, at 5 and 20
    assert [tuple(pixels[0, at]) for at in (0, 9, 10, 24, 25)] == [
        (0, 0, 0),
        (0, 0, 0),
        (255, 0, 0),
        (255, 0, 0),
        (0, 0, 0),
    ]
    assert tuple(pixels[1, 15]) == (255, 255, 255)


def decoded(picture):
    """Read a PNG of plain rows."""
    png = base64.b64decode(
        picture.get("{http://www.w3.org/1999/xlink}href") or picture.get("href").split(",")[1]
    )
    wide, high = (int.from_bytes(png[at : at + 4]) for at in (16, 20))
    start = png.index(b"IDAT")
    body = png[start + 4 : start + 4 + int.from_bytes(png[start - 4 : start])]
    rows = np.frombuffer(zlib.decompress(body), np.uint8).reshape(high, 1 + 3 * wide)
    return rows[:, 1:].reshape(high, wide, 3)


def test_many_long_curves_stay_small(made):
    steps = np.arange(5000)
    noise = np.random.default_rng(0).normal(size=(48, 5000))
    curves = {
        ("block_gradient_norm", f"blocks.{at}"): (steps, np.exp(row))
        for at, row in enumerate(noise)
    }
    curves |= {
        ("attention_entropy", f"blocks.{block}.attention[{head}]"): (
            np.arange(0, 3000, 50),
            np.random.default_rng(head).random(60),
        )
        for block in range(12)
        for head in range(8)
    }
    curves[("train_loss", "")] = (steps, np.exp(noise[0]))
    curves[("validation_loss", "")] = (steps, np.exp(noise[1]))
    found = figures(made(curves, "stalled"))
    assert list(found) == ["loss", "gradients", "entropy"]
    for figure in found.values():
        assert len(svg(figure).encode()) < 40_000


def test_thinned_curves_keep_their_extremes():
    y = np.random.default_rng(0).normal(size=10_000)
    y[1234], y[5678], y[9000:9200] = 99, -99, np.nan
    x, thinned = thin(np.arange(10_000.0), y, 300)
    assert len(x) <= 300
    assert np.nanmax(thinned) == 99
    assert np.nanmin(thinned) == -99
    assert np.isnan(thinned).any()
    assert (np.diff(x) > 0).all()


def test_hostile_names_are_text(made):
    curves = {
        ("attention_entropy", f"{HOSTILE}[0]"): ([0, 1], [0.5, 0.4]),
        ("block_gradient_norm", HOSTILE): ([0, 1], [0.5, 0.4]),
        ("validation_loss", ""): ([0, 1], [0.5, 0.4]),
    }
    found = figures(made(curves, floors={HOSTILE: 0.3}))
    for figure in found.values():
        document = svg(figure)
        assert "<script" not in document
        assert any(
            text.startswith("</text><script>alert(1)</script>\"'&") for text in texts(document)
        )


@pytest.mark.parametrize(
    ("log", "low", "high", "labels"),
    [
        (False, 0.0, 1.0, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (False, -1.5, 1.5, ["−1.5", "−1.0", "−0.5", "0.0", "0.5", "1.0", "1.5"]),
        (False, 0.0, 20_000.0, ["0", "5,000", "10,000", "15,000", "20,000"]),
        (True, -1.0, 0.0, ["0.1", "0.2", "0.5", "1"]),
        (True, -6.0, 0.0, ["10⁻⁶", "10⁻⁵", "10⁻⁴", "0.001", "0.01", "0.1", "1"]),
    ],
)
def test_ticks_are_round_numbers(log, low, high, labels):
    scale = Scale(log, low, high, 0.0, 300.0)
    assert [label for _, label in scale.ticks(go.layout.YAxis(), 50)] == labels
