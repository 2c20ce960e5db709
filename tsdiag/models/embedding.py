"""From a window of rows to tokens. Each embedding knows how many tokens of which width it gives."""

from __future__ import annotations

from math import ceil

from jaxtyping import Float
from torch import Tensor, nn

CONV_KERNEL = 3  # rows, as in Informer's token embedding (Zhou et al. 2021)


class Embedding(nn.Module):
    """Base of the five: a token a row, as wide as the row, and no parameters."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.width = width

    def forward(
        self, window: Float[Tensor, "batch time channel"]
    ) -> Float[Tensor, "batch token width"]:
        """Return the tokens of each window."""
        return window


class LinearEmbedding(Embedding):
    """A token a row, projected."""

    def __init__(self, context_length: int, channels: int, width: int) -> None:
        super().__init__(context_length, width)
        self.project = nn.Linear(channels, width)

    def forward(
        self, window: Float[Tensor, "batch time channel"]
    ) -> Float[Tensor, "batch token width"]:
        """Return the tokens of each window."""
        tokens: Tensor = self.project(window)
        return tokens


class ConvEmbedding(Embedding):
    """A token a row, from the row and its two neighbours; the edge rows are repeated."""

    def __init__(self, context_length: int, channels: int, width: int) -> None:
        super().__init__(context_length, width)
        self.project = nn.Conv1d(
            channels, width, CONV_KERNEL, padding="same", padding_mode="replicate"
        )

    def forward(
        self, window: Float[Tensor, "batch time channel"]
    ) -> Float[Tensor, "batch token width"]:
        """Return the tokens of each window."""
        rows: Tensor = self.project(window.transpose(1, 2))
        return rows.transpose(1, 2)


class PatchEmbedding(Embedding):
    """A token for ``patch_length`` rows of all channels together.

    The last patch ends at the window's last row. Where the rows do not divide evenly, the
    oldest row is repeated in front, so no row is lost.
    """

    def __init__(self, context_length: int, channels: int, width: int, patch_length: int) -> None:
        super().__init__(ceil(context_length / patch_length), width)
        self.missing = self.tokens * patch_length - context_length
        self.project = nn.Linear(patch_length * channels, width)

    def forward(
        self, window: Float[Tensor, "batch time channel"]
    ) -> Float[Tensor, "batch token width"]:
        """Return the tokens of each window."""
        if self.missing:
            window = nn.functional.pad(
                window.transpose(1, 2), (self.missing, 0), mode="replicate"
            ).transpose(1, 2)
        tokens: Tensor = self.project(window.reshape(len(window), self.tokens, -1))
        return tokens


class InvertedEmbedding(Embedding):
    """A token a channel, from all of its rows (iTransformer, Liu et al. 2024)."""

    def __init__(self, context_length: int, channels: int, width: int) -> None:
        super().__init__(channels, width)
        self.project = nn.Linear(context_length, width)

    def forward(
        self, window: Float[Tensor, "batch time channel"]
    ) -> Float[Tensor, "batch token width"]:
        """Return the tokens of each window."""
        tokens: Tensor = self.project(window.transpose(1, 2))
        return tokens


def embedding(
    kind: str, context_length: int, channels: int, width: int, patch_length: int
) -> Embedding:
    """Return the embedding of that name; ``patch_length`` is read by "patch" alone."""
    if kind == "identity":
        return Embedding(context_length, channels)
    if kind == "patch":
        return PatchEmbedding(context_length, channels, width, patch_length)
    kinds = {"linear": LinearEmbedding, "conv": ConvEmbedding, "inverted": InvertedEmbedding}
    return kinds[kind](context_length, channels, width)
