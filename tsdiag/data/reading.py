"""Reading rows: CSV, TSV, Parquet or the result of a SQL query, as one table with a name."""

from __future__ import annotations

import csv
import difflib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tsdiag.config import DataConfig
from tsdiag.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pandas

SEPARATED = {".csv", ".tsv", ".txt"}
PARQUET = {".parquet", ".pq"}


@dataclass(frozen=True, eq=False)
class Table:
    """Rows as they were read, and what messages call their source."""

    frame: pandas.DataFrame
    source: str
    notes: tuple[str, ...] = ()


def read_table(config: DataConfig, folder: Path | None = None) -> Table:
    """Read the rows that a configuration names; relative paths start at ``folder`` or here.

    Raises:
        ConfigError: no source of rows is set, or the database URL cannot be understood.
        DataError: the file or the query cannot be read, or holds no rows.
    """
    if config.generate is not None:
        from tsdiag.data.generator import generate

        return Table(generate(config.generate), f"generated {config.generate.kind} series")
    if config.url is not None and config.query is not None:
        from tsdiag.data.sql import read_query

        table = read_query(config.url, config.query, folder)
    elif config.path is not None:
        table = _read_file(config.path, folder)
    else:
        raise ConfigError(
            "data: no source of rows is set; set data.path to a CSV or Parquet file, "
            "data.url and data.query, or data.generate"
        )
    return _require_rows(table)


def _read_file(path: str, folder: Path | None) -> Table:
    full = (folder or Path.cwd()) / Path(path).expanduser()
    suffix = full.suffix.lower()
    if not full.is_file():
        raise DataError(_missing(path, full))
    if suffix not in SEPARATED | PARQUET:
        raise DataError(
            f'data.path = "{path}": the kind "{suffix}" is not read; '
            "give .csv, .tsv or .parquet, or a database by data.url and data.query"
        )
    try:
        return _read_parquet(full, path) if suffix in PARQUET else _read_separated(full, path)
    except DataError:
        raise
    # Every parser has exceptions of its own; all of them mean that the file is not what it says.
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        kind = "Parquet file" if suffix in PARQUET else "table in UTF-8 text"
        raise DataError(
            f'data.path = "{path}": not a readable {kind} ({reason}); repair or export it again'
        ) from error


def _missing(path: str, full: Path) -> str:
    if full.is_dir():
        return f'data.path = "{path}": found a folder; name the file in it'
    if not full.parent.is_dir():
        return f'data.path = "{path}": there is no folder {full.parent}; correct the path'
    names = [entry.name for entry in full.parent.iterdir() if entry.is_file()]
    near = difflib.get_close_matches(full.name, names, n=1)
    do = f'did you mean "{near[0]}"?' if near else "correct the path (relative ones start there)"
    return f'data.path = "{path}": no such file in {full.parent.resolve()}; {do}'


def _read_parquet(full: Path, path: str) -> Table:
    import pandas

    _require_text(full)
    frame = pandas.read_parquet(full)
    # A time that pandas stored as the index is a column like any other to us.
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    return Table(frame, path)


def _require_text(full: Path) -> None:
    """Refuse text that is no UTF-8: pandas would find out at some cell, much later."""
    from pyarrow import parquet, types

    # Of words that are written once and numbered, the type is that of the words.
    kinds = {f.name: getattr(f.type, "value_type", f.type) for f in parquet.read_schema(full)}
    texts = [n for n, t in kinds.items() if types.is_string(t) or types.is_large_string(t)]
    if texts:
        parquet.read_table(full, columns=texts).validate(full=True)


def _read_separated(full: Path, path: str) -> Table:
    import pandas

    with full.open(encoding="utf-8-sig", newline="") as lines:
        first = lines.readline()
    separator = max(",;\t", key=first.count)
    header = next(csv.reader([first], delimiter=separator), [])
    _refuse_repeated(header, path)
    with warnings.catch_warnings():
        # Surplus cells in a row are only a warning to pandas, which then cuts them off.
        warnings.simplefilter("error", pandas.errors.ParserWarning)
        frame = pandas.read_csv(full, sep=separator, index_col=False, low_memory=False)
    return _without_row_numbers(frame, header, path)


def _refuse_repeated(header: list[str], path: str) -> None:
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise DataError(
            f'{path}: column "{repeated[0]}" stands {header.count(repeated[0])} times in the '
            "header; rename or remove the repeated ones"
        )


def _without_row_numbers(frame: pandas.DataFrame, header: list[str], path: str) -> Table:
    """Leave out the nameless column of row numbers that ``to_csv`` writes by default."""
    if not header or header[0].strip():
        return Table(frame, path)
    numbers = frame.iloc[:, 0]
    if list(numbers) != list(range(len(frame))):
        raise DataError(f"{path}: the first column has no name; give it one in the header")
    note = "the first column has no name and numbers the rows: left out"
    return Table(frame.iloc[:, 1:], path, (note,))


def _require_rows(table: Table) -> Table:
    names = [str(name) for name in table.frame.columns]
    if len(table.frame) == 0 or not names:
        raise DataError(
            f"{table.source}: found {len(names)} columns and {len(table.frame)} rows; "
            "give a table with a header and rows"
        )
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise DataError(
            f'{table.source}: {names.count(repeated[0])} columns are named "{repeated[0]}"; '
            "rename or remove the repeated ones"
        )
    return Table(table.frame.set_axis(names, axis=1), table.source, table.notes)
