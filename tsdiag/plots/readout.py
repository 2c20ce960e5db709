"""Readout waterfall: how much of the target can be read linearly, place after place."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tsdiag.diagnostics.case import Case
from tsdiag.diagnostics.measures import Values, last
from tsdiag.plots.style import BLUE, INK, MUTED, ORANGE, canvas, text

if TYPE_CHECKING:
    import plotly.graph_objects as go

# A ridge that does worse than the mean has found nothing; how much worse says nothing.
LEAST = -0.25
# A loss at one place is marked from here on: recorded healthy runs lose up to 0.09.
FALL = 0.1


class ReadoutData(NamedTuple):
    """Readout skill [share of target variance] at places in the order of the data."""

    places: tuple[str, ...]
    skill: Values
    step: int  # at which it was measured
    fall: int | None  # the place that loses most; None where little is lost

    @property
    def lost(self) -> float:
        """Skill lost at the place that loses most."""
        return 0.0 if self.fall is None else float(-_falls(self.skill)[self.fall - 1])


def readout_data(case: Case) -> ReadoutData | None:
    """Return skills in the order of the data, or None where the readout was not asked for."""
    found = []
    for signal in case.record.places("readout_skill"):
        skill, order = last(signal), last(case.record.signal("readout_order", signal.where))
        if skill is not None and order is not None:
            found.append((order, signal.where, skill, int(signal.steps[-1])))
    ordered = _told_once([(where, skill) for _, where, skill, _ in sorted(found)])
    if len(ordered) < 2:
        return None
    skills = np.array([skill for _, skill in ordered])
    falls = _falls(skills)
    fall = int(np.argmin(falls)) + 1 if falls.min() <= -FALL else None
    places = tuple(where or "output" for where, _ in ordered)
    return ReadoutData(places, skills, max(step for *_, step in found), fall)


def _falls(skills: Values) -> Values:
    """Return what changes from place to place; below 0 there is nothing to lose."""
    return np.diff(np.maximum(skills, 0.0))


def _told_once(places: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Leave out a module that only hands on what its last part has given."""
    kept = places[:1]
    for before, (where, skill) in pairwise(places):
        inside = not where or before[0].startswith(f"{where}.")
        if not (inside and before[1] == skill):
            kept.append((where, skill))
    return kept


def readout_figure(data: ReadoutData) -> go.Figure:
    """Draw a bar for each place from the input down, and mark where most is lost."""
    figure = canvas(f"skill at step {data.step:,} [share of variance]", "")
    count = len(data.places)
    drawn = np.maximum(data.skill, LEAST)
    figure.update_layout(
        height=124 + 26 * count,
        margin={"l": 28 + 7 * max(map(len, data.places)), "t": 48},
        showlegend=False,
        xaxis_range=[min(0.0, 1.1 * drawn.min()), max(0.1, 1.25 * drawn.max())],
        yaxis={"range": [count - 0.4, -0.6], "showgrid": False},
    )
    figure.update_xaxes(zeroline=True, zerolinecolor=MUTED)
    figure.update_yaxes(
        tickvals=list(range(count)), ticktext=[text(place) for place in data.places]
    )
    figure.add_bar(
        x=drawn,
        y=list(range(count)),
        orientation="h",
        marker={"color": [ORANGE if at == data.fall else BLUE for at in range(count)]},
        width=0.7,
        hovertext=[f"{text(p)}: {s:.4g}" for p, s in zip(data.places, data.skill, strict=True)],
        hoverinfo="text",
    )
    for at, end in enumerate(drawn):
        place = {"x": max(0.0, end), "y": at, "xshift": 6, "xanchor": "left", "yanchor": "middle"}
        figure.add_annotation(**place, text=_words(data, at), showarrow=False, font={"color": INK})
    return figure


def _words(data: ReadoutData, at: int) -> str:
    words = f"{data.skill[at]:.2f}".replace("-", "−")
    return f"{words}, most lost here: −{data.lost:.2f}" if at == data.fall else words
