"""Gradients of one step: per tensor, block and part, against clipping and against the last step.

Read from ``p.grad`` and before clipping. The bias of attention keys has a gradient of zero by
algebra (the softmax does not see what all keys share), so its norm is rounding noise in every
healthy model; rules leave it out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import hypot, isfinite

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tsdiag.diagnostics.probes.anatomy import anatomy, block_of
from tsdiag.diagnostics.probes.probe import Probe, Reading, Update
from tsdiag.diagnostics.signals import SignalName

UNIT = "loss per weight"
SIGNALS = (
    SignalName("has_gradient", "0 or 1", "whether backpropagation reached the tensor", "update"),
    SignalName("tensor_gradient_norm", UNIT, "L2 norm of a tensor's gradient", of="update"),
    SignalName("block_gradient_norm", UNIT, "L2 norm over all tensors of a block", of="update"),
    SignalName("body_gradient_norm", UNIT, "L2 norm up to the last block", of="update"),
    SignalName("head_gradient_norm", UNIT, "L2 norm behind the last block", of="update"),
    SignalName(
        "body_head_gradient_ratio", "ratio", "body's gradient norm over the head's", "update"
    ),
    SignalName("clipped_gradient_norm", UNIT, "L2 norm of all gradients after clipping", "update"),
    SignalName("query_key_gradient_norm", UNIT, "L2 norm of W_Q and W_K of a module", of="update"),
    SignalName("value_gradient_norm", UNIT, "L2 norm of W_V of the same module", of="update"),
    SignalName(
        "gradient_cosine",
        "cosine",
        "direction against the previous step's: near 1 walks straight on, below 0 turns back",
        of="update",
    ),
)

AnyShape = Float[Tensor, "..."]


@dataclass(frozen=True)
class Projections:
    """Gradients of one attention module's weights, without biases."""

    path: str
    query_key: tuple[Float[Tensor, "_ _"], ...]
    value: Float[Tensor, "_ _"]


def measure(update: Update) -> list[Reading]:
    """Return the norms of one step; a gradient of None has no norm, which is not one of zero."""
    return [reading for reading in _readings(update) if isfinite(reading.value)]


def _readings(update: Update) -> Iterator[Reading]:
    found = {name: g for name, g in update.gradients.items() if g is not None}
    attention = list(_attention(update.model, found))
    # A resumed run has the step before on the CPU.
    previous = {
        name: g.to(found[name].device)
        for name, g in (update.previous or {}).items()
        if name in found
    }
    slices = [part for module in attention for part in (*module.query_key, module.value)]
    # One transfer from the device for all numbers; sums over tensors are then taken in float64.
    norms, parts, before, products = _lengths(
        [list(found.values()), slices, list(previous.values())],
        [torch.dot(found[name].flatten(), g.flatten()) for name, g in previous.items()],
    )
    by_name = dict(zip(found, norms, strict=True))
    for name in update.gradients:
        yield Reading("has_gradient", float(name in found), name)
    for name, norm in by_name.items():
        yield Reading("tensor_gradient_norm", norm, name)
    yield Reading("clipped_gradient_norm", update.clip_share * hypot(*norms))
    yield from _parts(update.model, by_name)
    yield from _specialisation(attention, parts)
    lengths = hypot(*(by_name[name] for name in previous)) * hypot(*before)
    if lengths > 0:
        yield Reading("gradient_cosine", sum(products) / lengths)


def _parts(model: nn.Module, norms: Mapping[str, float]) -> Iterator[Reading]:
    """Yield the norms of blocks, body and head, as far as a model has them."""
    whole = anatomy(model)
    blocks: dict[str, list[float]] = {}
    for name, norm in norms.items():
        if (block := block_of(name, whole.blocks)) is not None:
            blocks.setdefault(block, []).append(norm)
    for block, members in blocks.items():
        yield Reading("block_gradient_norm", hypot(*members), block)
    body = [norms[name] for name in whole.body if name in norms]
    head = [norms[name] for name in whole.head if name in norms]
    if body:
        yield Reading("body_gradient_norm", hypot(*body))
    if head:
        yield Reading("head_gradient_norm", hypot(*head))
    if body and any(head):
        yield Reading("body_head_gradient_ratio", hypot(*body) / hypot(*head))


def _specialisation(attention: Iterable[Projections], norms: list[float]) -> Iterator[Reading]:
    """Yield Q and K against V: attention that never specialises starves the former."""
    remaining = iter(norms)
    for module in attention:
        query_key = [next(remaining) for _ in module.query_key]
        yield Reading("query_key_gradient_norm", hypot(*query_key), module.path)
        yield Reading("value_gradient_norm", next(remaining), module.path)


def _attention(model: nn.Module, gradients: Mapping[str, AnyShape]) -> Iterator[Projections]:
    """Yield the attention modules of which queries, keys and values all have a gradient."""
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        packed = gradients.get(f"{prefix}in_proj_weight")
        if isinstance(module, nn.MultiheadAttention) and packed is not None:
            # Rows of queries, keys and values on top of each other.
            query_key, value = torch.split(packed, [2 * module.embed_dim, module.embed_dim])
            yield Projections(path, (query_key,), value)
            continue
        names = _weight_names(module)
        weights = [gradients[prefix + name] for name in names if prefix + name in gradients]
        if len(weights) == 3:
            yield Projections(path, (weights[0], weights[1]), weights[2])


def _weight_names(module: nn.Module) -> tuple[str, ...]:
    """Return where a module would keep the weights of its queries, keys and values."""
    if isinstance(module, nn.MultiheadAttention):  # keys or values of another width
        return ("q_proj_weight", "k_proj_weight", "v_proj_weight")
    parts = ("query", "key", "value")
    is_attention = all(isinstance(getattr(module, part, None), nn.Linear) for part in parts)
    return tuple(f"{part}.weight" for part in parts) if is_attention else ()


def _lengths(groups: list[list[AnyShape]], numbers: list[Float[Tensor, ""]]) -> list[list[float]]:
    """Return the L2 norms of groups of tensors, and behind them numbers as they are."""
    tensors = [tensor for group in groups for tensor in group]
    if not tensors:
        return [[] for _ in (*groups, numbers)]
    flat = iter(torch.stack([*torch._foreach_norm(tensors), *numbers]).tolist())
    return [[next(flat) for _ in group] for group in (*groups, numbers)]


GRADIENTS = Probe("gradients", "standard", Update, SIGNALS, measure)
