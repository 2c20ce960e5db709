"""Seasons and gaps of a time column."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tsdiag.data.clock import find_gaps, find_season

SEASONS = {
    "h": 24,
    "D": 7,
    "B": 5,
    "W": 52,
    "MS": 12,
    "QS": 4,
    "15min": 96,
    "10min": 144,
    "min": 1440,
    "s": 3600,
    "7h": None,
    "YS": None,
}


@pytest.mark.parametrize(("frequency", "season"), SEASONS.items(), ids=SEASONS)
def test_season_by_frequency(frequency, season):
    times = pd.date_range("2020-01-06", periods=60, freq=frequency).to_numpy()
    assert find_season(times.astype("datetime64[ns]")) == season
    assert find_gaps(times.astype("datetime64[ns]")) is None


def test_no_season_without_regular_time():
    rng = np.random.default_rng(0)
    steps = rng.integers(1, 10_000, size=50).cumsum().astype("timedelta64[s]")
    times = (np.datetime64("2024-01-01") + steps).astype("datetime64[ns]")
    assert find_season(times) is None
    assert find_season(None) is None


def test_gaps_are_told_with_their_place():
    times = pd.date_range("2024-01-01", periods=60, freq="h").delete([20, 21, 40]).to_numpy()
    note = find_gaps(times.astype("datetime64[ns]"))
    assert note is not None
    assert note.startswith("2 gaps")
    assert "row 20 (2024-01-01 19:00)" in note
