"""Losses and how predictions follow targets, against loops and numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn, optim

from tsdiag.diagnostics.probes.loss import FIXED_LOSS, STEP_LOSS, VALIDATION_LOSS
from tsdiag.diagnostics.probes.view import look
from tsdiag.training.evaluation import Evaluation
from tsdiag.training.observer import Moment


def measured(predictions, targets):
    loss = float((predictions.double() - targets.double()).square().mean())
    found = list(VALIDATION_LOSS.measure(Evaluation(loss, predictions, targets)))
    assert all(type(reading.value) is float and reading.where == "" for reading in found)
    return {reading.name: reading.value for reading in found}


def slow(predictions, targets):
    """Return the same by loops over windows, rows ahead and columns."""
    p, t = predictions.double().numpy(), targets.double().numpy()
    windows, horizon, columns = t.shape
    pp = tt = pt = loss = range_p = range_t = unreached = 0.0
    for column in range(columns):
        mean_p, mean_t = p[:, :, column].mean(), t[:, :, column].mean()
        range_p += p[:, :, column].max() - p[:, :, column].min()
        range_t += t[:, :, column].max() - t[:, :, column].min()
        for window in range(windows):
            for row in range(horizon):
                a, b = p[window, row, column], t[window, row, column]
                pp += (a - mean_p) ** 2
                tt += (b - mean_t) ** 2
                pt += (a - mean_p) * (b - mean_t)
                loss += (a - b) ** 2
                unreached += b < p[:, :, column].min() or b > p[:, :, column].max()
    return {
        "validation_loss": loss / t.size,
        "validation_loss_ratio": loss / tt,
        "prediction_variance_ratio": pp / tt,
        "prediction_correlation": pt / math.sqrt(pp * tt),
        "prediction_range_share": range_p / range_t,
        "unreached_share": unreached / t.size,
    }


@pytest.mark.parametrize("shape", [(40, 1, 1), (25, 3, 1), (20, 2, 3)])
def test_every_number_is_that_of_the_slow_way(shape):
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(shape, generator=generator) + torch.arange(shape[2]) * 5.0
    predictions = 0.4 * targets + 0.3 * torch.randn(shape, generator=generator) - 2
    found, wanted = measured(predictions, targets), slow(predictions, targets)
    assert found == pytest.approx(wanted, rel=1e-6)
    if shape[1:] == (1, 1):
        pearson = np.corrcoef(predictions.flatten(), targets.flatten())[0, 1]
        assert found["prediction_correlation"] == pytest.approx(pearson, rel=1e-6)


def targets_of(seed=1):
    return torch.randn(50, 2, 2, generator=torch.Generator().manual_seed(seed))


def test_the_targets_themselves_are_perfect_predictions():
    found = measured(targets_of(), targets_of())
    wanted = {"validation_loss": 0.0, "validation_loss_ratio": 0.0}
    wanted |= {"prediction_variance_ratio": 1.0, "prediction_correlation": 1.0}
    wanted |= {"prediction_range_share": 1.0, "unreached_share": 0.0}
    assert found == pytest.approx(wanted, abs=1e-12)


def test_columns_of_different_levels_do_not_correlate_by_themselves():
    levels = torch.tensor([0.0, 100.0])
    found = measured(levels + targets_of(2), levels + targets_of(1))
    assert abs(found["prediction_correlation"]) < 0.25


@pytest.mark.parametrize(
    ("level", "roundings"), [(0.0, 0.0), (0.1, 0.0), (0.01, 1e-9), (1000.0, 5e-5)]
)
def test_constant_predictions_have_no_correlation(level, roundings):
    predictions = level + roundings * targets_of(2)
    found = measured(predictions, targets_of())
    assert found["prediction_correlation"] == 0.0
    assert found["prediction_variance_ratio"] == 0.0
    assert found["prediction_range_share"] < 1e-3
    assert found["unreached_share"] > 0.9


def test_the_mean_of_the_targets_has_a_loss_ratio_of_one():
    targets = targets_of()
    found = measured(targets.mean((0, 1)).expand_as(targets), targets)
    assert found["validation_loss_ratio"] == pytest.approx(1, rel=1e-6)


def test_small_predictions_that_vary_do_correlate():
    found = measured(1e-12 * targets_of(), targets_of())
    assert found["prediction_correlation"] == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize(
    ("bound", "share"), [(torch.sigmoid, 0.25), (torch.tanh, 0.45), (torch.relu, 0.6)]
)
def test_a_bounded_output_does_not_reach_its_targets(bound, share):
    found = measured(bound(targets_of()), targets_of())
    free = measured(0.7 * targets_of(), targets_of())
    assert found["prediction_range_share"] < share
    assert found["unreached_share"] > 0.25
    assert free["prediction_range_share"] == pytest.approx(0.7, rel=1e-5)
    assert free["unreached_share"] < 0.15


def test_constant_targets_leave_the_loss_alone():
    assert set(measured(targets_of(), torch.full((50, 2, 2), 0.1))) == {"validation_loss"}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_diverged_model_leaves_the_loss_alone(value):
    predictions = targets_of()
    predictions[3, 0, 1] = value
    found = measured(predictions, targets_of())
    assert set(found) == {"validation_loss"}
    assert not math.isfinite(found["validation_loss"])


def test_the_fixed_batch_has_its_loss_without_dropout():
    model = nn.Sequential(nn.Dropout(0.9), nn.Linear(4, 2))
    inputs, targets = torch.randn(5, 3, 4), torch.randn(5, 3, 2)
    (reading,) = FIXED_LOSS.measure(look(model, inputs, targets))
    with torch.no_grad():
        errors = (model[1](inputs) - targets).flatten().tolist()
    assert reading.name == "fixed_batch_loss"
    assert reading.value == pytest.approx(sum(e**2 for e in errors) / len(errors), rel=1e-6)


def test_a_step_is_told_as_the_loop_saw_it():
    model = nn.Linear(1, 1)
    moment = Moment(model, optim.SGD(model.parameters()))
    moment.train_loss, moment.learning_rate = math.nan, 3e-4
    moment.gradient_norm, moment.clipped = math.inf, True
    found = {reading.name: reading.value for reading in STEP_LOSS.measure(moment)}
    assert math.isnan(found.pop("train_loss"))  # of a run that diverges, the last thing to know
    assert found == {"learning_rate": 3e-4, "gradient_norm": math.inf, "clipped": 1.0}
    assert [type(value) for value in found.values()] == [float] * 3
