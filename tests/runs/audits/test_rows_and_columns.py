"""Targets in other rows, odd columns, targets of odd size."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tsdiag.models.floors import FittedFloor
from tsdiag.runs.audit import audit
from tsdiag.runs.audits.columns import find_sentinels, missing_share
from tsdiag.runs.audits.lags import scanned

sys.path.insert(0, str(Path(__file__).parent))
from noise import ROWS, noise


@pytest.mark.parametrize(("rows", "transform"), [(2, "difference"), (3, "difference"), (2, "none")])
def test_a_target_shifted_against_its_features(rows, transform, read):
    """What a row knows of the next change it now knows of one that is already past."""
    frame, rng = noise(6)
    moves = frame.sum(axis=1).shift(1 - rows) + rng.standard_normal(ROWS)
    frame = frame.assign(level=moves if transform == "none" else moves.cumsum()).dropna()
    found = audit(read(frame, transform=transform), None, 500).lag_scan
    assert found.best == rows
    assert found.aligned < 0.05
    assert max(found.skills) > 0.6


@pytest.mark.parametrize("rows", [24, -24])
def test_a_target_off_by_the_horizon(rows, read):
    frame, rng = noise(6)
    moves = frame.sum(axis=1).shift(1 - rows) + rng.standard_normal(ROWS)
    frame = frame.assign(level=moves.cumsum()).dropna()
    found = audit(read(frame, prediction_length=24, context_length=24), None, 500).lag_scan
    assert found.lags == (-24, -3, -2, -1, 0, 1, 2, 3, 24)
    assert found.best == rows
    assert found.aligned < 0.05
    assert max(found.skills) > 0.6


@pytest.mark.parametrize(("horizon", "context", "far"), [(3, 24, 3), (4, 4, 4), (24, 23, 3)])
def test_no_row_beyond_the_window_is_scanned(horizon, context, far, read, lagged):
    data = read(lagged, prediction_length=horizon, context_length=context)
    lags = scanned(data.train).tolist()
    assert (lags[0], lags[-1]) == (-far, far)
    assert lags == sorted(set(lags))
    assert audit(data, None, 300).lag_scan.best == 0


def test_what_happens_in_the_same_row_is_no_misalignment(read):
    """A neighbour's temperature explains the present change better than the next one."""
    frame, rng = noise(4)
    changes = np.convolve(rng.standard_normal(ROWS + 9), np.ones(10) / 3, "valid")
    near = changes[:, None] + 0.3 * rng.standard_normal((ROWS, 3))
    frame = pd.DataFrame(near.cumsum(axis=0), columns=["a", "b", "c"])
    found = audit(read(frame.assign(level=changes.cumsum())), None, 500).lag_scan
    skills = dict(zip(found.lags, found.skills, strict=True))
    assert skills[1] > skills[0] + 0.05
    assert found.best == 0


def test_without_other_channels_there_is_no_lag_scan(read, lagged):
    found = audit(read(lagged[["level"]]), None, 500)
    assert found.lag_scan is None
    assert "every channel is a target" in found.reasons["lag_scan"]


def test_odd_columns_are_named(read, lagged):
    rng = np.random.default_rng(0)
    frame = lagged.assign(x03=lagged["x02"], x04=7.0)
    frame.loc[rng.random(ROWS) < 0.02, "x05"] = -999.0
    frame["x06"] = np.where(rng.random(ROWS) < 0.1, rng.random(ROWS), 0)  # rain
    frame["x07"] = (rng.random(ROWS) < 0.1).astype(float)  # a flag
    frame.loc[rng.random(ROWS) < 0.1, "x08"] = np.nan
    found = audit(read(frame), None, 500).columns
    assert found.constant == ("x04",)
    assert found.duplicates == (("x02", "x03"),)
    (sentinel,) = found.sentinels
    assert (sentinel.channel, sentinel.value) == ("x05", -999.0)
    assert sentinel.share == pytest.approx(0.02, abs=0.01)
    assert sentinel.inflation > 50
    # Flags and rain repeat as well, so the gap of the test rows counts here.
    assert found.missing_share == pytest.approx(frame.isna().sum().sum() / (0.85 * ROWS * 11))
    assert found.largest_scale_ratio == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("fill", ["forward", "none"])
