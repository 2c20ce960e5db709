"""Gradient norms and directions, against loops over single numbers in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tsdiag.config import ModelConfig, RunConfig
from tsdiag.diagnostics.probes.gradients import GRADIENTS
from tsdiag.diagnostics.probes.probe import Update
from tsdiag.models import Shapes, build

# Beginnings of names: the blocks, and all that the data pass after them.
PARTS = {
    "transformer": (["blocks.0", "blocks.1"], ("final_norm", "pooling", "head")),
    "lstm": (["lstm.layers.0", "lstm.layers.1"], ("dense", "norm", "projection")),
    "encoder": (["encoder.layers.0", "encoder.layers.1"], ("out",)),
    "sequential": ([], ()),
}


def measured(update):
    found = [(r.name, r.where, r.value) for r in GRADIENTS.measure(update)]
    assert all(type(value) is float for *_, value in found)
    numbers = {(name, where): value for name, where, value in found}
    assert len(numbers) == len(found)
    return numbers


def flat(gradients):
    return [number for g in gradients for number in g.double().flatten().tolist()]


def slow_norm(gradients):
    total = 0.0
    for number in flat(gradients):
        total += number**2
    return total**0.5


def slow_attention(kind, gradients):
    """Return the weights' gradients of every attention module, by its path."""
    if kind == "transformer":
        paths = ["blocks.0.attention", "blocks.1.attention"]
        parts = {
            path: [gradients[f"{path}.{part}.weight"] for part in ("query", "key", "value")]
            for path in paths
        }
    elif kind == "encoder":
        paths = ["encoder.layers.0.self_attn", "encoder.layers.1.self_attn"]
        parts = {path: list(gradients[f"{path}.in_proj_weight"].chunk(3)) for path in paths}
    else:
        parts = {}
    return parts


def expected(kind, update):
    found = {name: g for name, g in update.gradients.items() if g is not None}
    blocks, head = PARTS[kind]
    numbers = {("has_gradient", name): float(name in found) for name in update.gradients}
    numbers |= {("tensor_gradient_norm", name): slow_norm([g]) for name, g in found.items()}
    clipped = [g * update.clip_share for g in found.values()]
    numbers["clipped_gradient_norm", ""] = slow_norm(clipped)
    for block in blocks:
        inside = [g for name, g in found.items() if name.startswith(block + ".")]
        numbers["block_gradient_norm", block] = slow_norm(inside)
    is_head = {name: bool(head) and name.startswith(head) for name in found}
    body = slow_norm([g for name, g in found.items() if not is_head[name]])
    numbers["body_gradient_norm", ""] = body
    if head:
        behind = slow_norm([g for name, g in found.items() if is_head[name]])
        numbers["head_gradient_norm", ""] = behind
        numbers["body_head_gradient_ratio", ""] = body / behind
    for path, (query, key, value) in slow_attention(kind, found).items():
        numbers["query_key_gradient_norm", path] = slow_norm([query, key])
        numbers["value_gradient_norm", path] = slow_norm([value])
    if update.previous is not None:
        now = np.array(flat(found[name] for name in update.previous))
        before = np.array(flat(update.previous.values()))
        cosine = now @ before / np.linalg.norm(now) / np.linalg.norm(before)
        numbers["gradient_cosine", ""] = cosine
    return numbers


@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_every_number_is_that_of_the_slow_way(kind, model, update_of, clip):
    update = update_of(model, clip=clip)
    assert (update.clip_share < 1) == (clip > 0)
    # Cosines of unrelated batches are sums that cancel, hence the absolute part.
    assert measured(update) == pytest.approx(expected(kind, update), rel=1e-5, abs=1e-7)


def test_norms_after_clipping_are_those_that_the_optimizer_saw(model, update_of):
    update = update_of(model, clip=0.05)
    used = slow_norm([p.grad for p in model.parameters()])
    assert measured(update)["clipped_gradient_norm", ""] == pytest.approx(used, rel=1e-5)
    assert used == pytest.approx(0.05, rel=1e-5)


