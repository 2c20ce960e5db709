"""The time column: parsing, order, and the number of rows in a season.

Rows in messages count from 1, the first row under the header.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tsdiag.errors import DataError

if TYPE_CHECKING:
    import pandas
    from numpy.typing import NDArray

    Times = NDArray[np.datetime64]

DAY = 86_400
# Rows per season by median step [days], for steps that no number of seconds defines.
CALENDAR = ((7, 7, 52), (28, 31, 12), (90, 92, 4))
# Working days leave out weekends and holidays; below this share, steps are irregular.
REGULAR_SHARE = 0.75


def read_time(column: pandas.Series[Any], source: str) -> Times:
    """Parse a time column and check that it is in order and without repeats.

    Raises:
        DataError: names the row that is missing, unreadable, out of order or repeated.
    """
    times = parse_time(column, source)
    _require_order(times, f'{source}: time column "{column.name}"', str(column.name))
    return times


def parse_time(column: pandas.Series[Any], source: str) -> Times:
    """Parse ISO 8601 text, dates and datetimes, to UTC where a time zone is given.

    Raises:
        DataError: names the first row that is missing or unreadable.
    """
    import pandas

    where = f'{source}: time column "{column.name}"'
    text = _as_text(column, where)
    parsed = pandas.to_datetime(text, errors="coerce", format="ISO8601", utc=True)
    unread = np.flatnonzero(parsed.isna())
    if len(unread):
        found = column.iloc[unread[0]]
        raise DataError(
            f"{where}, row {unread[0] + 1}: found '{found}'; write every time as ISO 8601, "
            'such as "2013-03-01 00:00:00"'
        )
    try:
        return parsed.dt.tz_localize(None).dt.as_unit("ns").to_numpy()
    except pandas.errors.OutOfBoundsDatetime as error:
        raise DataError(f"{where}: {error}; tsdiag reads years from 1678 to 2261") from error


def _as_text(column: pandas.Series[Any], where: str) -> pandas.Series[Any]:
    """Let dates that were written as plain numbers (20130301) pass, and no other numbers."""
    import pandas

    if not pandas.api.types.is_numeric_dtype(column):
        return column
    if column.isna().any() or not column.between(1900_01_01, 2261_12_31).all():
        raise DataError(
            f"{where}: found numbers ({column.iloc[0]} first), not times; write ISO 8601 times, "
            "or leave data.time out (rows then count as equally spaced) and list data.features "
            "without this column"
        )
    return column.astype("int64").astype(str)


def _require_order(times: Times, where: str, name: str) -> None:
    steps = np.diff(times)
    late = np.flatnonzero(steps < np.timedelta64(0, "s"))
    if len(late):
        row = int(late[0]) + 1
        raise DataError(
            f"{where}, row {row + 1}: {moment(times[row])} comes after {moment(times[row - 1])} of "
            f'row {row}; sort the rows by "{name}"'
        )
    same = np.flatnonzero(steps == np.timedelta64(0, "s"))
    if len(same):
        row = int(same[0]) + 1
        raise DataError(
            f"{where}, row {row + 1}: {moment(times[row])} stands in row {row} already "
            f"({len(same)} repeated times in all); keep one row per time"
        )


def moment(time: np.datetime64) -> str:
    """Return a time as short ISO text: no seconds where they are zero."""
    return str(time.astype("datetime64[s]")).removesuffix(":00").replace("T", " ")


def place(row: int, time: Times | None) -> str:
    """Return how messages name a row (0-based here, counted from 1 in the text)."""
    return f"row {row + 1}" + ("" if time is None else f" ({moment(time[row])})")


def find_season(time: Times | None) -> int | None:
    """Return the rows of one season: a day for hours and minutes, a week for days, else a year.

    The table is GluonTS's ``get_seasonality``; None where times have no regular step.
    """
    if time is None or len(time) < 3:
        return None
    steps = np.diff(time) / np.timedelta64(1, "s")
    step = float(np.median(steps))
    for low, high, season in CALENDAR:
        if low * DAY <= step <= high * DAY and steps.max() <= 2 * high * DAY:
            return season
    if np.mean(steps == step) < REGULAR_SHARE:
        return None
    if step == DAY:
        weekday = (time.astype("datetime64[D]").astype(int) + 3) % 7  # 1970-01-01 was a Thursday
        return 7 if (weekday >= 5).any() else 5
    cycle = DAY if step >= 60 else 3600
    return round(cycle / step) if step < cycle and cycle % step == 0 else None


def find_gaps(time: Times | None) -> str | None:
    """Return a note on steps longer than the usual one; windows run across them as if adjacent."""
    if time is None or find_season(time) is None:
        return None
    steps = np.diff(time)
    usual = np.median(steps.astype(np.int64))
    # Months differ by three days; only a step of twice the usual one is a gap.
    long = np.flatnonzero(steps.astype(np.int64) >= 2 * usual)
    if not len(long) or find_season(time) == 5:
        return None
    first = place(int(long[0]), time)
    return f"{len(long)} gaps in the time column, the first after {first}: rows count as adjacent"
