"""``tsdiag causes``: the catalogue of what can stall a training, and one cause's page."""

from __future__ import annotations

from typing import Annotated

import typer

Cause = Annotated[
    str | None,
    typer.Argument(metavar="CAUSE", help="A cause; left out: all of them.", show_default=False),
]


def causes(cause: Cause = None) -> None:
    """List what can stall a training, or show one cause's page."""
    from tsdiag.report.catalogue import catalogue_text, page_text

    typer.echo(catalogue_text() if cause is None else page_text(cause))
