"""The gradient noise scale: against single windows, and where it is known by algebra."""

from __future__ import annotations

from statistics import fmean

import numpy as np
import pytest
import torch
from torch import nn

from tsdiag.diagnostics.probes.noise import NOISE
from tsdiag.diagnostics.probes.probe import Sample
from tsdiag.diagnostics.probes.sample import MICRO_BATCHES


def measured(sample):
    """Return what is said about gradients."""
    found = {reading.name: reading.value for reading in NOISE.measure(sample)}
    found.pop("undropped_train_loss", None)
    return found


def flat_gradient(model, inputs, targets):
    """Return the gradient of the mean squared error as float64 numbers, one window at a time."""
    rows = []
    for window, target in zip(inputs, targets, strict=True):
        loss = ((model(window[None]) - target[None]) ** 2).mean()
        parameters = [p for p in model.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        rows.append(np.concatenate([g.double().flatten() for g in gradients if g is not None]))
    return np.stack(rows)


def slow(model, inputs, targets, micro_batches):
    """Return the estimates by the textbook: variance of means, and what it leaves of a square."""
    model.eval()
    size = len(inputs) // micro_batches
    rows = flat_gradient(model, inputs, targets)
    used = rows[: size * micro_batches]
    means = used.reshape(micro_batches, size, -1).mean(axis=1)
    trace = size * means.var(axis=0, ddof=1).sum()
    square = (used.mean(axis=0) ** 2).sum() - trace / len(used)
    return square, trace


@pytest.mark.parametrize("windows", [16, 11, 3, 2])
def test_both_terms_are_those_of_single_windows(model, batch, windows):
    inputs, targets = batch(1, windows)
    square, trace = slow(model, inputs, targets, min(4, windows))
    found = measured(Sample(model, inputs, targets))
    wanted = {"gradient_square": square, "gradient_covariance_trace": trace}
    if square > 0:
        wanted["noise_scale"] = trace / square
    assert all(type(value) is float for value in found.values())
    # The square is a difference of two larger numbers.
    assert found == pytest.approx(wanted, rel=1e-4, abs=1e-5 * trace)


def test_frozen_parameters_are_left_out(model, batch):
    named = dict(model.named_parameters())
    whole = measured(Sample(model, *batch(1)))
    named[next(iter(named))].requires_grad_(False)
    square, trace = slow(model, *batch(1), 4)
    found = measured(Sample(model, *batch(1)))
    assert found["gradient_covariance_trace"] == pytest.approx(trace, rel=1e-4)
    assert found["gradient_square"] == pytest.approx(square, rel=1e-4, abs=1e-5 * trace)
    assert found["gradient_covariance_trace"] < whole["gradient_covariance_trace"]


def test_without_gradients_or_pairs_there_is_no_reading(model, batch):
    assert measured(Sample(model, *batch(1, 1))) == {}
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    assert measured(Sample(model, *batch(1))) == {}


@pytest.mark.parametrize("windows", [16, 11, 1])
def test_the_loss_is_that_of_the_windows_without_dropout(batch, windows):
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(60, 1), nn.Unflatten(1, (1, 1)))
    inputs, targets = batch(1, windows)
    used = windows - windows % min(4, windows)
    with torch.no_grad():
        errors = model.eval()(inputs[:used]) - targets[:used]
    found = {r.name: r.value for r in NOISE.measure(Sample(model.train(), inputs, targets))}
    expected = float((errors.double() ** 2).mean())
    assert found["undropped_train_loss"] == pytest.approx(expected, rel=1e-5)


def test_a_gradient_of_zero_is_told():
    zero = {"gradient_square": 0.0, "gradient_covariance_trace": 0.0}
    assert measured(Sample(Line(3), torch.ones(8, 1, 3), torch.zeros(8, 1, 1))) == zero


