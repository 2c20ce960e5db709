"""Disturbed windows: models that must react, models that cannot, and one window at a time."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from tsdiag.config import ModelConfig, RunConfig
from tsdiag.data.windows import Windows
from tsdiag.diagnostics.probes.probe import Specimen
from tsdiag.diagnostics.probes.sensitivity import SENSITIVITY, shuffled
from tsdiag.models import Shapes, build, complete

ROWS, CONTEXT, CHANNELS = 400, 12, 5
CONFIG = RunConfig(seed=3)


def windows(channels=CHANNELS):
    """Windows whose target is the first channel of their last row."""
    rows = np.random.default_rng(0).standard_normal((ROWS, channels)).astype(np.float32)
    levels = np.zeros((ROWS, 1))
    levels[1:, 0] = rows[:-1, 0]
    return Windows(
        inputs=torch.from_numpy(rows),
        levels=torch.from_numpy(levels),
        ends=torch.arange(CONTEXT - 1, ROWS - 1),
        context_length=CONTEXT,
        prediction_length=1,
        transform="none",
        target_mean=torch.zeros(1, dtype=torch.float64),
        target_std=torch.ones(1, dtype=torch.float64),
    )


def specimen_of(model, data=None, config=CONFIG):
    data = data or windows()
    return Specimen(model, config, data, data)


def measure(model, data=None, config=CONFIG):
    readings = list(SENSITIVITY.measure(specimen_of(model, data, config)))
    assert {reading.where for reading in readings} == {""}
    return {reading.name: reading.value for reading in readings}


def transformer(seed=0, **settings):
    model = {"d_model": 16, "embedding": "linear", "pooling": "mean_time", "n_layers": 2}
    config = complete(RunConfig(model=ModelConfig(kind="transformer", **{**model, **settings})))
    return build(config, Shapes(CONTEXT, CHANNELS), torch.Generator().manual_seed(seed))


class Formula(nn.Module):
    """A function of the window as a model; the parameter only says where it lives."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, window):
        return self.function(window).view(len(window), 1, -1)


LAST_ROW = Formula(lambda window: window[:, -1, 0])


@pytest.mark.parametrize("seed", range(3))
def test_without_positions_a_mean_over_time_is_blind_to_order(seed):
    found = measure(transformer(seed, positions="none"))
    assert found["time_shuffle_effect"] < 1e-5
    assert abs(found["time_shuffle_loss"]) < 1e-5
    assert found["channel_shuffle_effect"] > 1e-2


@pytest.mark.parametrize(
    "settings",
    [
        {"positions": "sinusoidal"},
        {"positions": "learned"},
        {"positions": "rotary"},
        {"positions": "none", "pooling": "last"},
        {"positions": "none", "embedding": "conv"},
    ],
)
def test_any_way_of_seeing_order_shows(settings):
    assert measure(transformer(**settings))["time_shuffle_effect"] > 1e-3


def test_positions_at_full_size_show_clearly():
    assert measure(transformer(positions="sinusoidal"))["time_shuffle_effect"] > 1e-2


def test_nearly_constant_outputs_are_not_taken_for_a_reaction():
    blind = transformer(positions="none").eval()
    assert measure(Formula(lambda window: 3 + 1e-3 * blind(window)))["time_shuffle_effect"] < 1e-4


def test_small_reactions_of_small_outputs_are_seen():
    found = measure(Formula(lambda window: 1e-4 * window[:, -1, 0]))
    assert found["time_shuffle_effect"] > 1e-3


def test_an_output_that_does_not_vary_is_not_called_blind():
    said = []
    for level in (0.0, 0.1, 3.0):
        said += SENSITIVITY.measure(specimen_of(Formula(lambda w, v=level: v + 0 * w[:, 0, 0])))
        said += SENSITIVITY.measure(specimen_of(Formula(lambda w, v=level: v + 1e-9 * w[:, -1, 0])))
    assert said == []


def test_loss_under_shuffle_is_a_difference_of_losses():
    found = measure(LAST_ROW)
    # Exact before; after, another row of an iid series in 11 of 12 windows: twice the variance.
    assert found["time_shuffle_loss"] == pytest.approx(2 * 11 / 12, rel=0.3)


def test_a_mean_over_channels_is_blind_to_which_is_which():
    found = measure(Formula(lambda window: window.mean(dim=2)[:, -1]))
    assert found["channel_shuffle_effect"] < 1e-5
    assert found["time_shuffle_effect"] > 1e-2


def test_ordinary_models_keep_the_windows_of_a_batch_apart():
    for settings in ({}, {"pooling": "attention"}, {"embedding": "inverted"}):
        assert measure(transformer(**settings))["batch_influence"] < 1e-6


def test_mixing_within_a_batch_shows():
    encoder = transformer().blocks
    lift = torch.randn(CHANNELS, 16, generator=torch.Generator().manual_seed(0))

    def swapped(window):  # batch and time in the wrong order
        return encoder((window @ lift).transpose(0, 1)).transpose(0, 1).mean(dim=(1, 2))

    assert measure(Formula(swapped))["batch_influence"] > 1e-3
    assert measure(Formula(lambda w: (w - w.mean(dim=0))[:, -1, 0]))["batch_influence"] > 1e-2


def test_what_cannot_be_shuffled_is_not_reported():
    found = measure(LAST_ROW, windows(channels=1))
    assert set(found) == {"time_shuffle_effect", "time_shuffle_loss", "batch_influence"}


def test_a_diverged_model_is_not_measured():
    broken = Formula(lambda window: torch.full((len(window),), torch.nan))
    assert list(SENSITIVITY.measure(specimen_of(broken))) == []


def test_every_window_is_shuffled_by_itself():
    inputs = torch.arange(20.0 * 6 * 4).view(20, 6, 4)
    for axis in (1, 2):
        found = shuffled(inputs, axis, np.random.default_rng(0))
        assert torch.equal(found.sort(dim=axis).values, inputs)
        orders = {tuple(order) for order in (found - inputs).movedim(axis, 1)[:, :, 0].tolist()}
        assert len(orders) > 10


def test_against_one_window_at_a_time():
    model, data = transformer(positions="sinusoidal").eval(), windows()
    inputs, targets = (part.numpy() for part in data.every(128).batch(torch.arange(128)))
    rng = np.random.default_rng([11, CONFIG.seed])
    orders = {}
    for axis, size in ((0, CONTEXT), (1, CHANNELS)):
        places = torch.arange(float(size)).expand(128, size).unsqueeze(2 - axis)
        orders[axis] = shuffled(places, axis + 1, rng).flatten(1).long().tolist()

    def answers(windows):
        with torch.no_grad():
            return [model(torch.from_numpy(window)[None]).item() for window in windows]

    plain = answers(inputs)
    mean = sum(plain) / 128
    spread = math.sqrt(sum((found - mean) ** 2 for found in plain) / 128)
    found = measure(model)
    changed = {}
    for axis, name in ((0, "time_shuffle_effect"), (1, "channel_shuffle_effect")):
        pairs = zip(inputs, orders[axis], strict=True)
        changed[axis] = answers(np.take(window, order, axis) for window, order in pairs)
        total = sum((a - b) ** 2 for a, b in zip(changed[axis], plain, strict=True))
        assert found[name] == pytest.approx(math.sqrt(total / 128) / spread, rel=1e-4)
    truth = targets[:, 0, 0].tolist()
    losses = [
        sum((a - b) ** 2 for a, b in zip(some, truth, strict=True)) / 128
        for some in (changed[0], plain)
    ]
    assert found["time_shuffle_loss"] == pytest.approx(losses[0] - losses[1], abs=1e-5)
