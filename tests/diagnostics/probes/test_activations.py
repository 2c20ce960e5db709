"""The stream block by block, against loops over tokens and pairs in numpy."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tsdiag.config import ModelConfig, RunConfig
from tsdiag.diagnostics.probes.activations import (
    ACTIVATIONS,
    channel_share,
    effective_rank,
    token_cosine,
)
from tsdiag.diagnostics.probes.view import look
from tsdiag.models import Shapes, build

WINDOWS, TIME, CHANNELS = 6, 16, 5
TRANSFORMER = {
    "d_model": 8,
    "embedding": "linear",
    "n_layers": 2,
    "n_heads": 2,
    "head_dim": 4,
    "ff_dim": 12,
    "dropout": 0.3,
}
LSTM = {"conv_channels": 6, "lstm_units": 4, "lstm_layers": 2, "dense_units": 4}


def view_of(settings, kind="transformer", channels=CHANNELS, time=TIME):
    config = RunConfig(model=ModelConfig(kind=kind, **settings))
    generator = torch.Generator().manual_seed(1)
    model = build(config, Shapes(time, channels), generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    inputs = torch.randn(WINDOWS, time, channels, generator=generator)
    return look(model, inputs, torch.zeros(WINDOWS, 1, 1))


def measured(view):
    return {(reading.name, reading.where): reading.value for reading in ACTIVATIONS.measure(view)}


def slow_rms(values):
    return np.sqrt(np.mean(values.detach().double().numpy() ** 2))


def slow_cosine(stream):
    cosines = []
    for window in stream.double().numpy():
        for a, b in permutations(window, 2):
            cosines.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    return np.mean(cosines)


def slow_rank(tokens):
    """Return the effective rank by the singular values themselves."""
    tokens = tokens.double().numpy()
    singular = np.linalg.svd(tokens - tokens.mean(axis=0), compute_uv=False)
    shares = singular[singular > 1e-9 * singular.max()] / singular.sum()
    return np.exp(-np.sum(shares * np.log(shares)))


def test_streams_of_a_transformer():
    view = view_of(TRANSFORMER)
    model, found = view.model.eval(), measured(view)
    stream = model.positions(model.embedding(view.inputs))
    streams = {"positions": stream}
    for index, block in enumerate(model.blocks):
        streams[f"blocks.{index}"] = stream = block(stream)
    for path, expected in streams.items():
        expected = expected.detach()
        assert found["stream_rms", path] == pytest.approx(slow_rms(expected), rel=1e-5)
        assert found["token_cosine", path] == pytest.approx(slow_cosine(expected), abs=1e-5)
        rank = slow_rank(expected.flatten(0, 1)) / 8
        assert found["effective_rank", path] == pytest.approx(rank, rel=1e-4)
    assert {path for name, path in found if name == "stream_rms"} == set(streams)


def test_streams_of_an_lstm():
    view = view_of(LSTM, kind="lstm")
    found = measured(view)
    places = {path for name, path in found if name == "stream_rms"}
    assert places == {"convolutions", "lstm.layers.0", "lstm.layers.1"}
    left = view.left["lstm.layers.1"]
    assert found["token_cosine", "lstm.layers.1"] == pytest.approx(slow_cosine(left), abs=1e-5)
    rank = slow_rank(left.flatten(0, 1)) / left.shape[-1]
    assert found["effective_rank", "lstm.layers.1"] == pytest.approx(rank, rel=1e-4)
    assert not [place for name, place in found if name in ("contribution", "positions_ratio")]


@pytest.mark.parametrize(("ff_dim", "least", "most"), [(1, 1, 1), (3, 2, 3), (9, 4, 8), (24, 4, 8)])
def test_a_narrow_feed_forward_layer_shows_beside_its_stream(ff_dim, least, most):
    """The stream is 8 wide, and of more units 8 are looked at."""
    view = view_of(TRANSFORMER | {"ff_dim": ff_dim})
    found = measured(view)
    for block in ("blocks.0", "blocks.1"):
        path = f"{block}.feed_forward.activation"
        units = [round(i * (ff_dim - 1) / 7) for i in range(8)] if ff_dim > 8 else range(ff_dim)
        hidden = view.left[path][..., list(units)]
        dimensions = 8 * found["effective_rank", path]
        assert dimensions == pytest.approx(slow_rank(hidden.flatten(0, 1)), rel=1e-4)
        assert least - 1e-6 <= dimensions <= most + 1e-6
        assert 8 * found["effective_rank", block] > 4


def test_activations_outside_the_blocks_are_left_out():
    found = measured(view_of(LSTM, kind="lstm"))
    places = {place for name, place in found if name == "effective_rank"}
    assert places == {"convolutions", "lstm.layers.0", "lstm.layers.1"}


@pytest.mark.parametrize("scale", [1.0, 0.25])
@pytest.mark.parametrize("norm", ["pre", "post", "post_sublayer"])
def test_a_contribution_is_what_is_added_to_the_stream(norm, scale):
    view = view_of(TRANSFORMER | {"norm": norm, "residual_scale": scale})
    model, found = view.model.eval(), measured(view)
    stream = model.positions(model.embedding(view.inputs))
    for index, block in enumerate(model.blocks):
        for name in ("attention", "feed_forward"):
            layer, normalise = getattr(block, name), getattr(block, f"{name}_norm")
            if norm == "pre":
                added = scale * layer(normalise(stream))
                after = stream + added
            elif norm == "post":
                added = scale * layer(stream)
                after = normalise(stream + added)
            else:
                added = scale * normalise(layer(stream))
                after = stream + added
            expected = slow_rms(added) / slow_rms(stream)
            assert found["contribution", f"blocks.{index}.{name}"] == pytest.approx(
                expected, rel=1e-4
            )
            stream = after


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
def test_added_positions_are_compared_with_what_they_are_added_to(positions):
    view = view_of(TRANSFORMER | {"positions": positions})
    expected = slow_rms(view.model.positions.table) / slow_rms(view.model.embedding(view.inputs))
    assert measured(view)["positions_ratio", "positions"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("positions", ["none", "rotary"])
def test_positions_that_are_not_added_have_no_ratio(positions):
    found = measured(view_of(TRANSFORMER | {"positions": positions}))
    assert not [place for name, place in found if name == "positions_ratio"]
    assert ("stream_rms", "positions") in found


@given(st.integers(1, 4), st.integers(2, 9), st.integers(1, 6), st.integers(0, 5))
def test_the_mean_cosine_is_that_over_pairs(windows, tokens, width, seed):
    stream = torch.randn(windows, tokens, width, generator=torch.Generator().manual_seed(seed))
    assert token_cosine(stream).item() == pytest.approx(slow_cosine(stream), abs=1e-5)


@given(st.integers(3, 30), st.integers(1, 12), st.integers(0, 5))
def test_the_effective_rank_is_that_of_the_singular_values(tokens, width, seed):
    stream = torch.randn(tokens, width, generator=torch.Generator().manual_seed(seed))
    assert effective_rank(stream).item() == pytest.approx(slow_rank(stream), rel=1e-5)


def test_equal_tokens_have_cosine_one_and_rank_one():
    generator = torch.Generator().manual_seed(0)
    token = 7 + torch.randn(1, 1, 10, generator=generator)
    stream = token.expand(4, 12, 10)
    assert token_cosine(stream).item() == pytest.approx(1, abs=1e-6)
    assert effective_rank(stream.flatten(0, 1)).item() == pytest.approx(1)
    but_for_rounding = stream + 2e-7 * torch.randn(4, 12, 10, generator=generator)
    assert effective_rank(but_for_rounding.flatten(0, 1)).item() == pytest.approx(1)
    along_one_line = token + torch.randn(4, 12, 1, generator=generator) * token.roll(1)
    assert effective_rank(along_one_line.flatten(0, 1)).item() == pytest.approx(1, abs=1e-2)


def test_opposite_tokens_have_cosine_minus_one():
    stream = torch.tensor([[[1.0, 2.0], [-2.0, -4.0]]])
    assert token_cosine(stream).item() == pytest.approx(-1)


def test_the_share_of_two_channels():
    inputs = torch.ones(3, 4, 5) * torch.tensor([1.0, 10.0, 1.0, 5.0, 1.0])
    assert channel_share(inputs).item() == pytest.approx(125 / 128)
    assert measured(view_of(TRANSFORMER))["channel_share", ""] < 0.6
    assert ("channel_share", "") not in measured(view_of(TRANSFORMER, channels=2))


def test_one_token_has_no_other():
    found = measured(view_of(TRANSFORMER, time=1))
    assert not [place for name, place in found if name == "token_cosine"]
    assert ("stream_rms", "blocks.1") in found


def test_a_stream_that_is_not_a_number_is_left_out():
    view = view_of(TRANSFORMER)
    view.left["blocks.0"][0, 0, 0] = torch.nan
    view.left["blocks.1"][0, 0, 0] = torch.inf
    found = measured(view)
    names = ("stream_rms", "token_cosine", "effective_rank")
    hidden = {f"blocks.{index}.feed_forward.activation" for index in (0, 1)}
    assert {place for name, place in found if name in names} == {"positions", *hidden}
    view.left["blocks.1.feed_forward.activation"][0, 0, 0] = torch.nan
    assert ("effective_rank", "blocks.1.feed_forward.activation") not in measured(view)


def test_a_model_without_blocks_has_its_inputs_alone():
    model = nn.Sequential(nn.Flatten(), nn.Linear(TIME * CHANNELS, 1))
    inputs = torch.randn(WINDOWS, TIME, CHANNELS, generator=torch.Generator().manual_seed(0))
    found = measured(look(model, inputs, torch.zeros(WINDOWS, 1, 1)))
    assert set(found) == {("channel_share", "")}


def test_every_reading_is_declared_and_a_plain_number():
    readings = list(ACTIVATIONS.measure(view_of(TRANSFORMER)))
    declared = {signal.name for signal in ACTIVATIONS.signals}
    assert {reading.name for reading in readings} == declared
    assert {type(reading.value) for reading in readings} == {float}
