"""Predictions from rows that a trained model has not seen, the last of them reaching beyond."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tsdiag.data.clock import read_time
from tsdiag.data.columns import choose_columns, read_numbers
from tsdiag.data.reading import Table
from tsdiag.data.series import forward_fill
from tsdiag.data.targets import restore
from tsdiag.data.windows import Windows
from tsdiag.errors import DataError
from tsdiag.runs.weights import Trained
from tsdiag.training.evaluation import predict

if TYPE_CHECKING:
    import pandas
    from jaxtyping import Bool, Float32, Float64, Int64

    Times = pandas.Series[Any]

# Lines of one piece of the answer: a long horizon of many targets is never in memory at once.
_MOST_LINES = 1 << 18


@dataclass(frozen=True, eq=False)
class Rows:
    """New rows with the windows that can be predicted from: one ends at each row that allows it.

    ``short`` rows have too little past, ``incomplete`` ones a missing value in it; ``carried`` of
    the predicted ones start from a target that was missing and filled, as no window of training.
    """

    windows: Windows
    time: Times | None  # as it was given
    short: int
    incomplete: int
    carried: int
    notes: tuple[str, ...]

    def with_time_as_text(self) -> Rows:
        """Write all times alike; piece by piece, midnight alone would lose its hours."""
        return self if self.time is None else replace(self, time=self.time.astype(str))


def read_rows(trained: Trained, table: Table) -> Rows:
    """Bring rows into the form that the model was trained on: its columns, filled and scaled.

    Columns that the model does not know are ignored.

    Raises:
        DataError: a column is missing, a cell or the time cannot be used, or no row has a
            complete context.
    """
    config = trained.config.data.model_copy(
        update={"generate": None, "features": trained.channels, "target": trained.targets}
    )
    choose_columns(table, config)
    time = None if config.time is None else read_time(table.frame[config.time], table.source)
    names = tuple(dict.fromkeys(trained.channels + trained.targets))
    notes = list(table.notes)
    numbers = read_numbers(table, names, time, notes)
    filled = forward_fill(numbers) if config.fill == "forward" else numbers
    values, levels = (
        filled[:, [names.index(name) for name in chosen]]
        for chosen in (trained.channels, trained.targets)
    )
    ends = _complete_ends(values, levels, trained)
    short = min(len(values), config.context_length - 1)
    if len(ends) == 0:
        raise DataError(_too_little(trained, table, len(values) - short))
    return Rows(
        windows=Windows(
            inputs=torch.from_numpy(_scaled(trained, values, table.source)),
            levels=torch.from_numpy(levels + config.offset),
            ends=torch.from_numpy(ends),
            context_length=config.context_length,
            prediction_length=config.prediction_length,
            transform=config.transform,
            target_mean=torch.from_numpy(trained.target_scaler.mean),
            target_std=torch.from_numpy(trained.target_scaler.std),
        ),
        time=None if config.time is None else table.frame[config.time],
        short=short,
        incomplete=len(values) - short - len(ends),
        carried=int(_missing_targets(numbers, names, trained)[ends].sum()),
        notes=tuple(notes),
    )


def predict_rows(trained: Trained, rows: Rows) -> Iterator[pandas.DataFrame]:
    """Yield the answer in pieces: a line per row, target and step ahead.

    ``row`` counts from 1, and ``time`` is its time: the last one known. ``prediction`` is in the
    unit of the transformed target, ``level`` in that of the column itself.
    """
    windows = rows.windows
    lines = windows.prediction_length * windows.n_targets
    for ends in torch.split(windows.ends, max(1, _MOST_LINES // lines)):
        yield _lines(trained, rows, replace(windows, ends=ends))


def _lines(trained: Trained, rows: Rows, windows: Windows) -> pandas.DataFrame:
    import pandas

    config, count = trained.config.data, len(windows)
    prediction = windows.restore(predict(trained.model, windows))
    last = windows.last_values(torch.arange(count))
    level = restore(prediction, last, config.transform) - config.offset
    ahead = np.arange(1, windows.prediction_length + 1)
    ends = np.repeat(windows.ends.numpy(), len(ahead) * len(trained.targets))
    columns: dict[str, Any] = {"row": ends + 1}
    if rows.time is not None:
        columns["time"] = rows.time.take(ends).array
    columns |= {
        "target": np.tile(np.repeat(np.array(trained.targets, object), len(ahead)), count),
        "ahead": np.tile(ahead, count * len(trained.targets)),
        "prediction": prediction.transpose(1, 2).flatten().numpy(),
        "level": level.transpose(1, 2).flatten().numpy(),
    }
    return pandas.DataFrame(columns)


def _missing_targets(
    numbers: Float64[np.ndarray, "row column"], names: tuple[str, ...], trained: Trained
) -> Bool[np.ndarray, " row"]:
    found: Bool[np.ndarray, " row"] = np.isnan(
        numbers[:, [names.index(name) for name in trained.targets]]
    ).any(axis=1)
    return found


def _complete_ends(
    values: Float64[np.ndarray, "row channel"],
    levels: Float64[np.ndarray, "row target"],
    trained: Trained,
) -> Int64[np.ndarray, " window"]:
    """Return the rows with a whole context; a change also needs the level to start from."""
    length = trained.config.data.context_length
    missing = np.concatenate(([0], np.cumsum(np.isnan(values).any(axis=1))))
    ends = np.arange(length - 1, len(values))
    complete = missing[ends + 1] == missing[ends + 1 - length]
    if trained.config.data.transform != "none":
        complete &= ~np.isnan(levels[ends]).any(axis=1)
    found: Int64[np.ndarray, " window"] = ends[complete]
    return found


def _scaled(
    trained: Trained, values: Float64[np.ndarray, "row channel"], source: str
) -> Float32[np.ndarray, "row channel"]:
    with np.errstate(over="ignore"):
        scaled = trained.input_scaler.apply(values).astype(np.float32)
    wide = np.isinf(scaled).any(axis=0)
    if wide.any():
        raise DataError(
            f'{source}: column "{trained.channels[int(wide.argmax())]}" holds numbers beyond the '
            "range of 32-bit floats once scaled as in training; correct them"
        )
    return np.ascontiguousarray(scaled)


def _too_little(trained: Trained, table: Table, long_enough: int) -> str:
    found = f"found {len(table.frame)} rows"
    if long_enough > 0:
        found += f", and a missing value in the context of each of the last {long_enough}"
    return (
        f"predict from {table.source}: the model looks back on "
        f"{trained.config.data.context_length} rows without a gap, {found}; give more rows of the "
        "past, or fill the gaps"
    )
