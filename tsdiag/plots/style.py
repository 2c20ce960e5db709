"""How figures look: one canvas, colours that colour-blind readers tell apart, no ornaments."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Okabe and Ito 2008: told apart with any kind of colour vision.
BLUE, SKY, GREEN, ORANGE, PURPLE = "#0072b2", "#56b4e9", "#009e73", "#d55e00", "#a4578a"
INK, MUTED, RULE, SHADE = "#1f2933", "#5f6b7a", "#e3e7ec", "#f4ead9"
# Viridis up to where it is still dark enough for a line on white.
DEPTHS = ("#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58")
VIRIDIS = (*DEPTHS, "#b5de2b", "#fde725")
FONT = "Helvetica, Arial, sans-serif"
HEIGHT = 400  # [pixels]


def canvas(x_title: str, y_title: str) -> go.Figure:
    """Return an empty figure with axes of those titles."""
    import plotly.graph_objects as go

    axis: dict[str, Any] = {
        "gridcolor": RULE,
        "linecolor": MUTED,
        "zeroline": False,
        "separatethousands": True,
        "exponentformat": "power",
        "hoverformat": ".4~g",
    }
    return go.Figure(
        layout={
            "template": "none",
            "height": HEIGHT,
            "margin": {"l": 62, "r": 24, "t": 72, "b": 52},
            "font": {"family": FONT, "size": 12, "color": INK},
            "title": {"x": 0, "xref": "paper", "y": 0.97, "yanchor": "top", "font": {"size": 16}},
            "xaxis": {**axis, "title": {"text": x_title, "standoff": 8}},
            "yaxis": {**axis, "title": {"text": y_title, "standoff": 8}},
            "legend": {"orientation": "h", "x": 0, "y": 1.01, "yanchor": "bottom"},
            "hovermode": "closest",
        }
    )


def span(last: float) -> list[float]:
    """Return the range of an axis of steps, with room for the markers at its ends."""
    return [-0.02 * max(last, 1), 1.02 * max(last, 1)]


def decades(powers: float) -> dict[str, Any]:
    """Return the ticks of a logarithmic axis: at 1, 2 and 5 where it has few powers of ten."""
    return {"dtick": "D2" if powers < 2 else max(1, round(powers / 8)), "tickformat": "~g"}


def text(words: object) -> str:
    """Return words for a figure, which would take tags among them for its own."""
    return escape(str(words), quote=False)


def head_name(where: str) -> str:
    """Return a short name for the place of a head: ``blocks.0.attention[1]`` is blocks.0 head 1."""
    module, _, number = where.rstrip("]").partition("[")
    return text(f"{module.removesuffix('.attention')} head {number}" if number else module)


def by_depth(count: int) -> list[str]:
    """Return colours for things in the order of the model, dark first."""
    last = len(DEPTHS) - 1
    return [DEPTHS[round(place * last / max(count - 1, 1))] for place in range(count)]


def evenly(count: int, most: int) -> list[int]:
    """Return at most ``most`` of the numbers below ``count``, with the first and the last."""
    if count <= most:
        return list(range(count))
    return [round(place * (count - 1) / (most - 1)) for place in range(most)]


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Return places between 0 and 1 moved apart until each two lie ``gap`` from each other."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    moved, least = list(places), 0.0
    for index in order:
        moved[index] = max(moved[index], least)
        least = moved[index] + gap
    most = 1.0
    for index in reversed(order):
        moved[index] = min(moved[index], most)
        most = moved[index] - gap
    return moved