def test_a_tensor_without_a_gradient_has_no_norm(kind, model, update_of):
    frozen = next(iter(dict(model.named_parameters())))
    dict(model.named_parameters())[frozen].requires_grad_(False)
    update = update_of(model)
    found = measured(update)
    assert found["has_gradient", frozen] == 0.0
    assert ("tensor_gradient_norm", frozen) not in found
    assert found == pytest.approx(expected(kind, update), rel=1e-5, abs=1e-7)


def test_a_gradient_of_zero_is_there(update_of):
    model = nn.Sequential(nn.Flatten(), nn.Linear(60, 1), nn.Unflatten(1, (1, 1)))
    update = update_of(model)
    zeros = {name: torch.zeros_like(g) for name, g in update.gradients.items()}
    found = measured(replace(update, gradients=zeros))
    assert found["has_gradient", "1.weight"] == 1.0
    assert found["tensor_gradient_norm", "1.weight"] == 0.0
    assert ("gradient_cosine", "") not in found


def test_no_gradient_at_all_is_told(model, update_of):
    update = update_of(model)
    nothing = dict.fromkeys(update.gradients)
    found = measured(replace(update, gradients=nothing))
    assert found["clipped_gradient_norm", ""] == 0.0
    del found["clipped_gradient_norm", ""]
    assert found == {("has_gradient", name): 0.0 for name in nothing}


def test_frozen_queries_leave_no_comparison():
    model = nn.MultiheadAttention(8, 2, kdim=5, vdim=7, bias=False)
    gradients = {name: torch.ones_like(p) for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters())
    update = Update(model, optimizer, 1e-3, gradients, gradients, None, 1.0)
    found = measured(update)
    assert found["query_key_gradient_norm", ""] == pytest.approx((64 + 40) ** 0.5)
    assert found["value_gradient_norm", ""] == pytest.approx(56**0.5)
    found = measured(replace(update, gradients={**gradients, "q_proj_weight": None}))
    assert not {"query_key_gradient_norm", "value_gradient_norm"} & {name for name, _ in found}


def test_direction_compares_what_both_steps_have(model, update_of):
    update = update_of(model)
    first, *_, last = update.gradients
    found = update.gradients
    half = {name: 0.5 * g for name, g in found.items() if name != last}
    assert measured(replace(update, previous=half))["gradient_cosine", ""] == pytest.approx(1)
    back = {name: -3 * g for name, g in found.items() if name != last}
    without = replace(update, gradients={**found, first: None}, previous=back)
    assert measured(without)["gradient_cosine", ""] == pytest.approx(-1)
    assert ("gradient_cosine", "") not in measured(replace(update, previous=None))


def test_the_bias_of_keys_has_no_gradient(update_of):
    settings = ModelConfig(kind="transformer", dropout=0.0, patch_length=3)
    generator = torch.Generator().manual_seed(0)
    model = build(RunConfig(model=settings), Shapes(12, 5), generator)
    found = measured(update_of(model))
    for block in ("blocks.0", "blocks.1"):
        query = found["tensor_gradient_norm", f"{block}.attention.query.bias"]
        key = found["tensor_gradient_norm", f"{block}.attention.key.bias"]
        assert key < 1e-3 * query


def test_nothing_is_changed(model, update_of):
    update = update_of(model, clip=0.05)
    before = [p.detach().clone() for p in model.parameters()]
    grads = [p.grad.clone() for p in model.parameters()]
    kept = {name: g.clone() for name, g in update.gradients.items()}
    measured(update)
    assert all(map(torch.equal, before, model.parameters()))
    assert all(map(torch.equal, grads, (p.grad for p in model.parameters())))
    assert all(torch.equal(g, kept[name]) for name, g in update.gradients.items())
