"""Split: which rows belong to training, validation and test, in order of time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsdiag.config import DataConfig
from tsdiag.errors import DataError


@dataclass(frozen=True)
class Split:
    """Row ranges of the three spans; rows under embargo lie in none of them."""

    train: range
    validation: range
    test: range

    def spans(self) -> Iterator[tuple[str, range]]:
        """Yield name and rows of each span in order of time."""
        yield "train", self.train
        yield "validation", self.validation
        yield "test", self.test


def split_rows(rows: int, config: DataConfig) -> Split:
    """Cut rows by the configured shares; ``embargo`` [rows] is left out before the later spans."""
    first = round(rows * config.split.train)
    second = round(rows * (config.split.train + config.split.validation))
    return Split(
        train=range(first),
        validation=range(min(first + config.embargo, second), second),
        test=range(min(second + config.embargo, rows), rows),
    )


def window_ends(span: range, config: DataConfig) -> NDArray[np.int64]:
    """Return the last context row of every window whose target rows all lie in the span.

    The context may reach back before the span: the past is known when predicting.
    """
    first = max(span.start, config.context_length) - 1
    return np.arange(first, span.stop - config.prediction_length, config.stride, dtype=np.int64)


def require_windows(rows: int, config: DataConfig, source: str) -> Split:
    """Return the split, once each of its spans is known to have room for a window.

    Raises:
        DataError: a span has no room for one; names the number of rows that would do.
    """
    split = split_rows(rows, config)
    for name, span in split.spans():
        if len(window_ends(span, config)) == 0:
            raise DataError(
                f"{source}: windows of context_length {config.context_length} and "
                f"prediction_length {config.prediction_length} (embargo {config.embargo}) need at "
                f"least {rows_needed(config)} rows for one window per span, found {rows} rows "
                f"({len(span)} of them in {name}); add rows, or lower data.context_length, "
                "data.prediction_length or data.embargo"
            )
    return split


def rows_needed(config: DataConfig) -> int:
    """Return the fewest rows with which every span has a window."""
    horizon, shares = config.prediction_length, config.split
    rows = max(
        math.floor((config.context_length + horizon) / shares.train),
        math.floor((horizon + config.embargo) / min(shares.validation, shares.test)),
    )
    # The floor is a lower bound up to the rounding of the borders.
    rows = max(rows - 2 * math.ceil(1 / min(shares.train, shares.validation, shares.test)), 1)
    while any(len(window_ends(s, config)) == 0 for _, s in split_rows(rows, config).spans()):
        rows += 1
    return rows
