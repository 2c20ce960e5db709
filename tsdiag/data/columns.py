"""Columns: which are features and targets, and their cells as numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tsdiag.config import DataConfig
from tsdiag.data.clock import place
from tsdiag.data.reading import Table
from tsdiag.errors import DataError, suggestion

if TYPE_CHECKING:
    import pandas
    from numpy.typing import NDArray

    from tsdiag.data.clock import Times

# What stands for a missing number in text, beside an empty cell (pandas' own list, folded).
MISSING_WORDS = {"", "na", "n/a", "nan", "null", "none", "#n/a", "<na>", "-"}


def choose_columns(table: Table, config: DataConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the features and of the targets.

    Raises:
        DataError: a name is unknown, repeated, or names the time column.
    """
    known = [str(name) for name in table.frame.columns]
    if config.time is not None:
        require_column(config.time, known, "data.time", table.source)
    columns = tuple(name for name in known if name != config.time)
    targets: str | tuple[str, ...] = config.target
    features: str | tuple[str, ...] = config.features
    if config.generate is not None:
        from tsdiag.data.generator import TARGET

        # The level of a generated series is no feature: its past would give the factors away.
        targets = TARGET if targets == "all" else targets
        features = tuple(c for c in columns if c != TARGET) if features == "all" else features
    return (
        _chosen(features, columns, "data.features", table.source),
        _chosen(targets, columns, "data.target", table.source),
    )


def _chosen(
    asked: str | tuple[str, ...], columns: tuple[str, ...], key: str, source: str
) -> tuple[str, ...]:
    names = (asked,) if isinstance(asked, str) else asked
    # A column that is itself named "all" wins only in a list.
    if asked == "all":
        return columns
    if not names:
        raise DataError(f'{key} = []: found no name; write "all" or a list of columns')
    for name in names:
        require_column(name, columns, key, source)
        if names.count(name) > 1:
            raise DataError(f'{key}: "{name}" is listed twice; list it once')
    return names


def require_column(name: str, known: list[str] | tuple[str, ...], key: str, source: str) -> None:
    """Refuse a name that no column has, with the closest one that some column has.

    Raises:
        DataError: the name is unknown.
    """
    if name not in known:
        shown = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
        do = suggestion(name, known) or f"; choose one of them for {key}"
        raise DataError(f'{key} = "{name}": {source} has no such column (it has {shown}){do}')


def read_numbers(
    table: Table, names: tuple[str, ...], time: Times | None, notes: list[str]
) -> NDArray[np.float64]:
    """Return cells as float64 (rows, names), missing ones as NaN.

    Raises:
        DataError: a cell is not a finite number; or a column has no number at all.
    """
    numbers = np.empty((len(table.frame), len(names)))
    for position, name in enumerate(names):
        numbers[:, position] = _read_column(table, name, time, notes)
    return numbers


def _read_column(
    table: Table, name: str, time: Times | None, notes: list[str]
) -> NDArray[np.float64]:
    import pandas

    column, where = table.frame[name], f'{table.source}: column "{name}"'
    if pandas.api.types.is_complex_dtype(column):
        raise DataError(f"{where}: found complex numbers; split them into two real columns")
    if pandas.api.types.is_numeric_dtype(column):
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        numbers = _from_text(column, where, time, notes)
    infinite = np.flatnonzero(np.isinf(numbers))
    if len(infinite):
        raise DataError(
            f"{where}, {place(int(infinite[0]), time)}: found {numbers[infinite[0]]} "
            f"({len(infinite)} infinite cells in all); replace them by numbers or leave them empty"
        )
    if np.isnan(numbers).all():
        raise DataError(f"{where}: all {len(numbers)} cells are missing; list columns without it")
    return numbers


def _from_text(
    column: pandas.Series[Any], where: str, time: Times | None, notes: list[str]
) -> NDArray[np.float64]:
    import pandas

    try:
        text = column.astype(str).str.strip()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: holds bytes ({error}), not numbers; convert it first") from error
    missing = (column.isna() | text.str.lower().isin(MISSING_WORDS)).to_numpy(dtype=bool)
    read = pandas.to_numeric(text.mask(missing), errors="coerce")
    numbers = np.array(read.to_numpy(dtype=np.float64, na_value=np.nan))
    wrong = np.flatnonzero(np.isnan(numbers) & ~missing)
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"{where}, {place(row, time)}: found {text.iloc[row]!r}, not a number"
            f"{_advice(text.iloc[row], str(column.name))}"
        )
    words = int((missing & ~column.isna().to_numpy(dtype=bool)).sum())
    notes.append(
        f'column "{column.name}" was not stored as numbers, but could be read as such'
        + (f", {words} words for a missing value among them" if words else "")
    )
    return numbers


def _advice(found: str, name: str) -> str:
    if found.count(",") == 1 and found.replace(",", "").lstrip("+-").isdigit():
        return "; write a decimal point in place of the comma"
    if found[:4].isdigit() and "-" in found:
        return f'; if it is the time, set data.time = "{name}"'
    return "; correct the cell, or list data.features without this column"
