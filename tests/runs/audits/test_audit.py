"""The whole audit: reasons, bounds, and what it never reads."""

import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from tsdiag.config import DataConfig, GeneratorConfig
from tsdiag.data.dataset import load_dataset
from tsdiag.diagnostics.leaks import leak
from tsdiag.models.floors import FittedFloor, measure_floors
from tsdiag.runs.audit import PARTS, audit
from tsdiag.runs.audits.lags import measure_lags
from tsdiag.runs.audits.problem import latest, pose

sys.path.insert(0, str(Path(__file__).parent))
from noise import ROWS, independent, noise

MEAN = FittedFloor("train_mean", "", 0.0, predictor=lambda w: np.zeros((len(w), 1, 1)))


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


@pytest.mark.parametrize("calls", range(1 + len(PARTS)))
def test_what_a_pause_raises_is_no_reason(calls, measured):
    data, _ = measured
    left = iter(range(calls))

    def stop():
        if next(left, None) is None:
            raise RuntimeError("the lease is lost")

    with pytest.raises(RuntimeError, match="lease"):
        audit(data, {"train_mean": MEAN}, 500, pause=stop)


def fail(*_):
    raise ValueError("first line\n  second line")


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_fails_leaves_the_others(part, measured, monkeypatch):
    data, whole = measured
    monkeypatch.setitem(PARTS, part, fail)
    found = audit(data, None, 500)
    assert found.reasons == {part: "failed: ValueError: first line second line"}
    assert found == whole.model_copy(update={part: None, "reasons": found.reasons})


@pytest.mark.parametrize(
    ("name", "parts"),
    [("measure_columns", {"columns"}), ("measure_target", {"target"}), ("pose", set(PARTS))],
)
def test_what_fails_before_the_problem_is_posed(name, parts, measured, monkeypatch):
    data, _ = measured
    monkeypatch.setattr(f"tsdiag.runs.audit.{name}", fail)
    found = audit(data, None, 500)
    assert set(found.reasons) == parts
    assert {found.why_not(part) for part in parts} == {"failed: ValueError: first line second line"}


TOO_FEW, NO_ORDER = "windows; at least 100", "a window of one row has no order"
SMALL = {
    "200 rows": (200, {}, dict.fromkeys(PARTS, TOO_FEW)),
    "200 rows, windows of one": (200, {"context_length": 1}, dict.fromkeys(PARTS, TOO_FEW)),
    "long horizon": (400, {"prediction_length": 24}, dict.fromkeys(PARTS, TOO_FEW)),
    "long horizon, enough": (800, {"prediction_length": 24}, {}),
    "several targets": (400, {"target": ("level", "x00")}, {}),
    "several targets, all": (
        800,
        {"target": ("level", "x00", "x01"), "prediction_length": 24, "context_length": 1},
        {"order": NO_ORDER},
    ),
    "windows of one": (400, {"context_length": 1}, {"order": NO_ORDER}),
    "levels": (400, {"transform": "none", "context_length": 2}, {}),
    "strides": (800, {"stride": 24, "prediction_length": 24}, dict.fromkeys(PARTS, TOO_FEW)),
}


@pytest.mark.parametrize("name", SMALL)
def test_small_generated_data_give_parts_or_reasons(name):
    rows, settings, reasons = SMALL[name]
    series = GeneratorConfig(kind="lag", rows=rows, channels=10)
    given = {"target": "level", "transform": "difference", "context_length": 16, **settings}
    check_whole(audit(load_dataset(DataConfig(generate=series, **given)), None, 500), reasons)


MOVED, MISSED = "every channel is a target", "would be missed"
LEVELS = {"prediction_length": 24, "transform": "none"}


@pytest.mark.parametrize(
    ("channels", "rows", "settings", "reasons"),
    [
        (0, 200, {}, dict.fromkeys(PARTS, TOO_FEW)),
        (0, 400, {}, {"lag_scan": MOVED}),
        (0, 400, {"context_length": 1}, {"lag_scan": MOVED, "order": NO_ORDER}),
        (0, 800, LEVELS, {"lag_scan": MOVED, "permutation": MISSED}),
        (1, 400, {"target": "all", "context_length": 4}, {"lag_scan": MOVED}),
        (1, 400, {"features": ("a",), "context_length": 1}, {"order": NO_ORDER}),
        (1, 400, {"scale_inputs": False, "scale_target": False}, {}),
    ],
)
def test_small_files_give_parts_or_reasons(channels, rows, settings, reasons, read):
    frame, rng = noise(0, max(channels, 1), rows)
    frame = frame.iloc[:, :channels].assign(level=rng.standard_normal(rows).cumsum())
    check_whole(audit(read(frame, **settings), None, 500), reasons)


def check_whole(found, reasons):
    """Check that each part was measured, or has the reason expected of it."""
    assert found.reasons.keys() == reasons.keys()
    for part in ("columns", "target", *PARTS):
        assert (getattr(found, part) is None) == (part in reasons)
        assert reasons.get(part, "") in found.reasons.get(part, "")


@pytest.mark.parametrize("floors", [{}, {"train_mean": FittedFloor("train_mean", "", 0.0, "no")}])
def test_floors_that_failed_give_a_reason(floors, measured):
    data, _ = measured
    found = audit(data, floors, 500)
    check_whole(found, dict.fromkeys(PARTS, "no naive floor was measured"))


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
    found = audit(data, {"train_mean": MEAN}, 500)
    assert leak(found) is None
    assert found.leaks.dominating.share > 0.8
    assert not found.leaks.dominating.is_target
    assert found.lag_scan.best == 0
    assert found.permutation.p == 0.05
    assert found.order.skill - found.order.shuffled_skill > 0.3
    assert (found.columns.sentinels, found.columns.constant, found.columns.duplicates) == ((),) * 3
    assert found.target.most_frequent_share == pytest.approx(0.08, abs=0.01)
