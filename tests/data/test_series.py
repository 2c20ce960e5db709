"""What filling, truth, scaling and identity promise."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tsdiag.config import DataConfig
from tsdiag.data.dataset import Dataset, load_dataset
from tsdiag.data.scaling import Scaler
from tsdiag.data.summary import DataSummary


def load(frame: pd.DataFrame, folder, **keys) -> Dataset:
    frame.to_parquet(folder / "rows.parquet")
    return load_dataset(DataConfig(path="rows.parquet", context_length=5, **keys), folder)


@pytest.fixture
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    return pd.DataFrame(rng.normal(size=(200, 3)) + 50, columns=["a", "b", "y"])


def test_a_filled_target_is_never_truth(tmp_path, frame):
    frame.loc[150, "y"] = np.nan
    found = load(frame, tmp_path, target="y", transform="difference")
    # As target of the window that ends in 149, and as last value of the one that ends in 150.
    assert not {149, 150} & set(found.validation.ends.tolist())
    assert {148, 151} <= set(found.validation.ends.tolist())
    assert found.summary.dropped_windows == {"train": 0, "validation": 2, "test": 0}
    assert found.summary.filled_cells == 1
    assert found.summary.ties["validation"] == 0


def test_a_filled_feature_is_used_and_counted(tmp_path, frame):
    frame.loc[150:152, "a"] = np.nan
    found = load(frame, tmp_path, target="y")
    assert found.summary.dropped_windows["validation"] == 0
    assert found.summary.filled_cells == 3
    assert found.summary.filled_share == pytest.approx(3 / 600)
    assert found.series.values[152, 0] == frame.loc[149, "a"]


def test_a_gap_at_the_beginning_stays_and_drops_windows(tmp_path, frame):
    frame.loc[:9, "a"] = np.nan
    found = load(frame, tmp_path, target="y")
    assert found.train.ends[0] == 14
    assert found.summary.dropped_windows["train"] == 10
    assert any("10 cells stay missing" in note for note in found.summary.notes)


def test_scalers_see_the_train_span_only(tmp_path, frame):
    before = load(frame, tmp_path, target="y")
    frame.loc[before.split.validation.start :] *= 1000
    after = load(frame, tmp_path, target="y")
    for name in ("input_scaler", "target_scaler"):
        np.testing.assert_array_equal(getattr(before, name).mean, getattr(after, name).mean)
        np.testing.assert_array_equal(getattr(before, name).std, getattr(after, name).std)
    train = frame.loc[: before.split.train.stop - 1]
    np.testing.assert_allclose(before.input_scaler.mean, train.mean())
    np.testing.assert_allclose(before.input_scaler.std, train.std(ddof=0))


def test_scaling_can_be_switched_off(tmp_path, frame):
    found = load(frame, tmp_path, target="y", scale_inputs=False, scale_target=False)
    np.testing.assert_array_equal(found.train.inputs, frame.to_numpy().astype(np.float32))
    np.testing.assert_array_equal(
        found.test.targets[:-1, 0, 0], frame["y"].to_numpy()[1:].astype(np.float32)
    )


def test_a_constant_feature_is_reported_and_scaled_to_zero(tmp_path, frame):
    frame["a"] = 0.1
    frame.loc[190:, "a"] = 1e9
    found = load(frame, tmp_path, target="y")
    assert (found.train.inputs[:, 0] == 0).all()
    assert any('"a" is constant on the train span' in note for note in found.summary.notes)


def test_target_statistics_survive_a_large_level(tmp_path, frame):
    frame["y"] += 1e7
    found = load(frame, tmp_path, target="y")
    assert found.target_scaler.std[0] == pytest.approx(frame["y"][5:140].std(ddof=0), rel=1e-6)


def test_features_may_leave_the_target_out(tmp_path, frame):
    found = load(frame, tmp_path, target=("y", "b"), features=("b", "a"))
    assert found.series.channels == ("b", "a")
    assert found.series.targets == ("y", "b")
    np.testing.assert_array_equal(found.series.values, frame[["b", "a"]])
    np.testing.assert_array_equal(found.series.target_values, frame[["y", "b"]])
    assert found.train.n_channels == found.train.n_targets == 2


def test_the_digest_identifies_the_data(tmp_path, frame):
    digest = load(frame, tmp_path, target="y").digest
    assert load(frame, tmp_path, target="y", stride=2).digest == digest
    assert load(frame, tmp_path, target="a").digest != digest
    assert load(frame.rename(columns={"a": "c"}), tmp_path, target="y").digest != digest
    frame.loc[3, "a"] += 1e-9
    assert load(frame, tmp_path, target="y").digest != digest


def test_the_summary_survives_json(tmp_path, frame):
    summary = load(frame, tmp_path, target="y").summary
    assert DataSummary.model_validate_json(summary.model_dump_json()) == summary
    assert sum(summary.windows.values()) == 200 - 5


def test_a_scaler_survives_its_dictionary_and_restores():
    table = np.random.default_rng(0).normal(size=(20, 3)) * [1, 10, 0] + [0, 5, 7]
    scaler = Scaler.from_dict(Scaler.fit(table).to_dict())
    assert scaler.std[2] == 0
    np.testing.assert_allclose(scaler.restore(scaler.apply(table)), table, atol=1e-12)
