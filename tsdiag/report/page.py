"""A diagnosis as one HTML page that loads nothing from anywhere, with interactive figures.

Where scripts do not run, and on paper, the figures are still: the page holds both.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from html import unescape
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

from jinja2 import Environment, StrictUndefined

from tsdiag.diagnostics.findings import Diagnosis, RunScores
from tsdiag.escaping import plain
from tsdiag.plots.svg import svg
from tsdiag.report.repair import MEMBERS, judged, told
from tsdiag.report.wording import number

if TYPE_CHECKING:
    import plotly.graph_objects as go

TITLE = 34  # what a title takes at the top of a figure [pixels]


class Chart(NamedTuple):
    """A figure as the template takes it; its title stands in the page."""

    title: str
    caption: str
    height: int  # [pixels]
    drawn: str  # JSON for plotly.js
    still: str  # SVG


class Score(NamedTuple):
    """A row of the table of losses."""

    name: str
    loss: str
    attained: str


def page(diagnosis: Diagnosis, figures: Mapping[str, go.Figure]) -> str:
    """Return a self-contained HTML page of a diagnosis and the figures of its run."""
    from plotly.offline import get_plotlyjs

    template = _environment().from_string(files("tsdiag.report").joinpath("page.html").read_text())
    return template.render(
        diagnosis=diagnosis,
        subject="The baseline" if diagnosis.trial is None else f"Trial {diagnosis.trial}",
        scores=_scores(diagnosis.scores),
        verified=told(diagnosis),
        members=MEMBERS,
        charts=[_chart(name, figure) for name, figure in figures.items()],
        plotly=get_plotlyjs() if figures else "",
    )


def _environment() -> Environment:
    found = Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=_final,
    )
    found.filters.update(short=_short, setting=_setting, judged=judged)
    return found


def _final(value: Any) -> Any:
    """Leave out of a person's names what steers a browser or the direction of writing."""
    return plain(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _short(value: float | None) -> str:
    """Return a number in four digits, with a minus that is as wide as a digit."""
    return "-" if value is None else f"{value:.4g}".replace("-", "−")


def _loss(value: float | None) -> str:
    return number(value, 4)


def _setting(value: Any) -> str:
    """Return a value as it is written in a study file."""
    return json.dumps(value, ensure_ascii=False)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _scores(scores: RunScores) -> list[Score]:
    """Return losses, best first, with what stands for 0 and for 100 %."""
    losses = dict(scores.floors)
    if scores.baseline is not None:
        losses["baseline"] = scores.baseline
    # what stands for 100 % and is no floor is the baseline, by its own name
    best = scores.best if scores.best in scores.floors else "baseline"
    stands = {scores.naive: "0 %", best: "100 %"} if scores.best else {}
    rows = [
        (loss, Score(_words(name), _loss(loss), stands.get(name, "")))
        for name, loss in losses.items()
    ]
    own = Score("this run", _loss(scores.validation_loss), _attained(scores))
    rows.append((math.inf if scores.validation_loss is None else scores.validation_loss, own))
    return [score for _, score in sorted(rows, key=lambda row: row[0])]


def _attained(scores: RunScores) -> str:
    found = scores.attained
    if found is None:
        return ""
    value, low, high = (
        f"{100 * share:.0f}".replace("-", "−") for share in (found.value, found.low, found.high)
    )
    return f"{value} % [{low}, {high}]"


def _chart(name: str, figure: go.Figure) -> Chart:
    """Return a figure without its title, drawn twice."""
    layout = figure.layout
    bare = type(figure)(figure)
    if layout.title.text:
        top = 80 if layout.margin.t is None else layout.margin.t
        bare.update_layout(title_text=None, margin_t=max(16, top - TITLE))
        height = (layout.height or 450) - TITLE
        bare.update_layout(height=height)
    about = layout.meta if isinstance(layout.meta, dict) else {}
    # A JSON text may stand in a script element if no tag can begin in it.
    drawn = bare.to_json().replace("<", "\\u003c")
    return Chart(
        title=unescape(layout.title.text or name),
        caption=unescape(str(about.get("caption", ""))),
        height=int(bare.layout.height or 450),
        drawn=drawn,
        still=svg(bare),
    )
