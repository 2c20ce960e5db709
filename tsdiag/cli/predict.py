"""``tsdiag predict``: what an exported model says about new rows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tsdiag.errors import TsdiagError, UsageError

if TYPE_CHECKING:
    import pandas

    from tsdiag.config import DataConfig
    from tsdiag.runs.prediction import Rows

_PARQUET = (".parquet", ".pq")


def predict(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that tsdiag export wrote.")],
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="CSV or Parquet file, or a database URL.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="A .csv or .parquet file; left out: CSV on the terminal."
        ),
    ] = None,
    query: Annotated[
        str | None, typer.Option("--query", metavar="SQL", help="The rows, where DATA is a URL.")
    ] = None,
) -> None:
    """Predict from every row of new data whose past is complete.

    One line per row, target and step ahead: the row and its time, the last one
    known; the prediction in the unit of the model's target (such as percent);
    the level that follows from it, in the unit of the column. What is predicted
    from the last row lies beyond the data.
    """
    _refuse(out, data)
    from tsdiag.data.reading import read_table
    from tsdiag.runs.export import read_export
    from tsdiag.runs.prediction import predict_rows, read_rows

    source = _source(data, query)
    trained = read_export(folder)
    rows = read_rows(trained, read_table(source))
    for note in rows.notes:
        typer.echo(f"note: {note}", err=True)
    if out is not None and out.suffix.lower() in _PARQUET:
        _write_parquet(out, predict_rows(trained, rows))
    else:
        _write_csv(out, predict_rows(trained, rows.with_time_as_text()))
    typer.echo(_counted(rows), err=True)


def _refuse(out: Path | None, data: str) -> None:
    if out is None:
        return
    if out.suffix.lower() not in (".csv", *_PARQUET):
        raise UsageError(f'--out {out}: the ending "{out.suffix}" is unknown; use .csv or .parquet')
    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {out.parent}; make it first")
    if out.exists() and "://" not in data and out.resolve() == Path(data).expanduser().resolve():
        raise UsageError(f"--out {out}: that is DATA itself; name another file")


def _source(data: str, query: str | None) -> DataConfig:
    from tsdiag.config import DataConfig

    if "://" in data:
        if query is None:
            raise UsageError(
                'predict from a database: the rows are not named; add --query "SELECT ... '
                'ORDER BY ..."'
            )
        return DataConfig(url=data, query=query)
    if query is not None:
        raise UsageError(f"--query with the file {data}: a query needs a database; leave it out")
    return DataConfig(path=data)


def _write_csv(out: Path | None, pieces: Iterable[pandas.DataFrame]) -> None:
    if out is None:
        for text in _csv(pieces):
            typer.echo(text, nl=False)
        return
    with _replacing(out) as file, file.open("w", encoding="utf-8", newline="") as lines:
        lines.writelines(_csv(pieces))


def _csv(pieces: Iterable[pandas.DataFrame]) -> Iterator[str]:
    for number, piece in enumerate(pieces):
        yield piece.to_csv(index=False, header=number == 0, lineterminator="\n")


def _write_parquet(out: Path, pieces: Iterator[pandas.DataFrame]) -> None:
    from pyarrow import Table, parquet

    first = Table.from_pandas(next(pieces), preserve_index=False)
    with _replacing(out) as file, parquet.ParquetWriter(file, first.schema) as writer:
        writer.write_table(first)
        for piece in pieces:
            writer.write_table(Table.from_pandas(piece, first.schema, preserve_index=False))


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """Write beside the file and rename over it: it is whole, or as it was."""
    beside = out.with_name(f".{out.name}.writing")
    try:
        yield beside
        os.replace(beside, out)
    except OSError as error:
        reason = error.strerror or error
        raise TsdiagError(f"write {out}: {reason}; make room, or name another file") from error
    finally:
        beside.unlink(missing_ok=True)


def _counted(rows: Rows) -> str:
    predicted, length = len(rows.windows), rows.windows.context_length
    total = predicted + rows.short + rows.incomplete
    words = f"predicted from {predicted} of {total} rows"
    if rows.short:
        words += f"; the first {rows.short} have less than {length} rows behind them"
    if rows.incomplete:
        words += f"; {rows.incomplete} miss a value among the last {length} rows"
    if rows.carried:
        words += f"; {rows.carried} start from a missing target, carried from the row before"
    return words
