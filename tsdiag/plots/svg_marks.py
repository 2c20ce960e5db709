"""The marks of a figure as SVG: lines, markers, bars, and maps as pictures inside it."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsdiag.plots.svg_frame import Frame, Scale, number, tag, words

Places = NDArray[np.float64]
DASHES = {"dash": "6 4", "dot": "2 3", "dashdot": "6 3 2 3", "longdash": "10 5"}
# Points of one curve, and of all curves of a figure: what fits into 40 kB.
POINTS, ALL_POINTS = 300, 2000


def marks(trace: Any, frame: Frame, curves: int) -> Iterator[str]:
    """Yield what a trace draws; ``curves`` is how many share the figure."""
    if trace.type == "scatter":
        most = max(20, min(POINTS, ALL_POINTS // curves))
        yield from _scatter(trace, frame, most)
    elif trace.type == "bar":
        yield from _bars(trace, frame)
    elif trace.type == "heatmap":
        yield _map(trace, frame)
        yield from _colour_bar(trace, frame)


def thin(x: Places, y: Places, most: int) -> tuple[Places, Places]:
    """Keep the lowest and the highest point of each of ``most / 2`` stretches of a curve."""
    if len(x) <= most:
        return x, y
    stretches = np.array_split(np.arange(len(x)), most // 2)
    told = [part[np.isfinite(y[part])] for part in stretches]
    kept = {
        int(part[pick(y[part])]) for part in told if len(part) for pick in (np.argmin, np.argmax)
    }
    gaps = {int(part[0]) for part, finite in zip(stretches, told, strict=True) if not len(finite)}
    order = sorted(kept | gaps)
    return x[order], y[order]


def stroke(line: Any) -> dict[str, Any]:
    """Return how a line is drawn."""
    dash = DASHES.get(line.dash or "", line.dash)
    style = {"stroke": line.color, "stroke_width": line.width or 2}
    return {**style, "stroke_dasharray": None if dash == "solid" else dash}


def _scatter(trace: Any, frame: Frame, most: int) -> Iterator[str]:
    x, y = np.asarray(trace.x, float), np.asarray(trace.y, float)
    mode = trace.mode or "lines"
    if "lines" in mode:
        way = _path(*thin(x, y, most), frame)
        yield tag("path", d=way, fill="none", stroke_linejoin="round", **stroke(trace.line))
    if "markers" in mode:
        x, y = thin(x, y, most)
        radius, colour = (trace.marker.size or 6) / 2, trace.marker.color
        for cx, cy in zip(map(frame.x.at, x), map(frame.y.at, y), strict=True):
            if math.isfinite(cx + cy):
                yield tag("circle", cx=cx, cy=cy, r=radius, fill=colour)


def _path(x: Places, y: Places, frame: Frame) -> str:
    """Return a path that is broken where there is no value."""
    steps, pen = [], "M"
    for left, down in zip(map(frame.x.at, x), map(frame.y.at, y), strict=True):
        if math.isfinite(left + down):
            steps.append(f"{pen}{number(left)} {number(down)}")
        pen = "L" if math.isfinite(left + down) else "M"
    return "".join(steps)


def _bars(trace: Any, frame: Frame) -> Iterator[str]:
    flat = trace.orientation == "h"
    values, places = (trace.x, trace.y) if flat else (trace.y, trace.x)
    along, across = (frame.x, frame.y) if flat else (frame.y, frame.x)
    thick = abs(across.place(trace.width or 0.8) - across.place(0.0))
    colours = trace.marker.color
    for index, (value, at) in enumerate(zip(values, places, strict=True)):
        low, high = sorted((along.at(0.0), along.at(float(value))))
        side = across.at(float(at)) - thick / 2
        colour = colours if isinstance(colours, str) or colours is None else colours[index]
        box = (low, side, high - low, thick) if flat else (side, low, thick, high - low)
        place = dict(zip(("x", "y", "width", "height"), box, strict=True))
        yield tag("rect", **place, fill=colour)


def _map(trace: Any, frame: Frame) -> str:
    """Return a map as a picture, as many points wide as on the screen, and a row high each."""
    z = np.asarray(trace.z, float)
    x, y = (np.asarray(places, float) for places in (trace.x, trace.y))
    edges = _edges(x, frame.x)
    left, right = float(edges[0]), float(edges[-1])
    points = np.linspace(left, right, max(2, round(right - left)), endpoint=False) + 0.5
    columns = np.clip(np.searchsorted(edges, points, side="right") - 1, 0, len(x) - 1)
    down = np.sort(_edges(y, frame.y))
    rows = np.argsort([frame.y.at(place) for place in y])
    colours = paint(trace, z[rows][:, columns])
    return _picture(colours, left, float(down[0]), right - left, float(down[-1] - down[0]))


def _edges(places: Places, scale: Scale) -> Places:
    """Return in pixels the borders between places, half-way."""
    if len(places) == 1:
        return np.array([scale.at(places[0] - 0.5), scale.at(places[0] + 0.5)])
    middles = (places[1:] + places[:-1]) / 2
    ends = places[0] - (middles[0] - places[0]), places[-1] + (places[-1] - middles[-1])
    return np.array([scale.at(edge) for edge in (ends[0], *middles, ends[1])])


def paint(trace: Any, z: Places) -> NDArray[np.uint8]:
    """Return the colours of a trace's scale for values; white where there is none."""
    low, high = trace.zmin, trace.zmax
    if low is None or high is None:
        seen = np.asarray(trace.z, float)
        low, high = np.nanmin(seen), np.nanmax(seen)
    share = np.clip((z - low) / ((high - low) or 1), 0, 1)
    stops = [stop for stop, _ in trace.colorscale]
    known = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for _, c in trace.colorscale])
    mixed = np.stack([np.interp(share, stops, known[:, part]) for part in range(3)], axis=-1)
    mixed[~np.isfinite(z)] = 255
    return np.asarray(np.rint(mixed), np.uint8)


def _colour_bar(trace: Any, frame: Frame) -> Iterator[str]:
    left = frame.right + 14
    values = np.linspace(trace.zmax or 1.0, trace.zmin or 0.0, 64)[:, None]
    yield _picture(paint(trace, values), left, frame.top, 12.0, frame.bottom - frame.top)
    for share in (0.0, 0.5, 1.0):
        value = (trace.zmin or 0.0) + share * ((trace.zmax or 1.0) - (trace.zmin or 0.0))
        down = frame.bottom - share * (frame.bottom - frame.top) + 4
        yield tag("text", words(f"{value:g}"), x=left + 17, y=down)
    lines = (trace.colorbar.title.text or "").split("<br>")
    for row, line in enumerate(lines):
        above = frame.top - 10 - 14 * (len(lines) - 1 - row)
        yield tag("text", words(line), x=left, y=above)


def _picture(colours: NDArray[np.uint8], x: float, y: float, width: float, height: float) -> str:
    data = base64.b64encode(_png(colours)).decode()
    return tag(
        "image",
        x=x,
        y=y,
        width=width,
        height=height,
        preserveAspectRatio="none",
        style="image-rendering:pixelated",
        href=f"data:image/png;base64,{data}",
    )


def _png(colours: NDArray[np.uint8]) -> bytes:
    """Return a picture of rows, columns and three colours as PNG (W3C, second edition)."""
    height, width, _ = colours.shape
    rows = b"".join(b"\0" + row.tobytes() for row in colours)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (b"IHDR", head), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts
    )
