"""CUDA graphs: all kernels of a small model's pass launched at once, as one recorded graph.

Launching a kernel takes the CPU about 5 microseconds, longer than many of a small model take to
run. A graph replays the same kernels on the same memory, so its batches must have one shape.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def replayed(forward: nn.Module, inputs: Tensor) -> nn.Module:
    """Return a module that replays forward and backward passes for inputs of this shape.

    The given module itself stays as it is: evaluations and hooks go on to work with it, while
    replays call no hooks of its parts. Predictions and gradients lie in the graph's own memory and
    are overwritten by the next pass.
    """
    # A shell, because make_graphed_callables replaces the forward method of what it is given.
    shell = nn.Sequential(forward)
    before = [buffer.clone() for buffer in forward.buffers()]
    # Its warm-up draws dropout and moves running statistics; a run must not see that. Dropout in a
    # graph reads seed and offset of the generator at each replay, so it goes on from there.
    with torch.random.fork_rng(devices=[inputs.device]):
        torch.cuda.make_graphed_callables(shell, (inputs.clone(),), allow_unused_input=True)
    with torch.no_grad():
        for buffer, value in zip(forward.buffers(), before, strict=True):
            buffer.copy_(value)
    return shell
