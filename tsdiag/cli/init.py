"""``tsdiag init``: look at the data and write a commented study.toml."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tsdiag.errors import UsageError

if TYPE_CHECKING:
    import pandas

    from tsdiag.config import DataConfig
    from tsdiag.data.reading import Table


def init(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="CSV or Parquet file, or a database URL.")
    ],
    target: Annotated[
        list[str],
        typer.Option(
            "--target",
            metavar="COLUMN",
            help="What to predict; repeatable.",
            show_default=False,
        ),
    ],
    time: Annotated[
        str | None,
        typer.Option("--time", metavar="COLUMN", help="Time of a row; left out: it is looked for."),
    ] = None,
    query: Annotated[
        str | None, typer.Option("--query", metavar="SQL", help="The rows, where DATA is a URL.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="Name of the study; left out: DATA's name."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="File to write.")] = Path(
        "study.toml"
    ),
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
) -> None:
    """Look at the data and write a commented study.toml.

    Finds the time column, the usable features, a transform and a context
    length that fit, and says why beside each. Trains nothing.
    """
    _refuse_loss(out, force)
    text = _describe(data, query, target, time, name, out)
    _write(out, text, private=_holds_password(data))
    typer.echo(f"wrote {out}\nnext: tsdiag search {out} --dry-run")


def _describe(
    data: str,
    query: str | None,
    targets: list[str],
    time: str | None,
    name: str | None,
    out: Path,
) -> str:
    import tomllib
    from dataclasses import replace

    from tsdiag.cli.study_template import write_study
    from tsdiag.data.inspect import propose
    from tsdiag.data.reading import read_table
    from tsdiag.search.spec import parse_spec

    table = read_table(_source(data, query))
    frame = table.frame if time is None else _only_time(table, time)
    proposals = propose(frame, targets[0], table.source)
    if len(targets) > 1:
        proposals = [
            replace(item, value=targets) if item.key == "target" else item for item in proposals
        ]
    text = write_study(name or _name_after(data), _reference(data, query, out), proposals)
    for proposal in proposals:
        if proposal.warning:
            typer.echo(f"warning: data.{proposal.key}: {proposal.warning}", err=True)
    # What is written must be what `search` reads; its own checks say so before the file exists.
    parse_spec(tomllib.loads(text), out)
    return text


def _only_time(table: Table, column: str) -> pandas.DataFrame:
    """Leave one column that looks like a time: the one that the person named."""
    import pandas

    from tsdiag.data.clock import read_time
    from tsdiag.data.columns import require_column

    require_column(column, [str(name) for name in table.frame.columns], "--time", table.source)
    others = table.frame.select_dtypes(["datetime", "datetimetz"]).columns
    hidden = table.frame[others].astype(str)
    times = pandas.Series(read_time(table.frame[column], table.source), table.frame.index)
    return table.frame.assign(**hidden).assign(**{column: times})


def _source(data: str, query: str | None) -> DataConfig:
    from tsdiag.config import DataConfig

    if "://" not in data:
        return DataConfig(path=data)
    if query is None:
        raise UsageError(
            'init of a database: the rows are not named; add --query "SELECT ... ORDER BY ..."'
        )
    return DataConfig(url=data, query=query)


def _reference(data: str, query: str | None, out: Path) -> dict[str, str]:
    if query is not None:
        return {"url": data, "query": query}
    # A relative path starts at the study's folder, so that the two can move together.
    path = Path(data).expanduser()
    return {"path": str(path if path.is_absolute() else os.path.relpath(path, out.parent))}


def _name_after(data: str) -> str:
    from tsdiag.errors import redact

    stem = Path(redact(data).split("?")[0]).stem
    return re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "study"


def _refuse_loss(out: Path, force: bool) -> None:
    if out.exists() and not force:
        raise UsageError(
            f"write {out}: it is there already; name another file with --out, "
            "or replace it with --force"
        )
    if not out.parent.is_dir():
        raise UsageError(f"write {out}: there is no folder {out.parent}; make it first")


def _holds_password(data: str) -> bool:
    from tsdiag.errors import redact

    return redact(data) != data


def _write(out: Path, text: str, private: bool) -> None:
    out.unlink(missing_ok=True)
    out.touch(mode=0o600 if private else 0o666)
    out.write_text(text, encoding="utf-8")
    if private:
        typer.echo(f"{out} holds the database's password: only you can read it", err=True)
