"""What one optimizer step did to the weights: how far, to which, and how much of it was decay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import hypot, isfinite
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tsdiag.diagnostics.probes.probe import Probe, Reading, Update
from tsdiag.diagnostics.signals import SignalName

SIGNALS = (
    SignalName("trainable", "0 or 1", "whether the tensor asks for a gradient at all", "update"),
    SignalName("owned", "0 or 1", "whether the optimizer holds the tensor", of="update"),
    SignalName("changed", "0 or 1", "whether the step changed any of its numbers", of="update"),
    SignalName("weight_norm", "weight", "L2 norm of a tensor before the step", of="update"),
    SignalName(
        "update_ratio",
        "ratio",
        "length of the change over that of the tensor; no reading where the tensor was all zero, "
        "and large for biases that have just left it",
        of="update",
    ),
    SignalName(
        "global_update_ratio", "ratio", "the same over all that the optimizer holds", of="update"
    ),
    SignalName(
        "decay_share",
        "ratio",
        "length of weight decay's part over that of the whole: 1 is nothing but decay, 0 none",
        of="update",
    ),
)

AnyShape = Float[Tensor, "..."]


@dataclass(frozen=True)
class Change:
    """Of one tensor, before a step: L2 norms, and the largest change of a single weight."""

    weight: float
    update: float
    largest: float


def measure(update: Update) -> list[Reading]:
    """Return what happened to each tensor and to all together."""
    return [reading for reading in _readings(update) if isfinite(reading.value)]


def _readings(update: Update) -> Iterator[Reading]:
    changes = _changes(update)
    groups = _groups(update)
    for name, parameter in update.model.named_parameters():
        change = changes[name]
        yield Reading("trainable", float(parameter.requires_grad), name)
        yield Reading("owned", float(name in groups), name)
        yield Reading("changed", float(change.largest != 0), name)
        yield Reading("weight_norm", change.weight, name)
        if change.weight > 0:
            yield Reading("update_ratio", change.update / change.weight, name)
    weight = hypot(*(changes[name].weight for name in groups))
    if weight > 0:
        moved = hypot(*(changes[name].update for name in groups))
        yield Reading("global_update_ratio", moved / weight)
    yield from _decay(update, groups, changes)


def _decay(
    update: Update, groups: Mapping[str, dict[str, Any]], changes: Mapping[str, Change]
) -> Iterator[Reading]:
    """Yield the share of decay, of tensors that decay: those with a rate of it and a gradient.

    Decoupled decay moves the weights by lr * decay * w beside the optimizer's own step (Loshchilov
    and Hutter 2019, algorithm 2), so it is held against the update. Coupled decay (L2) adds
    decay * w to the gradient and is scaled with it, so it is held against that sum; for plain SGD
    both are the same, and an optimizer that does not say is taken to couple. Above 1 the data push
    against the decay.
    """
    coupled = {}
    for name, group in groups.items():
        decay = group.get("weight_decay", 0.0)
        if decay == 0 or update.gradients.get(name) is None:
            continue
        if group.get("decoupled_weight_decay", False):
            moved = changes[name].update
            if moved > 0:
                pull = float(group["lr"]) * decay * changes[name].weight
                yield Reading("decay_share", pull / moved, name)
        else:
            coupled[name] = decay
    for name, whole in _regularised(update, coupled).items():
        if whole > 0:
            yield Reading("decay_share", coupled[name] * changes[name].weight / whole, name)


def _regularised(update: Update, decay: Mapping[str, float]) -> dict[str, float]:
    """Return the norms of what a coupled optimizer takes as gradients: clipped, with L2 added."""
    if not decay:
        return {}
    gradients = [g for name in decay if (g := update.gradients[name]) is not None]
    weights = torch._foreach_mul([update.before[name] for name in decay], list(decay.values()))
    sums = torch._foreach_add(weights, gradients, alpha=update.clip_share)
    norms = torch.stack(torch._foreach_norm(sums)).tolist()
    return dict(zip(decay, norms, strict=True))


def _groups(update: Update) -> dict[str, dict[str, Any]]:
    """Return the optimizer's group of each parameter that it holds."""
    groups = {id(p): group for group in update.optimizer.param_groups for p in group["params"]}
    named = update.model.named_parameters()
    return {name: groups[id(p)] for name, p in named if id(p) in groups}


def _changes(update: Update) -> dict[str, Change]:
    """Measure all tensors at once, with one transfer from the device."""
    names, after = zip(*update.model.named_parameters(), strict=True)
    before = [update.before[name] for name in names]
    weights, moves, largest = _compare(before, [p.detach() for p in after])
    rows = torch.stack((weights, moves, largest), dim=1).tolist()
    return {name: Change(*row) for name, row in zip(names, rows, strict=True)}


def _compare(
    before: list[AnyShape], after: list[AnyShape]
) -> tuple[Float[Tensor, " tensor"], Float[Tensor, " tensor"], Float[Tensor, " tensor"]]:
    deltas = torch._foreach_sub(after, before)
    # The largest change beside the norm: squares of tiny changes vanish in float32.
    return (
        torch.stack(torch._foreach_norm(before)),
        torch.stack(torch._foreach_norm(deltas)),
        torch.stack(torch._foreach_norm(deltas, float("inf"))),
    )


UPDATES = Probe("updates", "standard", Update, SIGNALS, measure)
