"""The shipped data: what its README and the default study say of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tsdiag.config import DataConfig
from tsdiag.data.dataset import Dataset, load_dataset

STUDY = Path(__file__).parents[2] / "studies" / "beijing33"


@pytest.fixture(scope="module")
def beijing() -> Dataset:
    config = DataConfig(
        path="beijing33.parquet",
        time="time",
        target="Dongsi_TEMP",
        offset=273.15,
        transform="percent_change",
    )
    return load_dataset(config, STUDY)


def test_counts(beijing):
    summary = beijing.summary
    assert (summary.rows, len(summary.channels), summary.season) == (35_064, 33, 24)
    assert (summary.first, summary.last) == ("2013-03-01T00:00:00", "2017-02-28T23:00:00")
    assert summary.windows == {"train": 24_301, "validation": 5_259, "test": 5_236}
    # 20 hours of the target are missing; each takes its own window and the next one's.
    assert summary.dropped_windows == {"train": 4, "validation": 0, "test": 24}
    assert summary.ties == {"train": 1_918, "validation": 186, "test": 248}
    assert summary.filled_cells == 19_731
    assert summary.notes == ()


def test_no_window_sees_a_missing_value(beijing):
    for windows in (beijing.train, beijing.validation, beijing.test):
        chosen = windows.every(300)
        inputs, targets = chosen.batch(torch.arange(len(chosen)))
        assert inputs.isfinite().all()
        assert targets.isfinite().all()


def test_the_measured_majority_and_last_change_are_found_again(beijing):
    level = beijing.series.target_values[:, 0]
    change = 100 * np.diff(level) / level[:-1]
    # shared measurement: the last 20 % of the rows, ties dropped
    ends = np.concatenate([beijing.validation.ends, beijing.test.ends])
    ends = ends[(ends >= round(0.8 * 35_064)) & (change[ends] != 0)]
    up = np.mean(change[ends] > 0)
    assert max(up, 1 - up) == pytest.approx(0.551, abs=0.001)
    agrees = np.mean(np.sign(change[ends]) == np.sign(change[ends - 1]))
    assert agrees == pytest.approx(0.744, abs=0.001)
