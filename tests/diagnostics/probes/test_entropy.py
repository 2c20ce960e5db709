"""Entropy without patterns against the patterns themselves."""

from __future__ import annotations

from math import log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tsdiag.diagnostics.probes import entropy as probe
from tsdiag.diagnostics.probes.entropy import attention_entropy, why_not_fused


def slow_entropy(query, key, scale):
    """Return the entropy of every query [nats], pattern by pattern, in float64."""
    batch, heads, tokens, _ = query.shape
    key = key.expand_as(query)
    found = torch.zeros(batch, heads, tokens, dtype=torch.float64)
    for b in range(batch):
        for h in range(heads):
            for t in range(tokens):
                scores = scale * key[b, h].double() @ query[b, h, t].double()
                pattern = scores.softmax(dim=0)
                found[b, h, t] = -(pattern * scores.log_softmax(dim=0)).nansum()
    return found


def queries_and_keys(*shape, spread=1.0, offset=0.0, seed=0, dtype=torch.float32):
    """Return both such that the logits deviate by about ``spread`` at scale dim ** -0.5."""
    generator = torch.Generator().manual_seed(seed)
    query = spread * torch.randn(*shape, generator=generator, dtype=dtype)
    key = torch.randn(*shape, generator=generator, dtype=dtype)
    shift = torch.randn(*shape[:2], 1, shape[-1], generator=generator, dtype=dtype)
    return query, key + offset * shift


@given(
    batch=st.integers(1, 3),
    heads=st.integers(1, 3),
    tokens=st.integers(1, 40),
    dim=st.integers(1, 20),
    spread=st.floats(0, 30),
)
def test_it_is_the_entropy_of_the_patterns_at_any_shape(batch, heads, tokens, dim, spread):
    query, key = queries_and_keys(batch, heads, tokens, dim, spread=spread, dtype=torch.float64)
    found = attention_entropy(query, key, dim**-0.5)
    assert (found - slow_entropy(query, key, dim**-0.5)).abs().max() < 1e-11


@pytest.mark.parametrize("dim", [16, 34, 64])
@pytest.mark.parametrize("offset", [0, 10])
@pytest.mark.parametrize(("spread", "error"), [(1, 2e-5), (5, 2e-5), (60, 1e-3)])
def test_float32_is_accurate_enough(dim, offset, spread, error):
    query, key = queries_and_keys(1, 2, 240, dim, spread=spread, offset=offset)
    found = attention_entropy(query, key, dim**-0.5)
    assert (found - slow_entropy(query, key, dim**-0.5)).abs().max() < error


def test_float32_is_accurate_enough_over_many_tokens():
    query, key = queries_and_keys(1, 1, 2048, 34, spread=5, offset=10)
    found = attention_entropy(query, key, 34**-0.5)
    assert (found - slow_entropy(query, key, 34**-0.5)).abs().max() < 2e-5


def test_a_key_that_all_heads_share_need_not_be_repeated():
    query, key = queries_and_keys(2, 3, 9, 5)
    shared = key[:, :1]
    expected = slow_entropy(query, shared, 0.7)
    assert torch.allclose(attention_entropy(query, shared, 0.7).double(), expected, atol=1e-5)
    repeated = shared.expand_as(query)
    assert torch.allclose(attention_entropy(query, repeated, 0.7).double(), expected, atol=1e-5)


def test_axes_may_lie_in_memory_in_any_order():
    query, key = (part.transpose(2, 3) for part in queries_and_keys(2, 3, 5, 9))
    found = attention_entropy(query, key, 0.7)
    assert torch.allclose(found.double(), slow_entropy(query, key, 0.7), atol=1e-5)


def test_uniform_patterns_have_the_entropy_of_all_keys():
    query, key = queries_and_keys(1, 1, 24, 4)
    assert torch.allclose(attention_entropy(0 * query, key, 1.0), torch.tensor(log(24)))


def test_one_hot_patterns_have_none_and_never_less():
    found = attention_entropy(1e4 * torch.eye(24)[None, None], torch.eye(24)[None, None], 1.0)
    assert found.abs().max() == 0
    query, key = queries_and_keys(4, 4, 60, 16, spread=300)
    assert attention_entropy(query, key, 0.25).min() >= 0


def refuse(query, key, scale):
    raise RuntimeError("no such kernel")


def wrong(query, key, scale):
    return torch.zeros(query.shape[:3])


def not_a_number(query, key, scale):
    return torch.full(query.shape[:3], torch.nan)


@pytest.mark.parametrize(
    ("kernel", "reason"), [(refuse, "no such kernel"), (wrong, "off by"), (not_a_number, "nan")]
)
def test_where_no_kernel_can_be_trusted_some_patterns_are_looked_at(monkeypatch, kernel, reason):
    monkeypatch.setattr(probe, "_fused_entropy", kernel)
    why_not_fused.cache_clear()
    try:
        assert reason in why_not_fused("cpu")
        query, key = queries_and_keys(2, 3, 100, 8)
        found = attention_entropy(query, key, 0.3)
    finally:
        why_not_fused.cache_clear()
    every = slow_entropy(query, key, 0.3)
    assert found.shape == (2, 3, probe.SAMPLED_QUERIES)
    assert torch.allclose(found[..., [0, -1]].double(), every[..., [0, -1]], atol=1e-5)
    assert torch.allclose(found.mean().double(), every.mean(), rtol=0.01)


def test_this_machine_has_a_kernel():
    assert why_not_fused("cpu") is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_computes_the_same():
    assert why_not_fused("cuda") is None
    query, key = queries_and_keys(2, 2, 100, 34, spread=5, offset=10)
    found = attention_entropy(query.cuda(), key.cuda(), 34**-0.5).cpu()
    assert (found - slow_entropy(query, key, 34**-0.5)).abs().max() < 2e-5
