"""Steps along the update direction: parabolas with known ends, and a walk with copies."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from tsdiag.config import ModelConfig, OptimizerConfig, RunConfig
from tsdiag.data.windows import Windows
from tsdiag.diagnostics.probes.probe import Specimen
from tsdiag.diagnostics.probes.rate_meter import RATE_METER, judge_rate
from tsdiag.models import Shapes, build, complete

ROWS, CONTEXT = 120, 4
HALF = math.sqrt(10)


def windows(scale=1.0):
    """The target is twice the last value of the first channel."""
    rows = scale * np.random.default_rng(0).standard_normal((ROWS, 2))
    levels = np.zeros((ROWS, 1))
    levels[1:, 0] = 2 * rows[:-1, 0]
    return Windows(
        inputs=torch.from_numpy(rows).float(),
        levels=torch.from_numpy(levels),
        ends=torch.arange(CONTEXT - 1, ROWS - 1),
        context_length=CONTEXT,
        prediction_length=1,
        transform="none",
        target_mean=torch.zeros(1, dtype=torch.float64),
        target_std=torch.ones(1, dtype=torch.float64),
    )


class Slope(nn.Module):
    """w times the last value: the loss is (w - 2)^2 mean(x^2), a parabola in w."""

    def __init__(self, start):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(float(start)))

    def forward(self, window):
        return self.slope * window[:, -1:, :1]


def measure(model, data, **optimizer):
    batch = data.every(64).batch(torch.arange(64))
    found = judge_rate(model, *batch, OptimizerConfig(**optimizer))
    return {reading.name: reading.value for reading in found}


def measure_run(config, data, trained=None):
    shapes = Shapes(data.context_length, data.n_channels, data.prediction_length, data.n_targets)
    trained = trained or build(config, shapes, torch.Generator().manual_seed(7))
    found = RATE_METER.measure(Specimen(trained, config, data, data))
    return {reading.name: reading.value for reading in found}


def curvature(data):
    inputs, _ = data.every(64).batch(torch.arange(64))
    return 2 * float(inputs[:, -1, 0].double().square().mean())


@pytest.mark.parametrize("start", [-3.0, 1.4, 2.7])
@pytest.mark.parametrize("name", ["adam", "adamw", "sam"])
def test_adam_tolerates_twice_the_distance_to_the_minimum(start, name):
    found = measure(Slope(start), windows(), name=name, lr=1e-2)
    distance = abs(start - 2)
    assert found["tolerated_rate"] <= 2 * distance < found["tolerated_rate"] * HALF
    assert found["best_rate"] <= distance * HALF
    assert found["best_rate"] >= distance / HALF
    assert found["rate_ratio"] == pytest.approx(1e-2 / found["tolerated_rate"])


@pytest.mark.parametrize("scale", [0.3, 1.0, 5.0])
def test_gradient_descent_tolerates_two_over_the_curvature(scale):
    data = windows(scale)
    found = measure(Slope(0.0), data, name="sgd", lr=1e-1, clip_norm=0.0)
    assert found["tolerated_rate"] <= 2 / curvature(data) < found["tolerated_rate"] * HALF


def test_clipping_shortens_the_direction():
    data = windows(scale=5.0)
    gradient = 2 * curvature(data)  # at w = 0, where the minimum is 2 away
    found = measure(Slope(0.0), data, name="sgd", lr=1e-1, clip_norm=1.0)
    limit = 2 / curvature(data) * gradient
    assert found["tolerated_rate"] <= limit < found["tolerated_rate"] * HALF


def test_a_rate_too_high_is_told_by_the_ratio():
    assert measure(Slope(1.99), windows(), lr=1.0)["rate_ratio"] > 10
    assert measure(Slope(1.99), windows(), lr=1e-4)["rate_ratio"] < 0.1


def test_where_no_rate_is_tolerated_the_least_stands_for_those_below():
    found = measure(Slope(2 - 1e-6), windows(), lr=1.0)
    assert found["tolerated_rate"] == found["best_rate"] == pytest.approx(1e-4)
    assert found["rate_ratio"] == pytest.approx(1e4)


SMALL = {"d_model": 16, "n_layers": 1, "n_heads": 2, "head_dim": 8, "ff_dim": 32, "patch_length": 4}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("rate", "least", "most"), [(3e-3, 0.01, 3.2), (1.0, 10, 1e5), (1e-6, 0, 0.01)]
)
def test_the_rate_of_a_small_transformer_is_judged_by_its_first_step(
    rate, least, most, seed, dataset, config
):
    config = config.edits({f"model.{name}": value for name, value in SMALL.items()})
    found = measure_run(config.edits({"optimizer.lr": rate, "seed": seed}), dataset.train)
    assert least <= found["rate_ratio"] <= most


def test_what_training_made_of_the_weights_does_not_count(config, dataset, new_model):
    trained = new_model(config)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.mul_(10)
    fresh = measure_run(config, dataset.train, new_model(config))
    assert measure_run(config, dataset.train, trained) == fresh


def test_what_is_frozen_takes_no_step(config, dataset):
    head = config.edits({"optimizer.frozen": ["embedding", "positions", "blocks", "final_norm"]})
    assert measure_run(head, dataset.train) != measure_run(config, dataset.train)


def test_without_a_gradient_there_is_no_direction():
    assert measure(Slope(2.0), windows()) == {}
    frozen = Slope(0.0)
    frozen.slope.requires_grad_(False)
    assert measure(frozen, windows()) == {}
    assert measure(Slope(math.nan), windows()) == {}


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
def test_against_a_walk_with_copies(kind):
    settings = {"d_model": 8, "patch_length": 2} if kind == "transformer" else {"lstm_units": 4}
    config = complete(RunConfig(model=ModelConfig(kind=kind, **settings)))
    config = config.edit("optimizer.lr", 3e-3)
    model = build(config, Shapes(CONTEXT, 2), torch.Generator().manual_seed(0))
    data = windows()
    inputs, targets = data.every(64).batch(torch.arange(64))
    reference = copy.deepcopy(model).eval()
    start = ((reference(inputs) - targets) ** 2).mean()
    start.backward()
    tolerated, best, least, so_far = 0.0, 0.0, math.inf, True
    for half in range(-8, 7):
        rate = 3e-3 * 10 ** (half / 2)
        moved = copy.deepcopy(reference)
        with torch.no_grad():
            for p, q in zip(moved.parameters(), reference.parameters(), strict=True):
                if q.grad is not None:
                    p -= rate * q.grad / (q.grad.abs() + 1e-8)
            loss = ((moved(inputs) - targets) ** 2).mean().item()
        so_far = so_far and loss <= start.item() * (1 + 1e-6)
        if so_far:
            tolerated = rate
            if loss < least:
                best, least = rate, loss
    found = measure_run(config, data)
    assert found == pytest.approx(
        {"tolerated_rate": tolerated, "best_rate": best, "rate_ratio": 3e-3 / tolerated}
    )
