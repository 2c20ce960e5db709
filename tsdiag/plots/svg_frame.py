"""Where things are in a figure drawn as SVG: scales, ticks and the frame of the axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from html import escape, unescape
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import plotly.graph_objects as go

WIDTH, HEIGHT = 900, 400  # of a figure that names no size [pixels]
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def tag(name: str, *inside: str, **attributes: object) -> str:
    """Return an element: attributes are escaped, what is inside has to be already."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{words(_short(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{told}>{''.join(inside)}</{name}>" if inside else f"<{name}{told}/>"


def words(text: object) -> str:
    """Return a figure's text, in which tags are escaped for plotly, for use in SVG."""
    plain = "".join(char if char.isprintable() else " " for char in unescape(str(text)))
    return escape(plain)


def number(value: float) -> str:
    """Return a place in pixels."""
    return f"{value:.1f}".removesuffix(".0")


def _short(value: object) -> object:
    return number(value) if isinstance(value, float) else value


class Scale(NamedTuple):
    """From values to pixels; ``low`` and ``high`` are powers of ten where it is logarithmic."""

    log: bool
    low: float
    high: float
    start: float
    stop: float

    def at(self, value: float) -> float:
        """Return the pixel of a value; NaN where a logarithmic scale has none for it."""
        if self.log:
            value = math.log10(value) if value > 0 else math.nan
        return self.place(value)

    def place(self, value: float) -> float:
        """Return the pixel of what is in powers of ten already, if the scale is."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start)

    def ticks(self, axis: Any, apart: float) -> list[tuple[float, str]]:
        """Return pixels and labels: those that the axis names, or round numbers."""
        if axis.tickvals is not None:
            labels = axis.ticktext if axis.ticktext is not None else axis.tickvals
            found = [(self.at(v), str(t)) for v, t in zip(axis.tickvals, labels, strict=True)]
        else:
            found = list(self._decades() if self.log else self._round(apart))
        low, high = sorted((self.start, self.stop))
        return [(pixel, label) for pixel, label in found if low - 0.5 <= pixel <= high + 0.5]

    def _round(self, apart: float) -> Iterator[tuple[float, str]]:
        low, high = sorted((self.low, self.high))
        rough = (high - low) / max(2.0, abs(self.stop - self.start) / apart)
        power = 10.0 ** math.floor(math.log10(rough))
        step = power * next(m for m in (1, 2, 5, 10) if m * power >= 0.999 * rough)
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        for count in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1):
            yield self.place(count * step), f"{count * step:,.{decimals}f}".replace("-", "−")

    def _decades(self) -> Iterator[tuple[float, str]]:
        near = self.high - self.low < 2
        skipped = max(1, round((self.high - self.low) / 8))
        for power in range(math.floor(self.low), math.ceil(self.high) + 1):
            for digit in (1, 2, 5) if near else (1,):
                if power % skipped == 0:
                    yield self.place(power + math.log10(digit)), _power(digit, power)


def _power(digit: int, power: int) -> str:
    if -3 <= power <= 4:
        return f"{digit * 10.0**power:,.{max(0, -power)}f}"
    return f"{'' if digit == 1 else f'{digit}·'}10{str(power).translate(RAISED)}"


class Frame(NamedTuple):
    """The rectangle between the axes [pixels], and both scales."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x: Scale
    y: Scale


def frame_of(figure: go.Figure) -> Frame:
    """Return where the axes of a figure are; ranges that it does not name hold all values."""
    layout, margin = figure.layout, figure.layout.margin
    width, height = float(layout.width or WIDTH), float(layout.height or HEIGHT)
    left, top = float(_or(margin.l, 80)), float(_or(margin.t, 100))
    right, bottom = width - float(_or(margin.r, 80)), height - float(_or(margin.b, 80))
    x = _scale(layout.xaxis, (trace.x for trace in figure.data), left, right)
    y = _scale(layout.yaxis, (trace.y for trace in figure.data), bottom, top)
    return Frame(width, height, left, right, top, bottom, x, y)


def _scale(axis: Any, values: Iterable[Any], start: float, stop: float) -> Scale:
    log = axis.type == "log"
    if axis.range is not None:
        low, high = map(float, axis.range)
    else:
        seen = np.concatenate([np.zeros(0), *(np.asarray(v, float) for v in values)])
        seen = seen[np.isfinite(seen) & ((seen > 0) | (not log))]
        seen = np.log10(seen) if log else seen
        low, high = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 1.0)
        room = 0.05 * (high - low)
        low, high = low - room, high + room
    return Scale(log, low, high if high != low else low + 1, start, stop)


def _or(value: Any, other: float) -> Any:
    return other if value is None else value


def axes(figure: go.Figure, frame: Frame) -> Iterator[str]:
    """Yield grid, ticks, axis lines and titles."""
    layout, ink = figure.layout, figure.layout.font.color or "#444"
    for pixel, label in frame.x.ticks(layout.xaxis, 90):
        if layout.xaxis.showgrid is not False:
            yield _line(pixel, frame.top, pixel, frame.bottom, layout.xaxis.gridcolor)
        place = {"x": pixel, "y": frame.bottom + 17, "text_anchor": "middle"}
        yield tag("text", words(label), **place)
    for pixel, label in frame.y.ticks(layout.yaxis, 45):
        if layout.yaxis.showgrid is not False:
            yield _line(frame.left, pixel, frame.right, pixel, layout.yaxis.gridcolor)
        yield tag("text", words(label), x=frame.left - 6, y=pixel + 4, text_anchor="end")
    yield _line(frame.left, frame.bottom, frame.right, frame.bottom, ink)
    if layout.xaxis.zeroline:
        zero = frame.x.at(0.0)
        yield _line(zero, frame.top, zero, frame.bottom, layout.xaxis.zerolinecolor)
    title = {"text_anchor": "middle", "font_size": 13}
    centre, middle = (frame.left + frame.right) / 2, (frame.top + frame.bottom) / 2
    if layout.xaxis.title.text:
        place = {"x": centre, "y": frame.bottom + 40}
        yield tag("text", words(layout.xaxis.title.text), **title, **place)
    if layout.yaxis.title.text:
        turned = f"translate(17 {number(middle)}) rotate(-90)"
        yield tag("text", words(layout.yaxis.title.text), **title, transform=turned)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str | None) -> str:
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=colour or "#eee")
