"""Attention against the textbook, head by head."""

import math

import pytest
import torch

from tsdiag.models import attention
from tsdiag.models.attention import Attention, hidden_keys
from tsdiag.models.positions import Rotary

KINDS = pytest.mark.parametrize("kind", ["none", "key", "probability"])
FORMS = pytest.mark.parametrize("head_dim", [4, 16], ids=["plain", "folded"])  # of width 6


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


@KINDS
@FORMS
def test_equal_seeds_give_equal_losses(kind, head_dim):
    def losses():
        torch.manual_seed(0)
        module = Attention(6, 2, head_dim, dropout=0.3, dropout_kind=kind)
        optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
        stream, found = torch.randn(4, 20, 6), []
        for _ in range(4):
            optimizer.zero_grad()
            loss = (module(stream) - stream).square().mean()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    assert losses() == losses()


@KINDS
@FORMS
def test_memory_of_a_forward_pass_is_linear_in_the_tokens(kind, head_dim):
    module = Attention(6, 3, head_dim, dropout=0.3, dropout_kind=kind)

    def held(tokens):
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
            module(torch.randn(2, tokens, 6, requires_grad=True))
        assert max(tensor.numel() for tensor in saved) < 2 * 3 * tokens**2
        return sum(tensor.nbytes for tensor in saved)

    short, middle, long = held(64), held(128), held(256)
    assert long - middle == pytest.approx(2 * (middle - short), rel=0.01)


@KINDS
@FORMS
def test_mixed_precision_leaves_the_patterns_in_float32(kind, head_dim, monkeypatch):
    seen = set()
    for name in ("scaled_dot_product_attention", "dropped_attention"):
        watched = getattr(attention, name)

        def spy(*parts, watched=watched, **settings):
            seen.update(part.dtype for part in parts if isinstance(part, torch.Tensor))
            return watched(*parts, **settings)

        monkeypatch.setattr(attention, name, spy)
    torch.manual_seed(0)
    module, stream = Attention(6, 2, head_dim, dropout=0.3, dropout_kind=kind), torch.randn(4, 9, 6)

    def step(mixed):
        torch.manual_seed(1)
        module.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            given = module(stream)
            given.float().square().sum().backward()  # inside, as some loops have it
        return given, module.value.weight.grad

    precise, mixed = step(False), step(True)
    assert seen == {torch.float32}
    assert mixed[0].dtype == torch.bfloat16
    for rounded, exact in zip(mixed, precise, strict=True):
        assert (rounded - exact).norm() < 0.02 * exact.norm()


@FORMS
def test_queries_and_keys_give_the_logits(head_dim):
    torch.manual_seed(0)
    module = Attention(6, 3, head_dim, scale=0.7)
    stream = torch.randn(2, 9, 6)
    query, key = module.queries_and_keys(stream)
    assert query.shape == key.shape
    parts = [layer(stream).view(2, 9, 3, head_dim) for layer in (module.query, module.key)]
    expected = torch.einsum("bqhd,bkhd->bhqk", *parts)
    torch.testing.assert_close(query @ key.mT, expected)
    with torch.autocast("cpu", torch.bfloat16):
        again = module.queries_and_keys(stream)
    assert torch.equal(again[0], query)
    assert torch.equal(again[1], key)


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
