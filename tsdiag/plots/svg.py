"""A figure as SVG text, without a browser: for the Optuna dashboard, which shows pictures only.

It draws what the figures of this folder are made of: lines, markers, bars, maps, shapes,
annotations, linear and logarithmic axes, a legend. Nothing in it is loaded from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tsdiag.plots.svg_frame import Frame, axes, frame_of, number, tag, words
from tsdiag.plots.svg_marks import marks, stroke

if TYPE_CHECKING:
    import plotly.graph_objects as go

ANCHORS = {"left": "start", "center": "middle", "right": "end"}
# How far below its place a line of text of 12 pixels begins.
DROPS = {"top": 12, "middle": 4, "bottom": -4}


def svg(figure: go.Figure) -> str:
    """Return a figure as a self-contained SVG document."""
    frame = frame_of(figure)
    wide, high = number(frame.width), number(frame.height)
    font = figure.layout.font
    return tag(
        "svg",
        *_about(figure),
        tag("rect", width="100%", height="100%", fill="#fff"),
        *_title(figure),
        *(_shape(shape, frame) for shape in figure.layout.shapes if shape.layer == "below"),
        *axes(figure, frame),
        _clipped(figure, frame),
        *(_shape(shape, frame) for shape in figure.layout.shapes if shape.layer != "below"),
        *(_annotation(annotation, frame) for annotation in figure.layout.annotations),
        *_legend(figure, frame),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {wide} {high}",
        width=wide,
        height=high,
        role="img",
        font_family=font.family or "sans-serif",
        font_size=font.size or 12,
        fill=font.color or "#444",
    )


def _about(figure: go.Figure) -> Iterator[str]:
    """Yield what readers of the screen are told."""
    if figure.layout.title.text:
        yield tag("title", words(figure.layout.title.text))
    if isinstance(figure.layout.meta, dict) and "caption" in figure.layout.meta:
        yield tag("desc", words(figure.layout.meta["caption"]))


def _title(figure: go.Figure) -> Iterator[str]:
    title = figure.layout.title
    if title.text:
        size = title.font.size or 17
        yield tag("text", words(title.text), x=16, y=27, font_size=size, font_weight="bold")


def _clipped(figure: go.Figure, frame: Frame) -> str:
    """Return lines and markers cut at the axes, as an SVG within, and the others after it."""
    curves = [trace for trace in figure.data if trace.type == "scatter"]
    others = [trace for trace in figure.data if trace.type != "scatter"]
    inner = "".join(mark for trace in curves for mark in marks(trace, frame, len(curves)))
    wide, high = frame.right - frame.left, frame.bottom - frame.top
    seen = f"{number(frame.left)} {number(frame.top)} {number(wide)} {number(high)}"
    place = {"x": frame.left, "y": frame.top, "width": wide, "height": high}
    cut = tag("svg", inner, **place, viewBox=seen) if inner else ""
    return cut + "".join(mark for trace in others for mark in marks(trace, frame, 1))


def _shape(shape: Any, frame: Frame) -> str:
    (x0, x1), (y0, y1) = (
        [_pixel(frame, axis, shape[f"{axis}ref"], shape[f"{axis}{end}"], False) for end in (0, 1)]
        for axis in ("x", "y")
    )
    if shape.type == "line":
        return tag("line", x1=x0, y1=y0, x2=x1, y2=y1, **stroke(shape.line))
    size = {"width": abs(x1 - x0), "height": abs(y1 - y0)}
    opacity = None if shape.opacity in (None, 1) else shape.opacity
    box = {"x": min(x0, x1), "y": min(y0, y1), **size}
    return tag("rect", **box, fill=shape.fillcolor or "none", opacity=opacity)


def _annotation(annotation: Any, frame: Frame) -> str:
    x = _pixel(frame, "x", annotation.xref, annotation.x, True) + (annotation.xshift or 0)
    y = _pixel(frame, "y", annotation.yref, annotation.y, True) - (annotation.yshift or 0)
    return tag(
        "text",
        words(annotation.text),
        x=float(x),
        y=float(y + DROPS.get(annotation.yanchor or "middle", 4)),
        text_anchor=ANCHORS.get(annotation.xanchor or "center", "middle"),
        fill=annotation.font.color,
    )


def _pixel(frame: Frame, axis: str, ref: str | None, value: float, powers: bool) -> float:
    """Return the pixel of a place on an axis, or of a share of the frame.

    On a logarithmic axis plotly takes annotations in powers of ten, and shapes as they are.
    """
    if ref == "paper":
        start, stop = (frame.left, frame.right) if axis == "x" else (frame.bottom, frame.top)
        return start + float(value) * (stop - start)
    scale = frame.x if axis == "x" else frame.y
    return scale.place(float(value)) if powers else scale.at(float(value))


def _legend(figure: go.Figure, frame: Frame) -> Iterator[str]:
    """Yield names above the frame, in rows of which the lowest is the last."""
    named = [trace for trace in figure.data if trace.name and trace.showlegend is not False]
    if figure.layout.showlegend is False or (len(named) < 2 and not figure.layout.showlegend):
        return
    x, row, places = frame.left, 0, []
    for trace in named:
        wide = 46 + 6.2 * len(trace.name)
        if x > frame.left and x + wide > frame.width:
            x, row = frame.left, row + 1
        places.append((trace, x, row))
        x += wide
    for trace, left, line in places:
        y = frame.top - 14 - 17 * (row - line)
        yield _sample(trace, left, y)
        yield tag("text", words(trace.name), x=left + 30, y=y + 4)


def _sample(trace: Any, x: float, y: float) -> str:
    """Return what a name in the legend stands for."""
    mode = trace.mode if trace.type == "scatter" else "bar"
    line = tag("line", x1=x, y1=y, x2=x + 24, y2=y, **stroke(trace.line)) if "lines" in mode else ""
    if "markers" in mode:
        radius = min(10, trace.marker.size or 6) / 2
        return line + tag("circle", cx=x + 12, cy=y, r=radius, fill=trace.marker.color)
    return line or tag("rect", x=x + 4, y=y - 5, width=12, height=10, fill=trace.marker.color)
