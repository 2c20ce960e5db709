"""Dropout is torch's in all but the random bits."""

from __future__ import annotations

import pytest
import torch

from tsdiag.models.dropout import Dropout

SHAPE = (7, 301, 33)  # no multiple of four: the last draw serves fewer entries


def dropped(rate, dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    inputs = torch.ones(SHAPE, dtype=dtype, requires_grad=True)
    return inputs, Dropout(rate)(inputs)


@pytest.fixture(autouse=True)
def _own_generator():
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_drops_at_the_rate_and_keeps_the_expectation(rate, dtype):
    _, given = dropped(rate, dtype)
    assert given.dtype == dtype
    share = (given == 0).double().mean().item()
    n = given.numel()
    assert share == pytest.approx(rate, abs=4 * (rate * (1 - rate) / n) ** 0.5)
    kept = given[given != 0].double()
    rounding = {torch.bfloat16: 4e-3}.get(dtype, 1e-6)
    assert kept.min() == kept.max()
    assert kept.max().item() == pytest.approx(1 / (1 - rate), rel=max(rounding, 2e-4))


def test_no_place_is_favoured():
    kept = sum((dropped(0.5, seed=seed)[1] != 0).double() for seed in range(200)) / 200
    # The four entries of one draw, and the ends: each a fair coin of 200 throws.
    for part in (*kept.flatten()[: SHAPE[0] * 1000].view(-1, 4).mT, kept[0, 0], kept[-1, -1]):
        assert part.mean().item() == pytest.approx(0.5, abs=0.5 / (200 * len(part)) ** 0.5 * 4.5)


def test_neighbours_fall_out_independently():
    flat = (dropped(0.5)[1] != 0).double().flatten() - 0.5
    for lag in (1, 2, 3, 4, 33):
        assert abs((flat[lag:] * flat[:-lag]).mean().item()) < 4.5 * 0.25 / len(flat) ** 0.5


def test_gradients_pass_where_entries_do():
    inputs, given = dropped(0.3)
    given.sum().backward()
    assert torch.equal(inputs.grad, given.detach())


def test_equal_seeds_drop_equal_entries_and_calls_differ():
    assert torch.equal(dropped(0.3)[1], dropped(0.3)[1])
    _, first = dropped(0.3)
    assert not torch.equal(first, Dropout(0.3)(torch.ones(SHAPE)))


def test_nothing_falls_out_or_is_drawn_in_evaluation_or_at_rate_zero():
    state, inputs = torch.get_rng_state(), torch.ones(SHAPE)
    assert Dropout(0.3).eval()(inputs) is inputs
    assert Dropout(0.0)(inputs) is inputs
    assert torch.equal(torch.get_rng_state(), state)


def test_a_transposed_input_is_dropped_entry_by_entry():
    torch.manual_seed(0)
    plain = Dropout(0.4)(torch.ones(5, 6))
    torch.manual_seed(0)
    assert torch.equal(Dropout(0.4)(torch.ones(6, 5).T), plain)
