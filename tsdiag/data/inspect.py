"""A first guess at the [data] section for rows that nobody has described yet (``tsdiag init``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tsdiag.config import DataConfig, SplitConfig
from tsdiag.data.clock import find_season, moment, parse_time, read_time
from tsdiag.data.columns import read_numbers, require_column
from tsdiag.data.reading import Table
from tsdiag.data.split import rows_needed
from tsdiag.errors import DataError

if TYPE_CHECKING:
    import pandas
    from jaxtyping import Float64

    Cells = Float64[np.ndarray, " row"]

TIME_NAMES = ("time", "timestamp", "datetime", "date", "ds")
CONTEXT = 240  # the founding question's window [rows]
ROWS_PER_CONTEXT = 20  # a shorter series gets a shorter context, or few windows were independent
# Relative changes are a sensible target where all but the rarest steps stay below this share.
WILD_STEP, RARE = 0.5, 0.99


@dataclass(frozen=True)
class Proposal:
    """One key of the [data] section with the value that was guessed, and why."""

    key: str
    value: Any
    comment: str
    warning: str = ""  # what a person must hear, not only find in a file


def propose(frame: pandas.DataFrame, target: str, source: str = "the table") -> list[Proposal]:
    """Guess the [data] section from the rows; ``source`` names them in messages.

    Raises:
        DataError: no column has the target's name, or its cells are not numbers.
    """
    table = Table(frame.set_axis([str(name) for name in frame.columns], axis=1), source)
    names = [str(name) for name in table.frame.columns]
    require_column(target, names, "--target", table.source)
    time = find_time(table)
    columns = [name for name in names if name != time]
    unread = {name: _unreadable(table, name) for name in columns}
    if unread[target]:
        raise DataError(str(unread[target]))
    levels = read_numbers(table, (target,), None, [])[:, 0]
    return [
        *([] if time is None else [_time(table, time)]),
        Proposal("target", target, "a name, a list of names, or all"),
        _transform(levels),
        _features(columns, unread),
        Proposal("fill", "forward", _missing(table, columns, unread)),
        _context(len(frame)),
        Proposal("prediction_length", 1, "rows ahead"),
        Proposal("stride", 1, "rows from one window to the next"),
        Proposal("embargo", 0, "rows left out between the spans"),
        Proposal("split", SplitConfig().model_dump(), "shares of the rows, in order of time"),
    ]


def find_time(table: Table) -> str | None:
    """Return the column that holds times, preferring the customary names."""
    import pandas

    def rank(name: str) -> tuple[bool, bool]:
        stored = pandas.api.types.is_datetime64_any_dtype(table.frame[name])
        return (not stored, name.lower() not in TIME_NAMES)

    names = sorted((str(name) for name in table.frame.columns), key=rank)
    return next((name for name in names if _holds_times(table, name)), None)


def _holds_times(table: Table, name: str) -> bool:
    import pandas

    head = table.frame[name].dropna().head(100)
    numbers = pandas.to_numeric(head.astype(str), errors="coerce").notna().any()
    # Dates as numbers (20130301) look like any other number; only the name tells.
    if len(head) == 0 or (numbers and name.lower() not in TIME_NAMES):
        return False
    try:
        parse_time(head, table.source)
    except DataError:
        return False
    return True


def _time(table: Table, name: str) -> Proposal:
    try:
        times = read_time(table.frame[name], table.source)
    except DataError as error:
        return Proposal("time", name, f"to be repaired first: {error}", str(error))
    season = find_season(times)
    found = f"season of {season} rows" if season else "no regular step found"
    return Proposal("time", name, f"{moment(times[0])} to {moment(times[-1])}, {found}")


def _unreadable(table: Table, name: str) -> DataError | None:
    try:
        read_numbers(table, (name,), None, [])
    except DataError as error:
        return error
    return None


def _transform(levels: Cells) -> Proposal:
    known = levels[~np.isnan(levels)]
    if known.min() <= 0:
        return Proposal("transform", "difference", "the target reaches zero or below")
    steps = np.abs(np.diff(known)) / known[:-1]
    if len(steps) and np.quantile(steps, RARE) > WILD_STEP:
        why = f"one step in a hundred exceeds {WILD_STEP:.0%} of the level"
        return Proposal("transform", "difference", why)
    return Proposal("transform", "percent_change", f"the target is positive, {known.min():g} up")


def _features(columns: list[str], unread: dict[str, DataError | None]) -> Proposal:
    left_out = [name for name in columns if unread[name]]
    if not left_out:
        return Proposal("features", "all", f"{len(columns)} columns, or a list of names")
    kept = [name for name in columns if not unread[name]]
    why = "; ".join(str(unread[name]) for name in left_out)
    return Proposal("features", kept, "left out: " + ", ".join(left_out), f"left out: {why}")


def _missing(table: Table, columns: list[str], unread: dict[str, DataError | None]) -> str:
    names = tuple(name for name in columns if not unread[name])
    share = np.isnan(read_numbers(table, names, None, [])).mean()
    return f"or none; {share:.1%} of the cells are missing"


def _context(rows: int) -> Proposal:
    length = max(1, min(CONTEXT, rows // ROWS_PER_CONTEXT))
    needed = rows_needed(DataConfig(context_length=length))
    why = "rows that the model sees" if rows >= needed else f"at least {needed} rows are needed"
    short = "" if length == CONTEXT else f"; {CONTEXT} would be usual, but there are {rows} rows"
    return Proposal("context_length", length, why + short)
