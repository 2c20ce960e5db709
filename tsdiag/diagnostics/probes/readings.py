"""From tensors to readings: one transfer from the device per family, and finite numbers only."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

import torch
from torch import Tensor

from tsdiag.diagnostics.probes.probe import Reading

# By signal and place; one number, or one per head in a tensor of one axis.
Found = dict[tuple[str, str], Tensor]


def readings(found: Mapping[tuple[str, str], Tensor]) -> list[Reading]:
    """Return what was found in order, without what is not finite.

    A number of several gets its index behind the place, as in ``blocks.0.attention[3]``.
    """
    if not found:
        return []
    keys = [
        (name, f"{where}[{index}]" if value.dim() else where)
        for (name, where), value in found.items()
        for index in range(value.numel())
    ]
    values = torch.cat([value.double().reshape(-1) for value in found.values()]).tolist()
    return [
        Reading(name, value, where)
        for (name, where), value in zip(keys, values, strict=True)
        if isfinite(value)
    ]
