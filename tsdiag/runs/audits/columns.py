"""What is odd about the columns as read: gaps, constants, copies, sentinels, mixed units."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from tsdiag.data.dataset import Dataset
from tsdiag.diagnostics.audit import Columns, Sentinel

Column = Float64[np.ndarray, " row"]

# A sentinel stands in at least so many rows, and in less than half of them: what most rows hold is
# the usual value, such as no rain.
LEAST_ROWS, MOST_SHARE = 3, 0.5
# The others spread over at least so many values, within a range that the sentinel is far from.
LEAST_VALUES, FAR = 10, 3.0


def measure_columns(dataset: Dataset) -> Columns | str:
    """Look at the train span; missing cells alone are also counted in the validation span.

    A column that varies less than a 32-bit float can tell is constant to a model.
    """
    stop, names = dataset.split.train.stop, dataset.series.channels
    values = dataset.series.values[:stop]
    given = dataset.train.inputs[:stop].double().numpy()
    constant = [_is_constant(column) for column in given.T]
    alive = [n for n in range(len(names)) if not constant[n]]
    if not alive:
        return f"all {len(names)} columns are constant over the train span"
    found = [(names[n], find_sentinels(_known(values[:, n]))) for n in alive]
    means, spreads = np.nanmean(given[:, alive], axis=0), np.nanstd(given[:, alive], axis=0)
    sizes = dict(zip(alive, np.hypot(means, spreads).tolist(), strict=True))
    least, most = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    return Columns(
        missing_share=missing_share(dataset),
        constant=tuple(name for name, same in zip(names, constant, strict=True) if same),
        duplicates=_duplicates(values, names, alive),
        sentinels=tuple(
            Sentinel(channel=name, value=value, share=share, inflation=inflation)
            for name, some in found
            for value, share, inflation in some
        ),
        largest_scale_ratio=sizes[most] / sizes[least],
        largest=names[most],
        smallest=names[least],
        largest_offset=float((np.abs(means) / spreads).max()),
    )


def missing_share(dataset: Dataset) -> float:
    """Return the share of cells in train and validation rows that were empty as read, at most.

    A filled cell repeats the one above it. How many were filled is known of all rows together, so
    what repeats in these two spans bounds it: it is exact where values seldom repeat by themselves,
    and gaps of test rows count only as far as other repeats could be theirs.
    """
    series, stop = dataset.series, dataset.split.validation.stop
    apart = [n for n, name in enumerate(series.targets) if name not in series.channels]
    cells = np.hstack([series.values[:stop], series.target_values[:stop, apart]])
    repeated = int((cells[1:] == cells[:-1]).sum())
    return float((np.isnan(cells).sum() + min(series.filled, repeated)) / cells.size)


def _known(column: Column) -> Column:
    return np.asarray(column[~np.isnan(column)])


def _is_constant(column: Column) -> bool:
    known = _known(column)
    return len(known) == 0 or bool(known.min() == known.max())


def find_sentinels(column: Column) -> list[tuple[float, float, float]]:
    """Return value, share and inflation of the extreme values that are far from all others.

    Far is three times the range of the middle 90 % of the others, away from the nearest of them.
    One value at either end is looked for, and once more behind it.
    """
    found: list[tuple[float, float]] = []
    rest = column
    for side in (np.min, np.max, np.min, np.max):
        value = float(side(rest))
        others = rest[rest != value]
        if _is_sentinel(value, len(rest) - len(others), others, len(column)):
            found.append((value, (len(rest) - len(others)) / len(column)))
            rest = others
    inflation = float(column.std() / rest.std()) if found else 1.0
    return sorted((value, share, inflation) for value, share in found)


def _is_sentinel(value: float, count: int, others: Column, rows: int) -> bool:
    if not LEAST_ROWS <= count < MOST_SHARE * rows or len(np.unique(others)) < LEAST_VALUES:
        return False
    low, high = np.quantile(others, [0.05, 0.95])
    gap = float(np.abs(others - value).min())
    return bool(gap > FAR * (high - low) and others.std() > 0 and high > low)


def _duplicates(
    values: Float64[np.ndarray, "row channel"], names: tuple[str, ...], alive: list[int]
) -> tuple[tuple[str, str], ...]:
    """Return each column that repeats an earlier one bit by bit, behind that one."""
    first: dict[bytes, str] = {}
    pairs = []
    for number in alive:
        content = np.ascontiguousarray(values[:, number] + 0.0).tobytes()
        earlier = first.setdefault(content, names[number])
        if earlier != names[number]:
            pairs.append((earlier, names[number]))
    return tuple(pairs)
