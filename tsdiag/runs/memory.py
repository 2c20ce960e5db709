"""How much memory a run will take, measured on a sketch of it before it starts."""

from __future__ import annotations

import psutil
import torch
from torch import Tensor, nn

from tsdiag.config import RunConfig
from tsdiag.models import Shapes, count_parameters
from tsdiag.runs.cgroup import left_bytes

# Weights, gradients, two moments of Adam and the best weights so far: five copies of 4 bytes.
_BYTES_PER_PARAMETER = 5 * 4
# Windows of the sketches: batch normalisation refuses to train on a single one.
_SKETCHES = (2, 4)


def available_bytes(device: torch.device, sharers: int = 1) -> int:
    """Return what one of several processes may take of the free memory [bytes].

    In a container, of what its limit leaves.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * 0.9) // sharers
    free, left = psutil.virtual_memory().available, left_bytes()
    return int((free if left is None else min(free, left)) * 0.9) // sharers


def parameter_bytes(config: RunConfig, shapes: Shapes) -> int:
    """Return the memory of weights and optimizer without allocating any of it [bytes]."""
    return count_parameters(config, shapes) * _BYTES_PER_PARAMETER


def activation_bytes(model: nn.Module, shapes: Shapes, batch_size: int) -> int:
    """Return what the backward pass of a batch keeps, by forward passes of a few windows [bytes].

    Two of them, because not all of it grows with the batch: what folds wide heads does not.
    """
    few, more = (_kept_bytes(model, shapes, windows) for windows in _SKETCHES)
    each = (more - few) // (_SKETCHES[1] - _SKETCHES[0])
    return few + each * (batch_size - _SKETCHES[0])


def _kept_bytes(model: nn.Module, shapes: Shapes, windows: int) -> int:
    kept: dict[int, int] = {}
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    inputs = torch.zeros(windows, shapes.context_length, shapes.channels)
    with (
        torch.random.fork_rng(devices=[]),
        torch.autograd.graph.saved_tensors_hooks(note, lambda t: t),
    ):
        output = model(inputs)
    del output
    return sum(kept.values())
