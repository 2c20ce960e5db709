"""Normalisation of one window by its own rows."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

EPSILON = 1e-5  # of the variance, as in the authors' code of RevIN


class WindowNorm(nn.Module):
    """Standardises each channel by its mean and deviation in the window (RevIN, Kim et al. 2022).

    Inputs only: the published method also undoes it on the output, which needs a forecast of
    the inputs' own channels. Here the targets are mostly changes, and a model does not know
    which channel a target comes from. The window's level is thus hidden from the model.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(
        self, window: Float[Tensor, "batch time channel"]
    ) -> Float[Tensor, "batch time channel"]:
        """Return the window in its own units."""
        variance, mean = torch.var_mean(window, dim=1, keepdim=True, correction=0)
        return (window - mean) * (variance + EPSILON).rsqrt() * self.weight + self.bias
