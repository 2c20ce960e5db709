"""Guesses for a study that nobody has written yet."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tsdiag.config import DataConfig
from tsdiag.data.dataset import load_dataset
from tsdiag.data.inspect import propose
from tsdiag.errors import DataError


@pytest.fixture
def prices() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    return pd.DataFrame(
        {
            "day": pd.date_range("2020-01-01", periods=1000, freq="D").astype(str),
            "price": 100 * np.exp(0.01 * rng.normal(size=1000).cumsum()),
            "spread": rng.normal(size=1000),
            "exchange": "X",
        }
    )


def guesses(frame: pd.DataFrame, target: str) -> dict[str, object]:
    return {guess.key: guess.value for guess in propose(frame, target)}


def test_guesses_load(tmp_path, prices):
    prices.to_csv(tmp_path / "prices.csv", index=False)
    found = guesses(prices, "price")
    assert found["time"] == "day"
    assert found["transform"] == "percent_change"
    assert found["features"] == ["price", "spread"]
    assert found["context_length"] == 50
    dataset = load_dataset(DataConfig(path="prices.csv", **found), tmp_path)
    assert dataset.season == 7
    comments = {guess.key: guess.comment for guess in propose(prices, "price")}
    assert "exchange" in comments["features"]
    assert "2020-01-01" in comments["time"]
    assert "1000 rows" in comments["context_length"]


def test_a_target_around_zero_gets_differences(prices):
    assert guesses(prices, "spread")["transform"] == "difference"


def test_a_positive_target_that_jumps_gets_differences(prices):
    prices["rain"] = np.random.default_rng(0).exponential(size=1000) + 0.01
    assert guesses(prices, "rain")["transform"] == "difference"


def test_long_tables_get_the_usual_context(prices):
    long = pd.concat([prices] * 6, ignore_index=True).drop(columns=["day", "exchange"])
    found = guesses(long, "price")
    assert found["context_length"] == 240
    assert "time" not in found
    assert found["features"] == "all"


def test_an_unsorted_time_is_proposed_with_its_trouble(prices):
    proposal = propose(prices.iloc[::-1], "price")[0]
    assert (proposal.key, proposal.value) == ("time", "day")
    assert "to be repaired first" in proposal.comment


def test_an_unknown_or_textual_target_is_refused(prices):
    with pytest.raises(DataError, match=r'did you mean "price"'):
        propose(prices, "prize")
    with pytest.raises(DataError, match=r'"exchange", row 1: found \'X\', not a number'):
        propose(prices, "exchange")
