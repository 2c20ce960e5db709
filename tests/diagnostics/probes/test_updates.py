"""What a step did to the weights, against loops over single numbers in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn, optim

from tsdiag.diagnostics.probes.updates import UPDATES


def measured(update):
    found = [(r.name, r.where, r.value) for r in UPDATES.measure(update)]
    assert all(type(value) is float for *_, value in found)
    numbers = {(name, where): value for name, where, value in found}
    assert len(numbers) == len(found)
    return numbers


def slow_norm(tensors):
    return sum(x * x for t in tensors for x in t.detach().double().flatten().tolist()) ** 0.5


def expected(update):
    """Return all but the decay's share, which the kinds of optimizers differ in."""
    numbers, weights, moves = {}, [], []
    held = [id(p) for group in update.optimizer.param_groups for p in group["params"]]
    for name, parameter in update.model.named_parameters():
        before, moved = update.before[name], parameter - update.before[name]
        numbers["trainable", name] = float(parameter.requires_grad)
        numbers["owned", name] = float(id(parameter) in held)
        numbers["changed", name] = float(not torch.equal(parameter, before))
        numbers["weight_norm", name] = slow_norm([before])
        numbers["update_ratio", name] = slow_norm([moved]) / slow_norm([before])
        if id(parameter) in held:
            weights.append(before)
            moves.append(moved)
    numbers["global_update_ratio", ""] = slow_norm(moves) / slow_norm(weights)
    return numbers


@pytest.mark.parametrize("clip", [0.0, 0.05])
@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_every_number_is_that_of_the_slow_way(model, name, clip, update_of):
    update = update_of(model, name=name, clip=clip, weight_decay=0.0, lr=0.01)
    assert measured(update) == pytest.approx(expected(update), rel=1e-5)


def test_what_the_optimizer_leaves_out(model, update_of):
    named = dict(model.named_parameters())
    first, second, *_, last = named
    named[first].requires_grad_(False)
    held = [parameter for name, parameter in named.items() if name != last]
    update = update_of(model, optim.Adam(held, lr=0.01))
    found = measured(update)
    assert found == pytest.approx(expected(update), rel=1e-5)
    facts = [
        tuple(found[fact, name] for fact in ("trainable", "owned", "changed"))
        for name in (first, second, last)
    ]
    assert facts == [(0, 1, 0), (1, 1, 1), (1, 0, 0)]


def test_nothing_held_has_no_ratio_of_all(model, update_of):
    other = nn.Linear(1, 1)
    update = update_of(model, optim.SGD(other.parameters(), lr=0.1))
    found = measured(update)
    assert ("global_update_ratio", "") not in found
    assert {value for (name, _), value in found.items() if name in ("owned", "changed")} == {0.0}


def line(weights, lr=0.1, **settings):
    """Return a layer with weights of choice and its optimizer; only the weight decays."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(60, 1), nn.Unflatten(1, (1, 1)))
    with torch.no_grad():
        model[1].weight.copy_(weights)
        model[1].bias.zero_()
    groups = [
        {"params": [model[1].weight], **settings},
        {"params": [model[1].bias], "weight_decay": 0.0},
    ]
    return model, groups, lr


def test_a_tensor_of_zeros_has_no_ratio(update_of):
    model, groups, lr = line(torch.zeros(1, 60))
    update = update_of(model, optim.SGD(groups, lr=lr))
    zeros = {name: torch.zeros_like(value) for name, value in update.before.items()}
    found = measured(replace(update, before=zeros))
    assert found["weight_norm", "1.bias"] == 0.0
    assert found["changed", "1.bias"] == 1.0
    assert "update_ratio" not in {name for name, _ in found}
    assert ("global_update_ratio", "") not in found


def test_the_smallest_change_is_a_change(update_of):
    model, groups, _ = line(torch.zeros(1, 60))
    update = update_of(model, optim.SGD(groups, lr=1e-35))
    found = measured(update)
    assert 0 < float(model[1].weight.detach().abs().max()) < 1e-30  # its square is 0 in float32
    assert found["changed", "1.weight"] == 1.0


def shares(update):
    return {where: v for (name, where), v in measured(update).items() if name == "decay_share"}


@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_decoupled_decay_against_the_whole_step(model, update_of, clip):
    update = update_of(model, name="adamw", lr=0.01, weight_decay=0.3, clip=clip)
    slow = {}
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            before = update.before[name]
            pull = slow_norm([0.01 * 0.3 * before])
            slow[name] = pull / slow_norm([parameter - before])
    assert shares(update) == pytest.approx(slow, rel=1e-5)
    assert slow


@pytest.mark.parametrize("clip", [0.0, 0.05])
@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_coupled_decay_against_the_whole_gradient(model, update_of, name, clip):
    update = update_of(model, name=name, lr=0.01, weight_decay=0.3, clip=clip)
    slow = {}
    for where, parameter in model.named_parameters():
        if parameter.ndim > 1:
            pull = 0.3 * update.before[where]
            slow[where] = slow_norm([pull]) / slow_norm([pull + parameter.grad])
    assert shares(update) == pytest.approx(slow, rel=1e-5)
    assert slow


def test_for_plain_descent_both_readings_are_one(update_of):
    model, groups, lr = line(torch.linspace(-1, 1, 60)[None], weight_decay=0.7)
    update = update_of(model, optim.SGD(groups, lr=lr))
    moved = model[1].weight - update.before["1.weight"]
    share = lr * 0.7 * slow_norm([update.before["1.weight"]]) / slow_norm([moved])
    assert shares(update) == pytest.approx({"1.weight": share}, rel=1e-4)


@pytest.mark.parametrize("kind", [optim.AdamW, optim.SGD])
def test_nothing_but_decay_is_a_share_of_one(update_of, kind):
    model, groups, lr = line(torch.ones(1, 60), weight_decay=0.5)
    nn.Module.register_forward_hook(model, lambda module, given, returned: returned * 0)
    update = update_of(model, kind(groups, lr=lr))
    assert shares(update) == pytest.approx({"1.weight": 1.0}, rel=1e-4)


@pytest.mark.parametrize("optimizer", [optim.AdamW, optim.SGD])
def test_without_a_gradient_nothing_decays(model, update_of, optimizer):
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.ndim == 1)
    everything = optimizer(model.parameters(), lr=0.01, weight_decay=0.5)
    update = update_of(model, everything)
    vectors = {name for name, p in model.named_parameters() if p.ndim == 1}
    assert set(shares(update)) == vectors


def test_nothing_is_changed(model, update_of):
    update = update_of(model, name="sgd", weight_decay=0.5, clip=0.05)
    places = [*model.parameters(), *update.before.values(), *update.gradients.values()]
    kept = [place.detach().clone() for place in places]
    measured(update)
    assert all(map(torch.equal, kept, places))
