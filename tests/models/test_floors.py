"""Floors against what one would write for a dozen rows."""

import numpy as np
import pandas as pd
import pytest
import torch

from tsdiag.config import DataConfig
from tsdiag.data.dataset import load_dataset
from tsdiag.models.floors import measure_floors
from tsdiag.models.gram import mirror_upper, window_moments
from tsdiag.models.nlinear import fit_nlinear
from tsdiag.models.ridge import fit_ridge, scaled_targets, solve

ROWS = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    rng = np.random.default_rng(0)
    place = tmp_path_factory.mktemp("series")
    time = pd.date_range("2024-01-01", periods=ROWS, freq="h")
    daily = 5 * np.sin(np.arange(ROWS) * 2 * np.pi / 24)
    load = 50 + np.cumsum(rng.standard_normal((ROWS, 2)), axis=0) + daily[:, None]
    frame = pd.DataFrame(load, columns=["a", "b"]).assign(c=rng.standard_normal(ROWS), time=time)
    frame.loc[[40, 41, 120], "a"] = np.nan
    frame.to_csv(place / "rows.csv", index=False)
    return place


def read(folder, **settings):
    config = {"time": "time", "context_length": 12, "prediction_length": 3, "target": ("a", "b")}
    return load_dataset(DataConfig(path="rows.csv", **{**config, **settings}), folder)


def materialise(windows):
    inputs = windows.inputs_at(torch.arange(len(windows))).double().numpy()
    return inputs.reshape(len(inputs), -1), scaled_targets(windows).reshape(len(inputs), -1)


@pytest.mark.parametrize("stride", [1, 3])
def test_moments_match_materialised_windows(folder, stride):
    train = read(folder, stride=stride).train
    inputs, targets = materialise(train)
    found = window_moments(train.inputs.double().numpy(), train.ends.numpy(), 12, targets)
    centred = inputs - inputs.mean(axis=0)
    np.testing.assert_allclose(found.gram, centred.T @ centred, atol=1e-9)
    np.testing.assert_allclose(found.cross, centred.T @ (targets - targets.mean(axis=0)), atol=1e-9)


def test_ends_may_come_in_any_order():
    rng = np.random.default_rng(1)
    rows, ends = rng.standard_normal((60, 2)), rng.permutation(np.r_[5:9, 20:50, 55])
    targets = rng.standard_normal((len(ends), 1))
    inputs = np.stack([rows[end - 4 : end + 1].ravel() for end in ends])
    found = window_moments(rows, ends, 5, targets)
    centred = inputs - inputs.mean(axis=0)
    np.testing.assert_allclose(found.gram, centred.T @ centred, atol=1e-12)
    np.testing.assert_allclose(found.cross, centred.T @ targets, atol=1e-12)


def test_mirroring_across_block_borders():
    whole = np.random.default_rng(2).standard_normal((1030, 1030))
    whole += whole.T
    half = np.triu(whole)
    mirror_upper(half)
    np.testing.assert_array_equal(half, whole)


def test_every_penalty_solves_the_augmented_least_squares(folder):
    train = read(folder).train
    inputs, targets = materialise(train)
    moments = window_moments(train.inputs.double().numpy(), train.ends.numpy(), 12, targets)
    unit = moments.gram.diagonal().mean()
    solved = list(solve(moments, (1.0, 0.01)))
    assert [linear.penalty for linear in solved] == [1.0, 0.01]
    for linear in solved:
        centred, features = inputs - inputs.mean(axis=0), inputs.shape[1]
        extra = np.sqrt(linear.penalty * unit) * np.eye(features)
        expected, *_ = np.linalg.lstsq(
            np.vstack([centred, extra]),
            np.vstack([targets - targets.mean(axis=0), np.zeros((features, targets.shape[1]))]),
        )
        np.testing.assert_allclose(linear.weights, expected, atol=1e-9)


def test_ridge_predicts_as_its_weights_say(folder):
    data = read(folder)
    floor = fit_ridge(data.train, data.validation)
    inputs, _ = materialise(data.test)
    expected = inputs @ floor.linear.weights + floor.linear.intercept
    np.testing.assert_allclose(floor.predict(data.test).reshape(len(inputs), -1), expected)


