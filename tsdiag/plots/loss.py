"""Loss over steps against the floors and the baseline, with the stretch in which a run stalled."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tsdiag.diagnostics.case import Case
from tsdiag.diagnostics.measures import Values
from tsdiag.diagnostics.signals import Signal
from tsdiag.plots.style import (
    BLUE,
    GREEN,
    HEIGHT,
    INK,
    MUTED,
    ORANGE,
    SHADE,
    SKY,
    canvas,
    decades,
    span,
    spread,
    text,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go

# A stalled run's validation loss falls by less than this share from where the stall is drawn.
GAIN = 0.03
# Losses that lie further apart than this factor are drawn on a logarithmic axis.
WIDE = 15.0
BASELINE = "baseline"


class LossData(NamedTuple):
    """Curves, and the lines they are measured against [target variance]."""

    steps: Values
    validation: Values
    train_steps: Values
    train: Values
    floors: dict[str, float]
    baseline: float | None
    best: int  # where validation loss is lowest [evaluations]
    stall: int | None  # where the stall begins [evaluations]

    @property
    def gained(self) -> float:
        """Share of the validation loss gained since the stall began."""
        return 0.0 if self.stall is None else _gain(self.validation, self.stall)

    @property
    def levels(self) -> dict[str, float]:
        """Floors and baseline by the names they are drawn with."""
        found = {name.replace("_", " "): loss for name, loss in self.floors.items()}
        if self.baseline is not None:
            found[BASELINE] = self.baseline
        return found


def loss_data(case: Case) -> LossData | None:
    """Return losses over steps, or None without a validation loss."""
    steps, validation = _curve(case.record.signal("validation_loss"))
    if not len(steps):
        return None
    scores = case.standing.scores
    return LossData(
        steps,
        validation,
        *_curve(case.record.signal("train_loss")),
        floors=dict(scores.floors),
        baseline=scores.baseline,
        best=int(np.argmin(validation)),
        stall=_stall(validation) if case.standing.state == "stalled" else None,
    )


def _curve(signal: Signal | None) -> tuple[Values, Values]:
    """Return steps and values where the values are finite."""
    if signal is None:
        return np.empty(0), np.empty(0)
    kept = np.isfinite(signal.values)
    return signal.steps[kept].astype(np.float64), signal.values[kept].astype(np.float64)


def _stall(losses: Values) -> int | None:
    """Return the first evaluation after which the best loss so far hardly fell any more."""
    still = [at for at in range(len(losses) - 1) if _gain(losses, at) < GAIN]
    return still[0] if still else None


def _gain(losses: Values, at: int) -> float:
    so_far = float(losses[: at + 1].min())
    return 1 - float(losses.min()) / so_far if so_far > 0 else 0.0


def loss_figure(data: LossData) -> go.Figure:
    """Draw the curves, the levels as horizontal lines and the stall as a shaded stretch."""
    figure = canvas("step", "loss [target variance]")
    last = float(np.concatenate([data.steps, data.train_steps]).max())
    low, high, log = _extent(data)
    figure.update_layout(xaxis_range=span(last), yaxis_range=[low, high], margin_r=128)
    if log:
        figure.update_yaxes(type="log", **decades(high - low))
    if data.stall is not None:
        _shade(figure, data, last)
    _curves(figure, data)
    _levels(figure, data, low, high, log)
    return figure


def _extent(data: LossData) -> tuple[float, float, bool]:
    """Return the range of the axis of losses, in powers of ten where it is logarithmic."""
    losses = [*data.validation, *data.train, *data.levels.values()]
    low, high = min(losses), max(losses)
    if low > 0 and high / low > WIDE:
        room = 0.08 * math.log10(high / low)
        return math.log10(low) - room, math.log10(high) + 2 * room, True
    top = high + 0.15 * (high or 1.0)
    return (0.0 if low > 0 else 1.1 * low), top, False


def _curves(figure: go.Figure, data: LossData) -> None:
    if len(data.train):
        line = {"color": SKY, "width": 1}
        figure.add_scatter(x=data.train_steps, y=data.train, name="train", mode="lines", line=line)
    figure.add_scatter(
        x=data.steps,
        y=data.validation,
        name="validation",
        mode="lines+markers",
        line={"color": BLUE, "width": 2},
        marker={"color": BLUE, "size": 5},
    )
    step, loss = data.steps[data.best], data.validation[data.best]
    figure.add_scatter(
        x=[step],
        y=[loss],
        name=f"best: {loss:.4g} at step {step:,.0f}",
        mode="markers",
        marker={"color": ORANGE, "size": 11},
    )


def _shade(figure: go.Figure, data: LossData, last: float) -> None:
    begin = data.steps[data.stall]
    figure.add_shape(
        type="rect",
        layer="below",
        x0=begin,
        x1=last,
        yref="paper",
        y0=0,
        y1=1,
        fillcolor=SHADE,
        line_width=0,
    )
    told = f"stalled from step {begin:,.0f}", f"{100 * data.gained:.1f} % gained since"
    for row, line in enumerate(told):
        figure.add_annotation(
            x=last,
            xshift=-4,
            xanchor="right",
            yref="paper",
            y=1,
            yshift=-15 * row,
            yanchor="top",
            text=line,
            showarrow=False,
            font={"color": INK},
        )


def _levels(figure: go.Figure, data: LossData, low: float, high: float, log: bool) -> None:
    """Draw what the losses are measured against; names stand at the right, moved apart."""
    heights = [math.log10(loss) if log else loss for loss in data.levels.values()]
    gap = 15 / (HEIGHT - 124)  # a line of text
    places = spread([(height - low) / (high - low) for height in heights], gap)
    for (name, loss), place in zip(data.levels.items(), places, strict=True):
        colour = GREEN if name == BASELINE else MUTED
        figure.add_shape(
            type="line",
            layer="below",
            xref="paper",
            x0=0,
            x1=1,
            y0=loss,
            y1=loss,
            line={"color": colour, "width": 1.5, "dash": "dash"},
        )
        figure.add_annotation(
            xref="paper",
            x=1,
            xshift=4,
            xanchor="left",
            y=low + place * (high - low),
            yanchor="middle",
            showarrow=False,
            text=text(f"{name} {loss:.3g}"),
            font={"color": colour},
        )
