"""Where a token stands: added to the stream (sinusoidal, learned) or turned into q and k (rotary).

Vaswani et al. 2017 for the sinusoids, Su et al. 2021 (RoFormer) for the rotation.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

WAVELENGTHS = 10_000.0  # longest wavelength over 2 pi [tokens], as in both papers
LEARNED_DEVIATION = 0.02  # of the learned table at the start, as in BERT and ViT


def angles(tokens: int, pairs: int) -> Float[Tensor, "token pair"]:
    """Return position times frequency [radian], fast frequencies first."""
    frequency = WAVELENGTHS ** (-torch.arange(pairs, dtype=torch.float64) / pairs)
    position = torch.arange(tokens, dtype=torch.float64)
    return (position[:, None] * frequency).float()


class Sinusoidal(nn.Module):
    """Adds fixed sines and cosines of the position."""

    table: Tensor

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        turn = angles(tokens, (width + 1) // 2)
        table = torch.stack((turn.sin(), turn.cos()), dim=-1).flatten(1)
        # An odd width loses the last cosine. Not stored with the weights: it can be recomputed.
        self.register_buffer("table", table[:, :width].contiguous(), persistent=False)

    def forward(
        self, stream: Float[Tensor, "batch token width"]
    ) -> Float[Tensor, "batch token width"]:
        """Return the stream with positions."""
        return stream + self.table


class Learned(nn.Module):
    """Adds one trained vector per position."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(tokens, width))

    def initialise(self, generator: torch.Generator, scale: float) -> None:
        """Draw small normal vectors."""
        nn.init.normal_(self.table, std=LEARNED_DEVIATION * scale, generator=generator)

    def forward(
        self, stream: Float[Tensor, "batch token width"]
    ) -> Float[Tensor, "batch token width"]:
        """Return the stream with positions."""
        return stream + self.table


class Rotary(nn.Module):
    """Turns each half-split pair of a head's dimensions by an angle that grows with position."""

    cos: Tensor
    sin: Tensor

    def __init__(self, tokens: int, head_dim: int) -> None:
        super().__init__()
        turn = angles(tokens, head_dim // 2).repeat(1, 2)
        self.register_buffer("cos", turn.cos(), persistent=False)
        self.register_buffer("sin", turn.sin(), persistent=False)

    def forward(
        self, heads: Float[Tensor, "batch head token dim"]
    ) -> Float[Tensor, "batch head token dim"]:
        """Return the turned queries or keys; their products depend on distance alone."""
        first, second = heads.chunk(2, dim=-1)
        return heads * self.cos + torch.cat((-second, first), dim=-1) * self.sin


def added_positions(kind: str, tokens: int, width: int) -> nn.Module:
    """Return what is added to the stream before the first block."""
    if kind == "sinusoidal":
        return Sinusoidal(tokens, width)
    if kind == "learned":
        return Learned(tokens, width)
    return nn.Identity()  # none; rotary acts inside attention