@pytest.mark.parametrize("transform", ["none", "percent_change"])
def test_nlinear_matches_least_squares_over_both_targets(folder, transform):
    data = read(folder, transform=transform)
    floor = fit_nlinear(data.train, data.validation, penalties=(1e-9,))

    def relative(windows, end, row):
        levels, std = windows.levels.numpy(), windows.target_std.numpy()
        moved = levels[row] - levels[end]
        return (100 * moved / levels[end] if transform == "percent_change" else moved) / std

    def sample(windows, end):
        past = np.stack([relative(windows, end, row) for row in range(end - 11, end)], axis=1)
        future = np.stack([relative(windows, end, end + k) for k in (1, 2, 3)], axis=1)
        return np.column_stack([past, np.ones(2)]), future

    samples = [sample(data.train, end) for end in data.train.ends.tolist()]
    weights, *_ = np.linalg.lstsq(*(np.concatenate(part) for part in zip(*samples, strict=True)))
    predicted = floor.predict(data.test)
    targets = scaled_targets(data.test)
    for position, end in enumerate(data.test.ends.tolist()):
        past, future = sample(data.test, end)
        expected = targets[position].T + past @ weights - future
        np.testing.assert_allclose(predicted[position].T, expected, atol=1e-5)


def test_last_value_and_season_of_levels(folder):
    data = read(folder)
    assert data.season == 24
    floors = measure_floors(data)
    levels = data.series.target_values
    for position, end in enumerate(data.test.ends.tolist()):
        for k in (1, 2, 3):
            for name, row in (("last_value", end), ("seasonal_naive", end + k - 24)):
                predicted = floors[name].predict(data.test)[position, k - 1]
                unscaled = predicted * data.target_scaler.std + data.target_scaler.mean
                np.testing.assert_allclose(unscaled, levels[row])


def test_last_value_and_season_of_changes(folder):
    data = read(folder, transform="difference", prediction_length=30)
    floors = measure_floors(data)
    levels = data.series.target_values
    past = {name: floors[name].predict(data.test) for name in ("last_value", "seasonal_naive")}
    for position, end in enumerate(data.test.ends.tolist()):
        for k in (1, 24, 25, 30):
            back = 24 if k <= 24 else 48
            expected = {
                "last_value": levels[end] - levels[end - k],
                "seasonal_naive": levels[end + k - back] - levels[end - back],
            }
            for name, value in expected.items():
                unscaled = past[name][position, k - 1] * data.target_scaler.std
                np.testing.assert_allclose(unscaled + data.target_scaler.mean, value)


def test_train_mean_is_the_best_constant_on_train(folder):
    data = read(folder, scale_target=False)
    predicted = measure_floors(data)["train_mean"].predict(data.train)
    targets = scaled_targets(data.train)
    np.testing.assert_allclose(predicted, np.broadcast_to(targets.mean(axis=0), targets.shape))


def test_every_floor_predicts_all_windows_or_says_why_not(folder):
    data = read(folder, time=None, features=("a", "b", "c"))
    floors = measure_floors(data)
    assert "no season" in floors["seasonal_naive"].reason
    with pytest.raises(ValueError, match="not measured"):
        floors["seasonal_naive"].predict(data.test)
    for name in set(floors) - {"seasonal_naive"}:
        predicted = floors[name].predict(data.test)
        assert predicted.shape == (len(data.test), 3, 2)
        assert np.isfinite(predicted).all()
        assert floors[name].reason == ""


def test_floors_cannot_see_the_test_span(folder, monkeypatch):
    data = read(folder)
    before = measure_floors(data)["ridge"].predict(data.validation)
    first = int(data.test.ends.min()) + 1
    data.test.levels[first:] += 1000.0
    data.test.inputs[first:] += 1000.0
    after = measure_floors(data)["ridge"].predict(data.validation)
    np.testing.assert_array_equal(before, after)


def test_inputs_too_large_to_be_solved_leave_out_ridge_and_say_so(tmp_path):
    rng = np.random.default_rng(1)
    stamps = 1.7e9 + rng.integers(0, 30, 2000)
    frame = pd.DataFrame({"a": rng.standard_normal(2000).cumsum(), "stamp": stamps})
    frame.to_csv(tmp_path / "rows.csv", index=False)
    data = DataConfig(
        path="rows.csv",
        target=("a",),
        context_length=12,
        scale_inputs=False,
        transform="difference",
    )
    floors = measure_floors(load_dataset(data, tmp_path))
    assert "positive definite" in floors["ridge"].reason
    assert not floors["train_mean"].reason
