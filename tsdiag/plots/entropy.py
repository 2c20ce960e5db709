"""Attention entropy by block and head over steps: uniform, sharp, or stuck."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tsdiag.diagnostics.case import Case
from tsdiag.diagnostics.measures import Values
from tsdiag.plots.style import BLUE, GREEN, ORANGE, PURPLE, VIRIDIS, canvas, head_name, span

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Up to so many heads are lines with a legend, more are rows of a map.
COLOURS = (BLUE, ORANGE, GREEN, PURPLE)
# Rows of a map that have room for a name.
NAMED = 16
UNIT = "attention entropy [share of uniform]"


class EntropyData(NamedTuple):
    """Entropy of each head, as a share of what a uniform pattern has; NaN: not measured."""

    heads: tuple[str, ...]  # places, first block first
    steps: Values
    entropy: NDArray[np.float64]  # head by step


def entropy_data(case: Case) -> EntropyData | None:
    """Return entropies of all heads on common steps, or None where there is no attention."""
    signals = case.record.places("attention_entropy")
    if not signals:
        return None
    steps = np.unique(np.concatenate([signal.steps for signal in signals]).astype(np.float64))
    entropy = np.full((len(signals), len(steps)), np.nan)
    for row, signal in zip(entropy, signals, strict=True):
        row[np.searchsorted(steps, signal.steps)] = signal.values
    return EntropyData(tuple(signal.where for signal in signals), steps, entropy)


def entropy_figure(data: EntropyData) -> go.Figure:
    """Draw few heads as lines, many as the rows of a map."""
    return _lines(data) if len(data.heads) <= len(COLOURS) else _map(data)


def _lines(data: EntropyData) -> go.Figure:
    figure = canvas("step", UNIT)
    figure.update_layout(
        xaxis_range=span(data.steps[-1]), yaxis_range=[-0.02, 1.04], showlegend=True
    )
    for head, values, colour in zip(data.heads, data.entropy, COLOURS, strict=False):
        figure.add_scatter(
            x=data.steps,
            y=values,
            name=head_name(head),
            mode="lines",
            line={"color": colour, "width": 2},
        )
    return figure


def _map(data: EntropyData) -> go.Figure:
    figure = canvas("step", "")
    count = len(data.heads)
    names = [head_name(head) for head in data.heads]
    told = _told(data.heads)
    figure.update_layout(
        height=max(320, min(640, 160 + 14 * count)),
        margin={"l": 24 + 7 * max(map(len, names)), "r": 96},
        yaxis={"range": [count - 0.5, -0.5], "showgrid": False},
        xaxis={"range": _edges(data.steps), "showgrid": False},
    )
    figure.update_yaxes(tickvals=list(told), ticktext=list(told.values()))
    share = [place / (len(VIRIDIS) - 1) for place in range(len(VIRIDIS))]
    figure.add_heatmap(
        x=data.steps,
        y=list(range(count)),
        z=data.entropy,
        zmin=0,
        zmax=1,
        colorscale=list(zip(share, VIRIDIS, strict=True)),
        colorbar={"title": {"text": "entropy<br>[share]"}, "thickness": 12, "outlinewidth": 0},
        customdata=np.repeat(np.array(names)[:, None], len(data.steps), axis=1),
        hovertemplate="%{customdata}<br>step %{x}<br>entropy %{z:.4~g}<extra></extra>",
    )
    return figure


def _told(heads: tuple[str, ...]) -> dict[int, str]:
    """Return the rows that are named: each head, or where these are many, some first ones."""
    if len(heads) <= NAMED:
        return {row: head_name(head) for row, head in enumerate(heads)}
    modules = [head.partition("[")[0] for head in heads]
    first = [row for row, module in enumerate(modules) if module not in modules[:row]]
    return {row: head_name(heads[row]) for row in first[:: math.ceil(len(first) / NAMED)]}


def _edges(steps: Values) -> list[float]:
    """Return the ends of the first and the last column, as wide as what is between."""
    if len(steps) < 2:
        return [float(steps[0]) - 0.5, float(steps[0]) + 0.5]
    return [
        float(steps[0] - (steps[1] - steps[0]) / 2),
        float(steps[-1] + (steps[-1] - steps[-2]) / 2),
    ]
