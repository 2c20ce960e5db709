"""Gradients on the input against finite differences, and models that look at a part of it."""

import numpy as np
import pytest
import torch
from torch import nn

from tsdiag.config import ModelConfig, RunConfig
from tsdiag.data.windows import Windows
from tsdiag.diagnostics.probes.input_gradient import INPUT_GRADIENT, input_gradients
from tsdiag.diagnostics.probes.probe import Specimen
from tsdiag.models import Shapes, build, complete

ROWS, CONTEXT, CHANNELS = 200, 50, 4


def windows(channels=CHANNELS):
    rows = np.random.default_rng(0).standard_normal((ROWS, channels))
    return Windows(
        inputs=torch.from_numpy(rows).float(),
        levels=torch.from_numpy(rows[:, :2].copy()),
        ends=torch.arange(CONTEXT - 1, ROWS - 3),
        context_length=CONTEXT,
        prediction_length=3,
        transform="none",
        target_mean=torch.zeros(2, dtype=torch.float64),
        target_std=torch.ones(2, dtype=torch.float64),
    )


class Formula(nn.Module):
    """Six outputs of a window by a function of it."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, window):
        return self.function(window).view(len(window), -1, 1).expand(-1, 3, 2)


def measure(function, data=None):
    model = function if isinstance(function, nn.Module) else Formula(function)
    data = data or windows()
    found = INPUT_GRADIENT.measure(Specimen(model, RunConfig(), data, data))
    return {(reading.name + " " + reading.where).strip(): reading.value for reading in found}


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
def test_against_finite_differences(kind):
    settings = {"d_model": 8, "embedding": "linear", "pooling": "last"} if kind != "lstm" else {}
    config = complete(RunConfig(model=ModelConfig(kind=kind, **settings)))
    model = build(config, Shapes(6, 3, 2), torch.Generator().manual_seed(0)).double()
    inputs = torch.randn((2, 6, 3), generator=torch.Generator().manual_seed(1)).double()
    weights = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).double()
    found = input_gradients(model, inputs, weights)
    model.eval()
    for place in np.ndindex(*inputs.shape):
        step = torch.zeros_like(inputs)
        step[place] = 1e-6
        with torch.no_grad():
            up, down = model(inputs + step).flatten(1), model(inputs - step).flatten(1)
        slope = float(((up - down) * weights).sum()) / 2e-6
        assert float(found[place]) == pytest.approx(slope, rel=1e-4, abs=1e-7)


def test_known_slopes_add_up():
    # Weights 3 on the last row and 4 on the one 10 rows before: shares 9/25 and 16/25.
    found = measure(lambda w: 3 * w[:, -1, 1] + 4 * w[:, -11, 0])
    assert found["last_row_share"] == pytest.approx(9 / 25)
    assert found["last_tenth_share"] == pytest.approx(9 / 25)
    assert found["gradient_age"] == pytest.approx(10 * 16 / 25)
    assert found["top_channels_share"] == pytest.approx(1)
    assert found["input_gradient channel[0]"] == pytest.approx(16 / 25)
    assert found["input_gradient channel[1]"] == pytest.approx(9 / 25)
    assert found["blind_channel_share"] == 0.5
    assert found["blind_time_share"] == pytest.approx(48 / 50)
    # 50 rows in 24 parts: the first two have three rows, all others two.
    assert found["input_gradient time[23]"] == pytest.approx(9 / 25)
    assert found["input_gradient time[18]"] == pytest.approx(16 / 25)


def test_a_slice_of_five_rows_is_blind_to_the_others():
    found = measure(lambda w: (w[:, -5:] ** 2).sum(dim=(1, 2)))
    assert found["blind_time_share"] == pytest.approx(45 / 50)
    assert found["last_tenth_share"] == pytest.approx(1)
    assert found["blind_channel_share"] == 0


def test_profiles_are_whole():
    found = measure(lambda w: (w**3).sum(dim=(1, 2)))
    for axis, count in (("time", 24), ("channel", CHANNELS)):
        shares = [
            value for name, value in found.items() if name.startswith(f"input_gradient {axis}")
        ]
        assert len(shares) == count
        assert sum(shares) == pytest.approx(1)
    assert found["blind_time_share"] == 0


def test_of_many_channels_the_strongest_are_told():
    strength = torch.arange(40.0)
    found = measure(lambda w: (w[:, -1] * strength).sum(dim=1), windows(channels=40))
    told = [name for name in found if name.startswith("input_gradient channel")]
    assert told == [f"input_gradient channel[{channel}]" for channel in range(8, 40)]


def test_outputs_that_cancel_are_still_seen():
    difference = Formula(lambda w: torch.stack([w[:, -1, 0], -w[:, -1, 0]] * 3, dim=1))
    difference.forward = lambda w: difference.function(w).view(len(w), 3, 2)
    assert measure(difference)["blind_channel_share"] == pytest.approx(0.75)


def test_without_a_way_back_everything_is_blind():
    for function in (lambda w: w.detach()[:, -1, 0], lambda w: 0 * w[:, -1, 0]):
        found = measure(function)
        assert found == {"blind_time_share": 1, "blind_channel_share": 1}


def test_gradients_stay_within_their_window():
    assert measure(lambda w: w[:, -1, 0] ** 2)["batch_gradient_share"] == 0
    mixed = measure(lambda w: (w - w.mean(dim=0, keepdim=True))[:, -1, 0])
    assert mixed["batch_gradient_share"] > 1e-3


def test_a_single_window_says_nothing_about_others():
    found = measure(lambda w: w[:, -1, 0] ** 2, windows().every(1))
    assert found["last_row_share"] == 1
    assert "batch_gradient_share" not in found