@pytest.mark.parametrize("features", ["all", ("a", "b", "c")])
def test_gaps_of_test_rows_are_not_counted(fill, features, read):
    frame, rng = noise(7)
    frame["level"] = rng.standard_normal(ROWS)
    seen = np.arange(ROWS) < 0.85 * ROWS
    holes = rng.random(ROWS) < 0.2
    holes[0] = False  # nothing lies before it to be carried forward
    frame["a"] = frame["a"].mask(holes)
    frame.loc[~seen & (np.arange(ROWS) % 2 == 0), "b"] = np.nan
    found = missing_share(read(frame, fill=fill, features=features, context_length=1))
    assert found == pytest.approx(holes[seen].sum() / (4 * seen.sum()))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((9999.0,), [9999.0]),
        ((0.0,), [0.0]),
        ((-999.0, 9999.0), [-999.0, 9999.0]),
        ((1030.0,), []),
    ],
)
def test_sentinels_are_far_and_repeated(values, expected):
    column = np.random.default_rng(0).normal(1010, 5, 1000)
    for number, value in enumerate(values):
        column[number::40] = value
    assert [value for value, _, _ in find_sentinels(column)] == expected


def test_mixed_units_are_measured_as_a_model_gets_them(read, lagged):
    frame = lagged.assign(x01=1000 * lagged["x01"])
    assert audit(read(frame), None, 500).columns.largest_scale_ratio < 1.001
    found = audit(read(frame, features=("x00", "x01"), scale_inputs=False), None, 500).columns
    assert found.largest_scale_ratio == pytest.approx(1000, rel=0.1)
    assert (found.largest, found.smallest) == ("x01", "x00")
    assert found.largest_offset < 0.3


def test_inputs_far_from_zero_are_measured(read, lagged):
    frame = lagged.assign(x01=lagged["x01"] - 300)
    found = audit(read(frame, features=("x00", "x01"), scale_inputs=False), None, 500).columns
    assert found.largest_offset == pytest.approx(300, rel=0.05)
    assert audit(read(frame), None, 500).columns.largest_offset < 1e-4


@pytest.mark.parametrize("scale", [1e-46, 1e-30])
def test_columns_that_are_constant_once_in_32_bits(scale, read):
    frame, rng = noise(8)
    frame = frame.assign(
        a=1.7e9 + rng.integers(0, 30, ROWS),
        b=scale * rng.standard_normal(ROWS),
        level=rng.standard_normal(ROWS),
    )
    mean = FittedFloor("train_mean", "", 0.0, predictor=lambda w: np.zeros((len(w), 1, 1)))
    found = audit(read(frame, transform="none", scale_inputs=False), {"train_mean": mean}, 500)
    assert found.reasons == {}
    assert found.columns.constant == (("a", "b") if scale == 1e-46 else ("a",))
    if scale == 1e-30:
        assert found.columns.largest_scale_ratio == pytest.approx(1 / scale, rel=0.1)
    assert found.columns.largest_offset < 0.1
    assert audit(read(frame, transform="none"), None, 500).columns.constant == ()


def test_a_target_that_is_constant_once_in_32_bits(read):
    frame, rng = noise(9)
    frame = frame.assign(level=1e-46 * rng.standard_normal(ROWS))
    found = audit(read(frame, transform="none", scale_target=False), None, 500)
    assert found.target is None
    assert '"level" is the same' in found.reasons["target"]
    assert "predicts every validation window exactly" in found.reasons["leaks"]


def test_target_facts(read):
    frame, rng = noise(5)
    drift = np.where(np.arange(ROWS) < 0.7 * ROWS, 0.0, 4.0)
    frame = frame.assign(level=np.round(rng.standard_normal(ROWS)) + drift, a=frame["a"] + drift)
    found = audit(read(frame, transform="none", scale_target=False), None, 500).target
    train = frame["level"][16:1400]
    assert found.standard_deviation == pytest.approx(train.std(), rel=1e-3)
    assert found.mean == pytest.approx(train.mean(), abs=1e-6)
    assert found.most_frequent_share == pytest.approx((train == 0).mean(), abs=1e-6)
    assert found.validation_mean_shift == pytest.approx(4 / train.std(), rel=0.1)
    assert found.validation_std_ratio == pytest.approx(1, abs=0.15)
    assert (found.input_shift_channel, found.input_shift > 3) == ("a", True)
