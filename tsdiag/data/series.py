"""Series: the rows as numbers in order of time, checked and filled."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tsdiag.config import DataConfig
from tsdiag.data.clock import find_gaps, place, read_time
from tsdiag.data.columns import choose_columns, read_numbers
from tsdiag.data.reading import Table
from tsdiag.errors import DataError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64

    from tsdiag.data.clock import Times


@dataclass(frozen=True, eq=False)
class Series:
    """Features and targets of every row, after filling.

    ``target_values`` hold the offset; ``observed`` says in which rows every target was given
    rather than filled: only those are truth, because to be scored against a value that was
    carried forward rewards the prediction "no change".
    """

    values: Float64[np.ndarray, "row channel"]
    channels: tuple[str, ...]
    time: Times | None
    targets: tuple[str, ...]
    target_values: Float64[np.ndarray, "row target"]
    observed: Bool[np.ndarray, " row"]
    filled: int
    source: str
    notes: tuple[str, ...] = ()

    def digest(self) -> str:
        """Return the SHA-256 over names and cells, which identifies the data wherever it lies."""
        found = hashlib.sha256(repr((self.channels, self.targets)).encode())
        for array in (self.values, self.target_values):
            # All NaNs and both zeros count as one, whatever bits a file format gave them.
            plain = np.where(np.isnan(array), np.nan, array) + 0.0
            found.update(np.ascontiguousarray(plain, dtype="<f8").data)
        found.update(np.packbits(self.observed).data)
        return found.hexdigest()


def read_series(table: Table, config: DataConfig) -> Series:
    """Turn a table into a series.

    Raises:
        DataError: a column, a cell or the time cannot be used.
    """
    notes = list(table.notes)
    features, targets = choose_columns(table, config)
    time = None if config.time is None else read_time(table.frame[config.time], table.source)
    names = tuple(dict.fromkeys(features + targets))
    raw = read_numbers(table, names, time, notes)
    gaps = find_gaps(time)
    notes += [] if gaps is None else [gaps]
    filled = forward_fill(raw) if config.fill == "forward" else raw
    chosen = [names.index(name) for name in targets]
    observed = np.isnan(raw[:, chosen]).sum(axis=1) == 0
    levels = raw[:, chosen] + config.offset
    _require_changing(levels, targets, table.source)
    _require_transform(levels, targets, time, config, table.source)
    return Series(
        values=np.ascontiguousarray(filled[:, [names.index(name) for name in features]]),
        channels=features,
        time=time,
        targets=targets,
        target_values=np.ascontiguousarray(filled[:, chosen]) + config.offset,
        observed=observed,
        filled=int(np.isnan(raw).sum() - np.isnan(filled).sum()),
        source=table.source,
        notes=tuple(notes),
    )


def forward_fill(table: Float64[np.ndarray, "row column"]) -> Float64[np.ndarray, "row column"]:
    """Carry the last known value of a column forward; gaps at its beginning stay NaN."""
    rows = np.arange(len(table))[:, None]
    known = np.maximum.accumulate(np.where(np.isnan(table), 0, rows), axis=0)
    return np.take_along_axis(table, known, axis=0)


def _require_changing(
    levels: Float64[np.ndarray, "row target"], targets: tuple[str, ...], source: str
) -> None:
    same = np.nanmin(levels, axis=0) == np.nanmax(levels, axis=0)
    for name, column in zip(np.array(targets)[same], levels.T[same], strict=True):
        raise DataError(
            f'{source}: target column "{name}" is constant ({np.nanmax(column):g} in all '
            f"{len(column)} rows), so there is nothing to predict; choose another data.target"
        )


def _require_transform(
    levels: Float64[np.ndarray, "row target"],
    targets: tuple[str, ...],
    time: Times | None,
    config: DataConfig,
    source: str,
) -> None:
    """Refuse a relative change of a target that is zero somewhere or changes its sign."""
    if config.transform not in ("percent_change", "log_return"):
        return
    for name, column in zip(targets, levels.T, strict=True):
        known = np.flatnonzero(~np.isnan(column))
        sign = np.sign(column[known])
        crossing = known[(sign == 0) | (sign != sign[0])]
        if len(crossing):
            row, offset = int(crossing[0]), f"{config.offset:g}"
            raise DataError(
                f'data.transform = "{config.transform}" of target "{name}": {source}, '
                f"{place(row, time)} reaches zero or crosses it ({column[row]:g} with data.offset "
                f'{offset}); use data.transform = "difference", or an offset that keeps it positive'
            )