def test_a_gradient_that_overflows_is_not_measured(batch):
    model = nn.Sequential(nn.Flatten(), nn.Linear(60, 1), nn.Unflatten(1, (1, 1)))
    inputs, targets = batch(1)
    with torch.no_grad():
        predictions = model(inputs * 1e30)
    assert bool(predictions.isfinite().all())
    assert list(NOISE.measure(Sample(model, inputs * 1e30, targets))) == []


class Line(nn.Module):
    """y = w x on a single number a window."""

    def __init__(self, dimensions):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dimensions))

    def forward(self, window):
        return (window[:, 0] @ self.weight)[:, None, None]


def test_a_known_noise_scale_is_found():
    """Linear regression from zero: y = a x + e, inputs of unit variance, d of them.

    The gradient of one window is -2 y x, so G = -2 a; its second moment is
    4 E[y^2 |x|^2] = 4 (|a|^2 (d + 2) + d s^2) by Gaussian fourth moments, and tr(Sigma) is that
    without |G|^2.
    """
    truth, spread, dimensions = torch.tensor([1.0, -0.5, 0.0, 0.5]), 0.8, 4
    strength = float(truth.square().sum())
    square = 4 * strength
    trace = 4 * (strength * (dimensions + 2) + dimensions * spread**2) - square
    generator = torch.Generator().manual_seed(0)
    squares, traces = [], []
    for _ in range(1500):
        inputs = torch.randn(32, 1, dimensions, generator=generator)
        chance = spread * torch.randn(32, generator=generator)
        targets = (inputs[:, 0] @ truth + chance)[:, None, None]
        found = measured(Sample(Line(dimensions), inputs, targets))
        squares.append(found["gradient_square"])
        traces.append(found["gradient_covariance_trace"])
    # Five standard errors of a mean of so many draws.
    for values, wanted in ((squares, square), (traces, trace)):
        error = np.std(values) / len(values) ** 0.5
        assert fmean(values) == pytest.approx(wanted, abs=5 * error)
        assert 5 * error < 0.1 * wanted
    assert fmean(traces) / fmean(squares) == pytest.approx(trace / square, rel=0.1)


def test_drowned_gradients_have_no_scale():
    model = Line(4)
    generator = torch.Generator().manual_seed(1)
    both = set()
    for _ in range(20):
        inputs = torch.randn(8, 1, 4, generator=generator)
        found = measured(Sample(model, inputs, torch.randn(8, 1, 1, generator=generator)))
        assert ("noise_scale" in found) == (found["gradient_square"] > 0)
        both.add("noise_scale" in found)
    assert both == {True, False}


def test_windows_that_are_all_alike_have_no_noise(model, batch):
    inputs, targets = batch(1, 1)
    found = measured(Sample(model, inputs.expand(8, -1, -1), targets.expand(8, -1, -1)))
    assert found["noise_scale"] == pytest.approx(0, abs=1e-4)


def test_the_model_is_left_as_it_was(model, batch):
    model.train()
    if isinstance(model, nn.Sequential):
        model[2].eval()  # a part that its owner froze
    gradients = [torch.full_like(p, 7.0) for p in model.parameters()]
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        parameter.grad = gradient.clone()
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.get_rng_state()
    assert measured(Sample(model, *batch(1)))
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(map(torch.equal, gradients, (p.grad for p in model.parameters())))
    assert torch.equal(torch.get_rng_state(), generator)


def test_cudnn_is_off_while_recurrent_layers_are_differentiated_and_on_again(batch):
    seen = []

    class Asks(nn.Linear):
        def forward(self, window):
            seen.append((torch.backends.cudnn.enabled, torch.is_grad_enabled(), self.training))
            return super().forward(window)

    model = nn.Sequential(nn.Flatten(), Asks(60, 1), nn.Unflatten(1, (1, 1)))
    assert torch.backends.cudnn.enabled
    with torch.no_grad():
        measured(Sample(model, *batch(1)))
    assert set(seen) == {(False, True, False)}
    assert torch.backends.cudnn.enabled
    assert len(seen) == MICRO_BATCHES
