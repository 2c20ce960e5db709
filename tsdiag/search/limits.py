"""Configurations that would not fit in memory: refused before they start, and by how much."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from tsdiag.config import RunConfig
from tsdiag.models import Shapes, build
from tsdiag.runs.memory import activation_bytes, available_bytes, parameter_bytes

_GIB = 2**30


@dataclass(frozen=True)
class Refusal:
    """Why a configuration cannot run, and by how much it misses (0 would be feasible)."""

    reason: str
    constraints: dict[str, float]


def refuse_oversized(
    config: RunConfig, shapes: Shapes, device: torch.device, sharers: int
) -> Refusal | None:
    """Return a refusal where weights and activations exceed this worker's share of memory.

    The constraint is log2(needed / available), so that a sampler learns which way is smaller.
    """
    limit = available_bytes(device, sharers)
    needed = parameter_bytes(config, shapes)
    if needed <= limit:
        model = build(config, shapes, torch.Generator().manual_seed(0))
        training = config.training
        at_once = min(training.micro_batch or training.batch_size, training.batch_size)
        needed += activation_bytes(model, shapes, at_once)
    if needed <= limit:
        return None
    return Refusal(
        f"needs about {needed / _GIB:.1f} GiB of memory, {limit / _GIB:.1f} GiB are there for it",
        {"memory": math.log2(needed / max(limit, 1))},
    )


def refuse_after(error: BaseException) -> Refusal | None:
    """Return a refusal where an exception says that memory ran out after all."""
    ran_out = isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "allocate memory" in str(error)
    )
    # The estimate said that it fits, so it misses by little.
    return Refusal(f"ran out of memory: {error}"[:500], {"memory": 0.1}) if ran_out else None
