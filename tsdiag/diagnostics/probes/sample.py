"""Fixed windows of a specimen, and what its model says to them."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from tsdiag.data.windows import Windows
from tsdiag.diagnostics.probes.view import undisturbed

AT_ONCE = 64  # windows of one forward pass: no more memory than a training step of that size


def spaced(
    windows: Windows, most: int
) -> tuple[Float[Tensor, "window time channel"], Float[Tensor, "window horizon target"]]:
    """Return inputs and targets of at most ``most`` windows, evenly spaced over the span."""
    some = windows.every(most)
    return some.batch(torch.arange(len(some), device=some.ends.device))


def outputs(
    model: nn.Module, inputs: Float[Tensor, "window time channel"]
) -> Float64[Tensor, "window output"]:
    """Return the predictions, in evaluation mode, one row a window."""
    with undisturbed(model), torch.no_grad():
        parts = [model(part).flatten(1) for part in torch.split(inputs, AT_ONCE)]
    return torch.cat(parts).double()


def variance(values: Float[Tensor, "window ..."]) -> float:
    """Return the variance around the mean of each output, averaged over outputs."""
    return float(values.double().flatten(1).var(dim=0, correction=0).mean())
