"""Options and arguments that several commands share, declared once."""

from __future__ import annotations

from typing import Annotated

import typer

DEFAULT_STORAGE = "sqlite:///tsdiag.db"

Storage = Annotated[
    str,
    typer.Option(
        "--storage",
        envvar="TSDIAG_STORAGE",
        metavar="URL",
        help="Database of the studies: sqlite:///FILE, postgresql://..., mysql://...",
    ),
]
StudyName = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME",
        help="A study; left out: the only one, else the newest.",
        show_default=False,
    ),
]
OfStudy = Annotated[
    str | None,
    typer.Option(
        "--study",
        metavar="NAME",
        help="The study of the trial; left out: the only one, else the newest.",
    ),
]
Trial = Annotated[int, typer.Argument(metavar="TRIAL", help="The trial's number.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Workers = Annotated[
    int,
    typer.Option(
        "--workers",
        metavar="N",
        min=0,
        help="Processes of one thread each; 0: one per core, or one for a GPU.",
    ),
]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu or cuda.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print CSV instead of text.")]
