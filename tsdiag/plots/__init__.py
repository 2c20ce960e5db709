"""The registry of figures: a new one is a file beside this one and a line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tsdiag.diagnostics.case import Case
from tsdiag.plots.entropy import entropy_data, entropy_figure
from tsdiag.plots.gradients import gradients_data, gradients_figure
from tsdiag.plots.loss import loss_data, loss_figure
from tsdiag.plots.readout import readout_data, readout_figure

if TYPE_CHECKING:
    import plotly.graph_objects as go

D = TypeVar("D")


@dataclass(frozen=True)
class Plot(Generic[D]):
    """A figure of one run in two steps: numbers from what was measured, and lines from them."""

    name: str
    title: str
    caption: str  # how to read it
    data: Callable[[Case], D | None]  # None: not measured
    figure: Callable[[D], go.Figure]

    def draw(self, case: Case) -> go.Figure | None:
        """Return the figure with its title, or None where its signals were not measured."""
        data = self.data(case)
        if data is None:
            return None
        about = {"caption": self.caption}
        return self.figure(data).update_layout(title_text=self.title, meta=about)


FIGURES: tuple[Plot[Any], ...] = (
    Plot(
        "loss",
        "Loss against floors and baseline",
        "Dashed lines are what trivial models and the baseline reach on the same windows.",
        loss_data,
        loss_figure,
    ),
    Plot(
        "gradients",
        "Gradient norm by block",
        "Dark is the first block. Lines decades apart: blocks that learn at different paces.",
        gradients_data,
        gradients_figure,
    ),
    Plot(
        "entropy",
        "Attention entropy by head",
        "At 1 a head looks everywhere alike, which is normal at the start; at 0 at a single key.",
        entropy_data,
        entropy_figure,
    ),
    Plot(
        "readout",
        "What a linear readout finds, place after place",
        "From the input down: where a bar is much shorter than the one above, the model loses "
        "what it was given.",
        readout_data,
        readout_figure,
    ),
)


def figures(case: Case) -> dict[str, go.Figure]:
    """Return by name all figures of a run whose signals were measured."""
    drawn = ((plot.name, plot.draw(case)) for plot in FIGURES)
    return {name: figure for name, figure in drawn if figure is not None}
