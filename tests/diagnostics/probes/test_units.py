"""Dead units and pinned gates, against loops over units and over steps of time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tsdiag.config import ModelConfig, RunConfig
from tsdiag.diagnostics.probes.units import UNITS, saturated_gates
from tsdiag.diagnostics.probes.view import look
from tsdiag.models import Shapes, build

WINDOWS, TIME, CHANNELS = 5, 12, 4


def view_of(model):
    inputs = torch.randn(WINDOWS, TIME, CHANNELS, generator=torch.Generator().manual_seed(2))
    return look(model, inputs, torch.zeros(WINDOWS, 1, 1))


def new_model(kind, **settings):
    config = RunConfig(model=ModelConfig(kind=kind, **settings))
    return build(config, Shapes(TIME, CHANNELS), torch.Generator().manual_seed(0))


def measured(view):
    return {(reading.name, reading.where): reading.value for reading in UNITS.measure(view)}


@pytest.mark.parametrize("activation", ["relu", "gelu", "elu", "silu"])
def test_units_that_never_open_are_dead(activation):
    model = new_model("transformer", embedding="linear", activation=activation, ff_dim=20)
    with torch.no_grad():
        model.blocks[1].feed_forward.expand.bias[:5] = -60
    found = measured(view_of(model))
    assert found["dead_share", "blocks.0.feed_forward.activation"] == 0
    assert found["dead_share", "blocks.1.feed_forward.activation"] == 5 / 20


@pytest.mark.parametrize("activation", [nn.Tanh(), nn.Sigmoid()])
def test_a_bounded_unit_is_dead_at_either_end(activation):
    linear = nn.Linear(CHANNELS, 8)
    with torch.no_grad():
        linear.bias[:1], linear.bias[1:3] = 60, -60
    found = measured(view_of(nn.Sequential(linear, activation)))
    assert found == {("dead_share", "1"): 3 / 8}


def slow_dead_share(outputs):
    """Return the share of relu's units, on the last axis, that are never above 0."""
    units = outputs.flatten(0, -2).T
    return sum(all(value <= 0 for value in unit.tolist()) for unit in units) / len(units)


@given(shift=st.floats(-6, 2), units=st.integers(1, 9))
def test_of_a_relu_the_dead_are_those_that_give_nothing(shift, units):
    generator = torch.Generator().manual_seed(units)
    linear = nn.Linear(CHANNELS, units)
    with torch.no_grad():
        linear.weight.copy_(torch.randn(linear.weight.shape, generator=generator))
        linear.bias.fill_(shift)
    view = view_of(nn.Sequential(linear, nn.ReLU()))
    expected = slow_dead_share(view.left["1"])
    assert measured(view)["dead_share", "1"] == pytest.approx(expected)


@pytest.mark.parametrize("inplace", [False, True])
def test_units_of_a_convolution_are_its_channels(inplace):
    model = new_model("lstm", conv_channels=6, batch_norm=True)
    model.convolutions.layers[1] = nn.ReLU(inplace=inplace)
    with torch.no_grad():
        model.convolutions.layers[0].bias[:3] = -60
    found = measured(view_of(model))
    assert found["dead_share", "convolutions.layers.1"] == pytest.approx(3 / 6)
    assert found["dead_share", "activation"] == 0


def test_asking_leaves_no_gradient_and_no_call_behind():
    model = new_model("transformer", embedding="linear")
    view = view_of(model)
    calls = []
    for module in model.modules():
        module.register_forward_hook(lambda *_: calls.append(1))
    measured(view)
    assert calls == []
    assert {parameter.grad for parameter in model.parameters()} == {None}


def slow_gates(lstm, window):
    """Return all input, forget and output gates [nats], step by step through cells."""
    found = []
    for suffix in ("", "_reverse")[: 1 + lstm.bidirectional]:
        cell = nn.LSTMCell(lstm.input_size, lstm.hidden_size, bias=lstm.bias)
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if lstm.bias else 2]
        cell.load_state_dict({name: getattr(lstm, f"{name}_l0{suffix}") for name in names})
        state = (torch.zeros(lstm.hidden_size), torch.zeros(lstm.hidden_size))
        for row in window.flip(0) if suffix else window:
            gates = cell.weight_ih @ row + cell.weight_hh @ state[0]
            if lstm.bias:
                gates = gates + cell.bias_ih + cell.bias_hh
            into, forget, _, out = gates.chunk(4)
            found += [into, forget, out]
            state = cell(row, state)
    return torch.cat(found)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
@torch.no_grad()
def test_gates_are_those_of_a_loop_over_time(bidirectional, bias):
    generator = torch.Generator().manual_seed(3)
    lstm = nn.LSTM(CHANNELS, 6, batch_first=True, bidirectional=bidirectional, bias=bias)
    for parameter in lstm.parameters():
        parameter.copy_(3 * torch.randn(parameter.shape, generator=generator))
    windows = torch.randn(WINDOWS, TIME, CHANNELS, generator=generator)
    gates = torch.stack([slow_gates(lstm, window) for window in windows])
    expected = (gates.abs() > 5).double().mean().item()
    assert 0.2 < expected < 0.8
    told = saturated_gates(lstm, windows, lstm(windows)[0]).item()
    # One gate in thousands may lie on the limit and round either way.
    assert told == pytest.approx(expected, abs=2 / gates.numel())


def test_gates_of_the_baseline():
    model = new_model("lstm", lstm_layers=2, lstm_units=4)
    healthy = measured(view_of(model))
    with torch.no_grad():
        for parameter in model.lstm.layers[1].parameters():
            parameter.mul_(1e4)
    pinned = measured(view_of(model))
    assert healthy["saturated_gates", "lstm.layers.1"] == 0
    assert pinned["saturated_gates", "lstm.layers.1"] > 0.95
    assert pinned["saturated_gates", "lstm.layers.0"] == healthy["saturated_gates", "lstm.layers.0"]


def test_an_lstm_whose_states_cannot_be_seen_is_left_out():
    assert measured(view_of(nn.LSTM(CHANNELS, 3, num_layers=2, batch_first=True))) == {}


def test_what_is_not_a_number_is_left_out():
    view = view_of(new_model("lstm"))
    for path in ("convolutions.layers.1", "lstm.layers.0"):
        view.entered[path].fill_(torch.nan)
        view.left[path].fill_(torch.nan)
    assert set(measured(view)) == {("dead_share", "activation")}


def test_every_reading_is_declared_and_a_plain_number():
    readings = list(UNITS.measure(view_of(new_model("lstm"))))
    assert {reading.name for reading in readings} == {signal.name for signal in UNITS.signals}
    assert {type(reading.value) for reading in readings} == {float}
