"""From tokens to one vector per window."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class MeanTime(nn.Module):
    """The mean token: keeps the channels, forgets which token came first."""

    def forward(
        self, stream: Float[Tensor, "batch token width"]
    ) -> Float[Tensor, "batch features"]:
        """Return (batch, width)."""
        return stream.mean(dim=1)


class Last(nn.Module):
    """The last token, that of the most recent rows."""

    def forward(
        self, stream: Float[Tensor, "batch token width"]
    ) -> Float[Tensor, "batch features"]:
        """Return (batch, width)."""
        return stream[:, -1]


class AttentionPooling(nn.Module):
    """A mean weighted by a softmax over tokens of one learned score (Lin et al. 2017)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # Without a bias: the softmax would not see it.
        self.score = nn.Linear(width, 1, bias=False)

    def forward(
        self, stream: Float[Tensor, "batch token width"]
    ) -> Float[Tensor, "batch features"]:
        """Return (batch, width)."""
        weights = self.score(stream).softmax(dim=1)
        return torch.einsum("bto,btw->bw", weights, stream)


class Flatten(nn.Module):
    """All tokens side by side: forgets nothing, and the head grows with the window."""

    def forward(
        self, stream: Float[Tensor, "batch token width"]
    ) -> Float[Tensor, "batch features"]:
        """Return (batch, tokens x width)."""
        return stream.flatten(1)


class MeanChannels(nn.Module):
    """The mean of each token's features: one number a token, in order.

    What ``GlobalAveragePooling1D("channels_first")`` does to (batch, time, channel) in Keras.
    """

    def forward(
        self, stream: Float[Tensor, "batch token width"]
    ) -> Float[Tensor, "batch features"]:
        """Return (batch, tokens)."""
        return stream.mean(dim=2)


def pooling(kind: str, tokens: int, width: int) -> tuple[nn.Module, int]:
    """Return the pooling of that name and the width of what it leaves."""
    kinds: dict[str, tuple[type[nn.Module], int]] = {
        "mean_time": (MeanTime, width),
        "last": (Last, width),
        "flatten": (Flatten, tokens * width),
        "mean_channels": (MeanChannels, tokens),
    }
    if kind == "attention":
        return AttentionPooling(width), width
    module, left = kinds[kind]
    return module(), left
