"""Gradient norm by block over steps: where it vanishes, explodes or never arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tsdiag.diagnostics.case import Case
from tsdiag.diagnostics.measures import Values
from tsdiag.diagnostics.signals import Signal
from tsdiag.plots.style import MUTED, by_depth, canvas, decades, evenly, span, text

if TYPE_CHECKING:
    import plotly.graph_objects as go

# Names that a legend above the figure has room for.
NAMED = 5
BEHIND = "behind the blocks"


Curve = tuple[Values, Values]


class GradientsData(NamedTuple):
    """Steps and gradient norms [loss per weight] by block, first block first."""

    blocks: dict[str, Curve]
    head: Curve | None


def gradients_data(case: Case) -> GradientsData | None:
    """Return gradient norms over steps, or None where no block's was measured."""
    blocks = {s.where: _curve(s) for s in case.record.places("block_gradient_norm")}
    head = case.record.signal("head_gradient_norm")
    return GradientsData(blocks, _curve(head) if head else None) if blocks else None


def _curve(signal: Signal) -> Curve:
    return signal.steps.astype(np.float64), signal.values.astype(np.float64)


def gradients_figure(data: GradientsData) -> go.Figure:
    """Draw a line for each block, dark for the first, and a dashed one for what is behind them."""
    figure = canvas("step", "gradient norm [loss per weight]")
    curves = [*data.blocks.values(), *([data.head] if data.head else [])]
    low, high = _extent(curves)
    last = max(float(steps.max()) for steps, _ in curves)
    figure.update_layout(xaxis_range=span(last), showlegend=True)
    figure.update_yaxes(type="log", range=[low - 0.2, high + 0.2], **decades(high - low))
    named = evenly(len(data.blocks), NAMED)
    colours = by_depth(len(data.blocks))
    for place, (name, curve) in enumerate(data.blocks.items()):
        _line(figure, curve, low, name, place in named, {"color": colours[place], "width": 2})
    if data.head:
        line = {"color": MUTED, "width": 1.5, "dash": "dash"}
        _line(figure, data.head, low, BEHIND, True, line)
    if any((values == 0).any() for _, values in curves):
        _tell_zero(figure, low)
    return figure


def _extent(curves: list[Curve]) -> tuple[float, float]:
    """Return the powers of ten between which all values lie; a decade below is for zeros."""
    values = np.concatenate([values for _, values in curves])
    seen = values[np.isfinite(values) & (values > 0)]
    low, high = (np.log10(seen.min()), np.log10(seen.max())) if len(seen) else (-1.0, 0.0)
    return float(low) - float((values == 0).any()), float(high)


def _line(
    figure: go.Figure,
    curve: Curve,
    low: float,
    name: str,
    named: bool,
    line: dict[str, object],
) -> None:
    """Draw a curve; a gradient of exactly zero must not look as if it had not been measured."""
    steps, values = curve
    figure.add_scatter(
        x=steps,
        y=np.where(values == 0, 10**low, values),
        customdata=values,
        hovertemplate="step %{x}<br>%{customdata:.4~g}",
        name=text(name),
        showlegend=named,
        mode="lines",
        line=line,
    )


def _tell_zero(figure: go.Figure, low: float) -> None:
    figure.add_annotation(
        xref="paper",
        x=1,
        xanchor="right",
        y=low,
        yanchor="bottom",
        text="down here: exactly 0",
        showarrow=False,
        font={"color": MUTED},
    )
