"""``tsdiag explain``: why a trial stalled. Loads neither torch nor Optuna."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tsdiag.cli.options import DEFAULT_STORAGE, Device, Json, OfStudy, Storage, Workers

if TYPE_CHECKING:
    from tsdiag.diagnostics.findings import Diagnosis
    from tsdiag.explanation import Explanation

Which = Annotated[
    str,
    typer.Argument(metavar="TRIAL", help='The trial\'s number, or "baseline".', show_default=False),
]
Html = Annotated[
    Path | None,
    typer.Option("--html", metavar="FILE", help="Write one self-contained page with figures."),
]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print markdown instead of text.")]
Verify = Annotated[
    bool, typer.Option("--verify", help="Prove it: carry its remedies out as paired runs.")
]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="TIME",
        help="With --verify: wall clock [default: 10m].",
        show_default=False,
    ),
]
Script = Annotated[
    Path | None,
    typer.Option(
        "--script", metavar="FILE", help="Write a Python file that replays the verified repair."
    ),
]


def explain(
    trial: Which,
    study: OfStudy = None,
    storage: Storage = DEFAULT_STORAGE,
    html: Html = None,
    json: Json = False,
    markdown: Markdown = False,
    verify: Verify = False,
    budget: Budget = None,
    workers: Workers = 0,
    device: Device = "auto",
    script: Script = None,
) -> None:
    """Explain why a trial stalled: its state, and its causes with their numbers.

    Reads what was measured while it trained; works on running, pruned, failed and
    diverged trials, too. With --verify its remedies are carried out: short paired
    runs prove or refute each cause and find the smallest repair. The same line
    again shows the result, or goes on where the budget ended.
    """
    from tsdiag.errors import UsageError
    from tsdiag.explanation import explain

    if budget is not None and not verify:
        raise UsageError(f"--budget {budget} is the time of --verify: add it, or leave both out")
    if json and markdown:
        raise UsageError("--json and --markdown: print one or the other")
    if verify:
        from tsdiag.cli.verifying import verify as carry_out

        carry_out(trial, study, storage, budget or "10m", workers, device)
    diagnosis = explain(trial, study, storage)
    if diagnosis.trial not in (None, int(trial) if trial.isdigit() else None):
        typer.echo(f"trial {trial} was broken off, and went on as {diagnosis.trial}", err=True)
        trial = str(diagnosis.trial)
    if html is not None:
        _write_page(html, diagnosis)
    if script is not None:
        from tsdiag.cli.scripting import write_script

        write_script(trial, study, storage, script)
    if json:
        typer.echo(diagnosis.to_json())
    elif markdown:
        from tsdiag.report.diagnosis import diagnosis_markdown

        typer.echo(diagnosis_markdown(diagnosis), nl=False)
    else:
        _print(diagnosis, trial, html, _options(storage, study))


def _options(storage: str, study: str | None) -> str:
    """Return what the next line needs to mean the same trial."""
    from tsdiag.errors import redact

    named = "" if study is None else f" --study {shlex.quote(study)}"
    known = (DEFAULT_STORAGE, os.environ.get("TSDIAG_STORAGE"))
    return named if storage in known else f"{named} --storage {shlex.quote(redact(storage))}"


def _print(diagnosis: Diagnosis, trial: str, html: Path | None, options: str) -> None:
    from rich.console import Console

    from tsdiag.report.diagnosis import diagnosis_text
    from tsdiag.report.repair import is_unfinished, shown_cause

    lines = []
    if diagnosis.repair is not None and diagnosis.trial is not None:
        where = options.removeprefix(f" --study {shlex.quote(diagnosis.study)}")
        lines.append(f"tsdiag search {shlex.quote(diagnosis.study)} --repair {trial}{where}")
    if (cause := shown_cause(diagnosis)) is not None:
        lines.append(f"tsdiag causes {cause}")
    if is_unfinished(diagnosis):
        lines.append(f"tsdiag explain {trial} --verify{options}")
    if html is None:
        lines.append(f"tsdiag explain {trial} --html trial-{trial}.html{options}")
    Console(highlight=False).print(diagnosis_text(diagnosis, tuple(lines)), soft_wrap=True)


def _write_page(file: Path, explanation: Explanation) -> None:
    from tsdiag.errors import UsageError

    try:
        file.write_text(explanation.to_html(), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"write {file}: {error.strerror}; name another file") from error
    typer.echo(f"wrote {file}", err=True)
