"""DataSummary: what was counted while rows became windows, so that nothing is dropped silently."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tsdiag.config import Frozen

if TYPE_CHECKING:
    from tsdiag.config import DataConfig
    from tsdiag.data.series import Series
    from tsdiag.data.split import Split
    from tsdiag.data.windows import Windows


class DataSummary(Frozen):
    """Counts over one data set; the dictionaries have one entry per span (train, ...)."""

    source: str
    rows: int
    channels: tuple[str, ...]
    targets: tuple[str, ...]
    first: str | None
    last: str | None
    season: int | None
    windows: dict[str, int]
    dropped_windows: dict[str, int]
    filled_cells: int
    filled_share: float
    ties: dict[str, int]
    notes: tuple[str, ...] = ()


def summarise(
    series: Series,
    split: Split,
    config: DataConfig,
    windows: dict[str, Windows],
    dropped: dict[str, int],
    season: int | None,
) -> DataSummary:
    """Count what became of the rows."""
    time = series.time
    cells = len(series.values) * len({*series.channels, *series.targets})
    return DataSummary(
        source=series.source,
        rows=len(series.values),
        channels=series.channels,
        targets=series.targets,
        first=None if time is None else str(time[0].astype("datetime64[s]")),
        last=None if time is None else str(time[-1].astype("datetime64[s]")),
        season=season,
        windows={name: len(found) for name, found in windows.items()},
        dropped_windows=dropped,
        filled_cells=series.filled,
        filled_share=series.filled / cells,
        ties={name: _count_ties(found) for name, found in windows.items()},
        notes=series.notes + tuple(_notes(series, split, config)),
    )


def _count_ties(windows: Windows) -> int:
    levels, last = windows.levels, windows.levels[windows.ends]
    steps = range(1, windows.prediction_length + 1)
    return sum(int((levels[windows.ends + ahead] == last).sum()) for ahead in steps)


def _notes(series: Series, split: Split, config: DataConfig) -> list[str]:
    train = series.values[: split.train.stop]
    notes = []
    for name, column in zip(series.channels, train.T, strict=True):
        known = column[~np.isnan(column)]
        if config.scale_inputs and len(known) and known.min() == known.max():
            notes.append(f'column "{name}" is constant on the train span: kept, scaled to 0')
    missing = int(np.isnan(series.values).sum())
    if missing:
        notes.append(f"{missing} cells stay missing: windows that hold one are left out")
    if config.generate is not None:
        from tsdiag.data.generator import check_use

        notes += check_use(config)
    return notes
