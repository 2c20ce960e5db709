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
    """Look at the train span; the share of missing cells alone is that of all rows read."""
    stop, names = dataset.split.train.stop, dataset.series.channels
    values = dataset.series.values[:stop]
    missing = float(np.isnan(values).mean()) + dataset.summary.filled_share
    known = [column[~np.isnan(column)] for column in values.T]
    constant = [len(k) == 0 or bool(k.min() == k.max()) for k in known]
    alive = [n for n in range(len(names)) if not constant[n]]
    if not alive:
        return f"all {len(names)} columns are constant over the train span"
    found = [(names[n], find_sentinels(known[n])) for n in alive]
    inputs = dataset.train.inputs[:stop, alive].double().numpy()
    means, spreads = np.nanmean(inputs, axis=0), np.nanstd(inputs, axis=0)
    sizes = dict(zip(alive, np.hypot(means, spreads).tolist(), strict=True))
    least, most = min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)
    return Columns(
        missing_share=min(1.0, missing),
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


def find_sentinels(column: Column) -> list[tuple[float, float, float]]:
    """Return value, share and inflation of the extreme values that are far from all others.

    Far is three times the range of the middle 90 % of the others, away from the nearest of them.
    One value at either end is looked for, and once more behind it.
    """
    found: list[tuple[float, float, float]] = []
    rest = column
    for side in (np.min, np.max, np.min, np.max):
        value = float(side(rest))
        others = rest[rest != value]
        if _is_sentinel(value, len(rest) - len(others), others, len(column)):
            found.append((value, (len(rest) - len(others)) / len(column), 0.0))
            rest = others
    inflation = float(column.std() / rest.std()) if found else 1.0
    return sorted((value, share, inflation) for value, share, _ in found)


def _is_sentinel(value: float, count: int, others: Column, rows: int) -> bool:
    if not LEAST_ROWS <= count < MOST_SHARE * rows or len(np.unique(others)) < LEAST_VALUES:
        return False
    low, high = np.quantile(others, [0.05, 0.95])
    gap = float(np.abs(others - value).min())
    return bool(gap > FAR * (high - low) and high > low)


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
