"""Positions, embeddings, poolings and window norm against loops and formulas."""

import math

import pytest
import torch

from tsdiag.models.embedding import embedding
from tsdiag.models.normalisation import WindowNorm
from tsdiag.models.pooling import pooling
from tsdiag.models.positions import Sinusoidal


@pytest.mark.parametrize("width", [6, 7])
def test_sinusoids_follow_the_formula(width):
    table = Sinusoidal(tokens=4, width=width).table
    pairs = math.ceil(width / 2)
    for position in range(4):
        for column in range(width):
            angle = position / 10_000 ** ((column // 2) / pairs)
            expected = math.cos(angle) if column % 2 else math.sin(angle)
            assert table[position, column].item() == pytest.approx(expected, abs=1e-6)


def test_poolings_match_loops():
    torch.manual_seed(0)
    stream = torch.randn(2, 3, 4)
    results = {}
    for kind in ("mean_time", "last", "flatten", "mean_channels", "attention"):
        module, width = pooling(kind, tokens=3, width=4)
        results[kind] = module(stream)
        assert results[kind].shape == (2, width)
    weights = torch.exp(stream @ module.score.weight[0])
    for row in range(2):
        tokens = [stream[row, token] for token in range(3)]
        torch.testing.assert_close(results["mean_time"][row], sum(tokens) / 3)
        torch.testing.assert_close(results["last"][row], tokens[2])
        torch.testing.assert_close(results["flatten"][row], torch.cat(tokens))
        means = torch.stack([token.mean() for token in tokens])
        torch.testing.assert_close(results["mean_channels"][row], means)
        weighted = sum(w * token for w, token in zip(weights[row], tokens, strict=True))
        torch.testing.assert_close(results["attention"][row], weighted / weights[row].sum())


def test_patches_end_at_the_last_row_and_repeat_the_oldest():
    module = embedding("patch", context_length=5, channels=2, width=3, patch_length=4)
    window = torch.randn(1, 5, 2)
    rows = [window[0, max(0, row)] for row in range(-3, 5)]
    expected = torch.stack(
        [module.project(torch.cat(rows[:4])), module.project(torch.cat(rows[4:]))]
    )
    torch.testing.assert_close(module(window)[0], expected)


def test_inverted_makes_a_token_of_each_channel():
    module = embedding("inverted", context_length=5, channels=2, width=3, patch_length=1)
    window = torch.randn(1, 5, 2)
    torch.testing.assert_close(module(window)[0, 1], module.project(window[0, :, 1]))


def test_conv_sees_the_row_and_its_neighbours():
    module = embedding("conv", context_length=5, channels=2, width=3, patch_length=1)
    window = torch.randn(1, 5, 2)
    kernel, bias = module.project.weight, module.project.bias
    tokens = module(window)[0]
    for row in range(5):
        near = [window[0, min(4, max(0, row + away))] for away in (-1, 0, 1)]
        expected = bias + sum(kernel[:, :, at] @ near[at] for at in range(3))
        torch.testing.assert_close(tokens[row], expected)


def test_window_norm_forgets_level_and_scale_of_each_channel():
    norm, window = WindowNorm(3), torch.randn(2, 50, 3)
    normed = norm(window)
    torch.testing.assert_close(normed.mean(dim=1), torch.zeros(2, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        norm(window * torch.tensor([1.0, 5.0, 20.0]) + 7), normed, rtol=1e-3, atol=1e-3
    )
