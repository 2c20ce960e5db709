"""Scaler: standardisation by a mean and a standard deviation that were fitted on train only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from tsdiag.data.targets import change
from tsdiag.errors import DataError

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

    from tsdiag.config import DataConfig
    from tsdiag.data.series import Series

    Columns = Float64[np.ndarray, " column"]
    Table = Float64[np.ndarray, "... column"]

# Changes that vary less than this, relative to their size, vary by rounding only.
ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Scaler:
    """Mean and standard deviation per column; ``std`` 0 marks a column that is scaled to 0."""

    mean: Columns
    std: Columns

    @classmethod
    def fit(cls, table: Table) -> Self:
        """Fit on the rows of a table, ignoring missing cells; a constant column gets ``std`` 0."""
        rows = table.reshape(-1, table.shape[-1])
        constant = np.nanmax(rows, axis=0) == np.nanmin(rows, axis=0)
        # Rounding leaves a constant column a tiny deviation, which would blow up later rows.
        return cls(np.nanmean(rows, axis=0), np.where(constant, 0.0, np.nanstd(rows, axis=0)))

    @classmethod
    def identity(cls, columns: int) -> Self:
        """Return the scaler that changes nothing."""
        return cls(np.zeros(columns), np.ones(columns))

    def apply(self, table: Table) -> Table:
        """Return (table - mean) / std, and 0 where ``std`` is 0."""
        scaled: Table = (table - self.mean) * self.rate
        return scaled

    def restore(self, scaled: Table) -> Table:
        """Undo ``apply``; a column whose ``std`` is 0 comes back as its mean."""
        table: Table = scaled * self.std + self.mean
        return table

    @property
    def rate(self) -> Columns:
        """1 / std, and 0 where ``std`` is 0."""
        rate: Columns = np.divide(1.0, self.std, out=np.zeros_like(self.std), where=self.std > 0)
        return rate

    def to_dict(self) -> dict[str, list[float]]:
        """Return plain lists for JSON."""
        return {"mean": self.mean.tolist(), "std": self.std.tolist()}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Self:
        """Read what ``to_dict`` gave."""
        return cls(np.asarray(stored["mean"], float), np.asarray(stored["std"], float))


def fit_changes(series: Series, ends: Int64[np.ndarray, " window"], config: DataConfig) -> Scaler:
    """Fit mean and deviation of the targets over train windows and all steps of the horizon.

    Raises:
        DataError: a target is the same in all train windows.
    """
    levels = series.target_values
    total, square, largest = (np.zeros(levels.shape[1]) for _ in range(3))
    # One step of the horizon at a time: memory stays that of the rows. Shifted by the first
    # window's change, so that squares of a large mean do not drown the deviation.
    shift = change(levels[ends[0] + 1], levels[ends[0]], config.transform)
    for ahead in range(1, config.prediction_length + 1):
        found = change(levels[ends + ahead], levels[ends], config.transform)
        largest = np.maximum(largest, np.abs(found).max(axis=0))
        total += (found - shift).sum(axis=0)
        square += ((found - shift) ** 2).sum(axis=0)
    count = len(ends) * config.prediction_length
    spread = np.sqrt(np.maximum(square / count - (total / count) ** 2, 0))
    still = spread <= ROUNDING * largest
    if still.any():
        raise DataError(
            f'{series.source}: the target ({config.transform}) of "'
            f'{series.targets[int(still.argmax())]}" is the same in all {len(ends)} train windows, '
            "so there is nothing to learn; choose another data.target or data.transform"
        )
    if not config.scale_target:
        return Scaler.identity(len(series.targets))
    return Scaler(total / count + shift, spread)
