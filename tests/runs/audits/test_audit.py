"""The whole audit: reasons, bounds, and what it never reads."""

import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from tsdiag.config import DataConfig
from tsdiag.data.dataset import load_dataset
from tsdiag.diagnostics.leaks import leak
from tsdiag.models.floors import FittedFloor, measure_floors
from tsdiag.runs.audit import PARTS, audit
from tsdiag.runs.audits.lags import measure_lags
from tsdiag.runs.audits.problem import latest, pose

sys.path.insert(0, str(Path(__file__).parent))
from noise import ROWS, independent


def test_too_few_windows_give_a_reason(read, lagged):
    found = audit(read(lagged.iloc[:120]), None, 500)
    assert set(found.reasons) == set(PARTS)
    assert "train and" in found.reasons["permutation"]
    assert found.columns is not None


def test_too_few_windows_for_their_inputs_call_nothing_without_signal(read):
    settings = {"transform": "none", "context_length": 12, "prediction_length": 8}
    found = audit(read(independent(0).iloc[:400], **settings), None, 500)
    assert found.permutation is None
    assert "would be missed" in found.reasons["permutation"]


def test_a_target_that_never_moves_in_validation_gives_a_reason(read, lagged):
    still = lagged["level"].where(np.arange(ROWS) < 0.69 * ROWS).ffill()
    found = audit(read(lagged.assign(level=still), transform="none"), None, 500)
    assert "predicts every validation window exactly" in found.reasons["order"]


def test_constant_columns_alone_give_a_reason(read, lagged):
    frame = lagged[["level"]].assign(a=1.0, b=2.0)
    found = audit(read(frame, features=("a", "b")), None, 500)
    assert "constant" in found.reasons["columns"]
    assert found.permutation.p > 0.05


def test_test_rows_are_never_read(read, lagged):
    data = read(lagged)
    floors = measure_floors(data)
    before = audit(data, floors, 500)
    first = data.split.test.start
    for array in (data.test.levels, data.test.inputs, data.series.values):
        array[first:] = 1e6
    data.series.target_values[first:] = 1e6
    assert audit(data, floors, 500) == before


def test_two_audits_are_equal_and_seeds_differ(measured):
    data, found = measured
    assert audit(data, None, 500) == found
    assert audit(data, None, 500, seed=1).permutation.shuffled != found.permutation.shuffled


def test_a_pause_can_end_it_between_parts(measured):
    data, _ = measured

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit(data, None, 500, pause=stop)


def test_several_targets_and_a_long_horizon(read, lagged):
    data = read(lagged, target=("level", "x00"), prediction_length=12)
    problem = pose(data, None, 300)
    assert len(problem.chosen) == 8
    found = audit(data, None, 300)
    assert found.reasons == {}
    assert found.permutation.p == 0.05
    assert measure_lags(problem).best == 0


def test_windows_are_bounded(read, lagged, monkeypatch):
    data = read(lagged, stride=3)
    monkeypatch.setattr("tsdiag.runs.audits.problem.MOST_RUNS", 100)
    monkeypatch.setattr("tsdiag.runs.audits.problem.MOST_CHANNELS", 3)
    kept = latest(data.train)
    assert torch.equal(kept.ends, data.train.ends[-100:])
    problem = pose(data, None, 0)
    assert problem.names == ["x00", "x05", "level"]


def test_the_shipped_series_is_in_order():
    """Its neighbouring stations tell much of the target, and none of it too early."""
    folder = Path(__file__).parents[3] / "studies" / "beijing33"
    told = tomllib.loads((folder / "study.toml").read_text())["data"]
    data = load_dataset(DataConfig.model_validate(told), folder)
    mean = FittedFloor("train_mean", "", 0.0, predictor=lambda w: np.zeros((len(w), 1, 1)))
    found = audit(data, {"train_mean": mean}, 500)
    assert leak(found) is None
    assert found.leaks.dominating.share > 0.8
    assert not found.leaks.dominating.is_target
    assert found.lag_scan.best == 0
    assert found.permutation.p == 0.05
    assert found.order.skill - found.order.shuffled_skill > 0.3
    assert (found.columns.sentinels, found.columns.constant, found.columns.duplicates) == ((),) * 3
    assert found.target.most_frequent_share == pytest.approx(0.08, abs=0.01)
