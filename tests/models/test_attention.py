"""Attention against the textbook, head by head."""

import math

import pytest
import torch

from tsdiag.models.attention import Attention, hidden_keys
from tsdiag.models.positions import Rotary


def slow_attention(module, stream, scale):
    """Vaswani et al. 2017, equation 1, for one head at a time."""
    width = module.query.out_features // module.n_heads
    gathered = []
    for head in range(module.n_heads):
        part = slice(head * width, (head + 1) * width)
        query, key, value = (
            stream @ layer.weight[part].T + layer.bias[part]
            for layer in (module.query, module.key, module.value)
        )
        scores = torch.exp(scale * query @ key.transpose(1, 2))
        gathered.append(scores / scores.sum(dim=-1, keepdim=True) @ value)
    return torch.cat(gathered, dim=-1) @ module.output.weight.T + module.output.bias


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize(("n_heads", "head_dim"), [(1, 4), (3, 8), (2, 64)])
def test_matches_explicit_softmax(n_heads, head_dim, scale):
    torch.manual_seed(0)
    module = Attention(6, n_heads, head_dim, scale=scale).double()
    stream = torch.randn(2, 9, 6, dtype=torch.float64)
    expected = slow_attention(module, stream, scale or 1 / math.sqrt(head_dim))
    torch.testing.assert_close(module(stream), expected)


def test_qk_norm_bounds_the_scores():
    torch.manual_seed(0)
    module = Attention(6, 2, 8, qk_norm=True)
    stream = torch.randn(2, 5, 6)
    expected = module(stream)
    with torch.no_grad():
        module.query.weight *= 100
        module.query.bias *= 100
    torch.testing.assert_close(module(stream), expected)


def test_hides_the_asked_share_of_keys_and_nothing_else():
    torch.manual_seed(0)
    mask = hidden_keys(torch.zeros(50, 4, 100, 8), rate=0.3)
    assert mask.shape == (50, 4, 1, 100)
    assert abs((mask < 0).double().mean() - 0.3) < 0.01
    assert (mask[mask >= 0] == 0).all()


def test_survives_when_every_key_is_hidden():
    module = Attention(4, 1, 4, dropout=0.999, dropout_kind="key")
    assert module(torch.randn(8, 3, 4)).isfinite().all()


@pytest.mark.parametrize("kind", ["key", "probability"])
def test_dropout_acts_in_training_only(kind):
    torch.manual_seed(0)
    module = Attention(4, 2, 4, dropout=0.5, dropout_kind=kind)
    stream = torch.randn(2, 12, 4)
    assert not torch.equal(module(stream), module(stream))
    assert torch.equal(module.eval()(stream), module(stream))


def test_rotary_turns_pairs_by_position():
    rotary = Rotary(tokens=5, head_dim=6)
    heads = torch.randn(1, 1, 5, 6)
    turned = rotary(heads)
    for position in range(5):
        for pair in range(3):
            angle = position * 10_000 ** (-pair / 3)
            a, b = heads[0, 0, position, pair], heads[0, 0, position, pair + 3]
            expected = a * math.cos(angle) - b * math.sin(angle)
            torch.testing.assert_close(turned[0, 0, position, pair], expected)
            expected = a * math.sin(angle) + b * math.cos(angle)
            torch.testing.assert_close(turned[0, 0, position, pair + 3], expected)


def test_rotary_products_depend_on_distance_alone():
    rotary = Rotary(tokens=12, head_dim=8)
    query, key = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)
    products = rotary(query.expand(1, 1, 12, 8)) @ rotary(key.expand(1, 1, 12, 8)).mT
    for distance in range(-11, 12):
        same = products[0, 0].diagonal(distance)
        torch.testing.assert_close(same, same[:1].expand_as(same), rtol=1e-4, atol=1e-5)
