"""Dropout of pattern entries against the explicit pattern with the same mask."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tsdiag.models import probability_dropout
from tsdiag.models.probability_dropout import dropped_attention


def mask_of(seed, batch, heads, queries, keys, rate):
    """Return the mask with its scale: uniform patterns reading one-hot values show it."""
    torch.manual_seed(seed)
    blank = torch.zeros(batch, heads, max(queries, keys), 1, dtype=torch.float64)
    shown = torch.eye(keys, dtype=torch.float64).expand(batch, heads, keys, keys)
    return keys * dropped_attention(blank[:, :, :queries], blank[:, :, :keys], shown, rate, 1.0)


def explicit(query, key, value, mask, scale):
    return (torch.softmax(scale * query @ key.mT, dim=-1) * mask) @ value


@given(
    batch=st.integers(1, 3),
    heads=st.integers(1, 3),
    queries=st.integers(1, 12),
    keys=st.integers(1, 12),
    dim=st.integers(1, 5),
    rate=st.sampled_from([0.1, 0.3, 0.8]),
    scale=st.sampled_from([0.0, 0.4, 20.0]),
    block=st.sampled_from([1, 17, 60, 300, 1 << 16]),  # part of a row up to many maps
    seed=st.integers(0, 1000),
)
def test_matches_the_explicit_pattern_forward_and_backward(
    batch, heads, queries, keys, dim, rate, scale, block, seed
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probability_dropout, "BLOCK_ENTRIES", block)
        mask = mask_of(seed, batch, heads, queries, keys, rate)
        shapes = [(batch, heads, count, dim) for count in (queries, keys, keys)]
        parts = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
        weights = torch.randn_like(parts[0])
        torch.manual_seed(seed)
        found = dropped_attention(*parts, rate, scale)
        gradients = torch.autograd.grad((found * weights).sum(), parts)
    expected = explicit(*parts, mask, scale)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    wanted = torch.autograd.grad((expected * weights).sum(), parts)
    torch.testing.assert_close(gradients, wanted, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("rate", [0.003, 0.1, 0.5, 0.9])
def test_drops_at_the_rate_everywhere_and_keeps_the_expectation(rate):
    mask = mask_of(0, batch=4, heads=2, queries=256, keys=256, rate=rate)
    dropped = (mask == 0).double()
    deviation = (rate * (1 - rate)) ** 0.5
    # By column as well: four entries share one draw, and each of the four must be uniform.
    for part in (dropped.flatten(), *dropped.view(-1, 4).unbind(1), *dropped.unbind(0)):
        assert abs(part.mean() - rate) < 5 * deviation / part.numel() ** 0.5
    neighbours = (dropped[..., 1:] * dropped[..., :-1]).mean()
    assert neighbours.item() == pytest.approx(rate**2, abs=6 * rate / dropped.numel() ** 0.5)
    assert mask.max().item() * (1 - rate) == pytest.approx(1, rel=2e-4)
    assert mask.mean().item() == pytest.approx(1, abs=5 * deviation / (1 - rate) / 700)


def test_blocks_heads_and_calls_drop_different_entries():
    first = mask_of(0, batch=2, heads=2, queries=200, keys=200, rate=0.5).flatten(0, 1)
    again = mask_of(1, batch=2, heads=2, queries=200, keys=200, rate=0.5).flatten(0, 1)
    masks = (torch.cat((first, again)) > 0).double().flatten(1)
    assert (torch.corrcoef(masks) - torch.eye(8)).abs().max() < 0.03


def test_the_default_generator_governs_the_mask_and_moves_on():
    parts = [torch.randn(2, 2, 8, 3) for _ in range(3)]
    torch.manual_seed(5)
    first, second = (dropped_attention(*parts, 0.5, 1.0) for _ in range(2))
    torch.manual_seed(5)
    with torch.random.fork_rng():
        forked = dropped_attention(*parts, 0.5, 1.0)
    again = dropped_attention(*parts, 0.5, 1.0)
    assert torch.equal(first, again)
    assert torch.equal(first, forked)
    assert not torch.equal(first, second)


def test_draws_between_the_passes_do_not_change_the_backward_pass():
    parts = [torch.randn(2, 2, 8, 3, requires_grad=True) for _ in range(3)]
    torch.manual_seed(5)
    at_once = torch.autograd.grad(dropped_attention(*parts, 0.5, 1.0).sum(), parts)
    torch.manual_seed(5)
    given = dropped_attention(*parts, 0.5, 1.0).sum()
    torch.rand(7)
    assert all(map(torch.equal, torch.autograd.grad(given, parts), at_once))


@pytest.mark.parametrize(("rate", "scale"), [(1 - 1e-9, 1.0), (0.5, 1e6)])
def test_stays_finite_at_the_ends(rate, scale):
    parts = [torch.randn(2, 2, 50, 3, requires_grad=True) for _ in range(3)]
    given = dropped_attention(*parts, rate, scale)
    gradients = torch.autograd.grad(given.sum(), parts)
    assert all(value.isfinite().all() for value in (given, *gradients))
