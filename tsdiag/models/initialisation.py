"""First values of all weights, drawn from one generator and from nothing else.

Linear and convolution weights are Glorot uniform and their biases zero (Glorot and Bengio 2010;
the defaults of Keras). Attention then starts uniform and the residual stream near its input.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@runtime_checkable
class Initialised(Protocol):
    """A module with parameters of its own that are not those of a standard layer."""

    def initialise(self, generator: torch.Generator, scale: float) -> None:
        """Draw the parameters that this module holds itself."""
        ...


def initialise(module: nn.Module, generator: torch.Generator, scale: float = 1.0) -> None:
    """Draw every weight below ``module``; ``scale`` multiplies all drawn weights."""
    for child in module.modules():
        if isinstance(child, Initialised):
            child.initialise(generator, scale)
        elif isinstance(child, nn.Linear | nn.Conv1d):
            nn.init.xavier_uniform_(child.weight, gain=scale, generator=generator)
            if child.bias is not None:
                nn.init.zeros_(child.bias)
        elif isinstance(child, nn.LSTM):
            for name, parameter in child.named_parameters():
                _draw_lstm(name, parameter, generator, scale)


def _draw_lstm(name: str, parameter: Tensor, generator: torch.Generator, scale: float) -> None:
    """Draw one tensor of an LSTM gate by gate: Glorot in, orthogonal across, forget bias 1."""
    gates = parameter.chunk(4)  # input, forget, cell, output: the order in torch.nn.LSTM
    if name.startswith("weight_ih"):
        for gate in gates:
            nn.init.xavier_uniform_(gate, gain=scale, generator=generator)
    elif name.startswith("weight_hh"):
        for gate in gates:
            nn.init.orthogonal_(gate, gain=scale, generator=generator)
    else:
        nn.init.zeros_(parameter)
        if name.startswith("bias_ih"):
            # Jozefowicz et al. 2015: an open forget gate keeps the early gradient alive.
            nn.init.ones_(gates[1])
