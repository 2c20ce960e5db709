"""Dataset: from a configuration to windows that can be trained on, with everything counted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from tsdiag.config import DataConfig
from tsdiag.data.clock import find_season
from tsdiag.data.reading import read_table
from tsdiag.data.scaling import Scaler, fit_changes
from tsdiag.data.series import Series, read_series
from tsdiag.data.split import Split, require_windows, window_ends
from tsdiag.data.summary import DataSummary, summarise
from tsdiag.data.windows import Windows
from tsdiag.errors import DataError

if TYPE_CHECKING:
    from jaxtyping import Bool, Int64


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows, spans, scalers and windows of one data configuration."""

    config: DataConfig
    series: Series
    split: Split
    input_scaler: Scaler
    target_scaler: Scaler
    train: Windows
    validation: Windows
    test: Windows
    summary: DataSummary
    season: int | None
    digest: str


def load_dataset(config: DataConfig, folder: Path | None = None) -> Dataset:
    """Read, check, split, scale and window the rows; a relative path starts at ``folder``.

    Both scalers see the train span only. Windows with a missing cell in their context are left
    out, and so are those whose target rows, or whose last context row of the target, were not
    observed but filled: to be scored against a carried value rewards the prediction "no change".
    The summary counts what was left out.

    Raises:
        ConfigError: the configuration names no usable source.
        DataError: rows, columns or cells cannot be used; names file, column and row.
    """
    series = read_series(read_table(config, folder), config)
    split = require_windows(len(series.values), config, series.source)
    usable = usable_ends(series, config)
    candidates = {name: window_ends(span, config) for name, span in split.spans()}
    ends = {name: found[usable[found]] for name, found in candidates.items()}
    _require_usable(series, split, ends)
    input_scaler, inputs = _scale_inputs(series, split, config)
    target_scaler = fit_changes(series, ends["train"], config)
    windows = {
        name: Windows(
            inputs=inputs,
            levels=torch.from_numpy(series.target_values),
            ends=torch.from_numpy(found),
            context_length=config.context_length,
            prediction_length=config.prediction_length,
            transform=config.transform,
            target_mean=torch.from_numpy(target_scaler.mean),
            target_std=torch.from_numpy(target_scaler.std),
        )
        for name, found in ends.items()
    }
    season = find_season(series.time)
    dropped = {name: len(candidates[name]) - len(found) for name, found in ends.items()}
    return Dataset(
        config=config,
        series=series,
        split=split,
        input_scaler=input_scaler,
        target_scaler=target_scaler,
        **windows,
        summary=summarise(series, split, config, windows, dropped, season),
        season=season,
        digest=series.digest(),
    )


def usable_ends(series: Series, config: DataConfig) -> Bool[np.ndarray, " row"]:
    """Say of every row whether a window may end there: nothing missing, and targets observed."""
    rows = len(series.values)
    first, last = config.context_length - 1, rows - config.prediction_length
    usable = np.zeros(rows, dtype=bool)
    ends = np.arange(first, last)
    missing = _running_sum(np.isnan(series.values).any(axis=1))
    unseen = _running_sum(~series.observed)
    gaps = missing[ends + 1] - missing[ends + 1 - config.context_length]
    # The end row itself counts among the targets: changes are measured from its value.
    gaps += unseen[ends + 1 + config.prediction_length] - unseen[ends]
    usable[first:last] = gaps == 0
    return usable


def _running_sum(flags: Bool[np.ndarray, " row"]) -> Int64[np.ndarray, " border"]:
    return np.concatenate(([0], np.cumsum(flags)))


def _require_usable(series: Series, split: Split, ends: dict[str, Int64[np.ndarray, " _"]]) -> None:
    for name, span in split.spans():
        if len(ends[name]) == 0:
            missing = np.isnan(series.values[span.start : span.stop]).sum(axis=0)
            worst = int(missing.argmax())
            raise DataError(
                f"{series.source}: every window of the {name} span holds a missing value "
                f'(column "{series.channels[worst]}" misses {missing[worst]} of its {len(span)} '
                f"rows, targets were given in {series.observed[span.start : span.stop].sum()}); "
                'leave such columns out of data.features, set data.fill = "forward", or give '
                "longer data"
            )


def _scale_inputs(series: Series, split: Split, config: DataConfig) -> tuple[Scaler, torch.Tensor]:
    scaler = Scaler.identity(len(series.channels))
    if config.scale_inputs:
        scaler = Scaler.fit(series.values[: split.train.stop])
    with np.errstate(over="ignore"):
        scaled = scaler.apply(series.values).astype(np.float32)
    wide = np.isinf(scaled).any(axis=0)
    if wide.any():
        raise DataError(
            f'{series.source}: column "{series.channels[int(wide.argmax())]}" holds numbers beyond '
            "the range of 32-bit floats once scaled; divide or take logarithms first"
        )
    return scaler, torch.from_numpy(np.ascontiguousarray(scaled))
