"""One encoder block: attention, then a feed-forward layer, each beside a skip."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from tsdiag.models.attention import NORM_EPSILON, Attention
from tsdiag.models.dropout import Dropout

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
}

Layer = Callable[[Tensor], Tensor]


class FeedForward(nn.Module):
    """Two linear layers on every token by itself (a convolution with kernel 1 in Keras)."""

    def __init__(self, width: int, ff_dim: int, activation: str, dropout: float) -> None:
        super().__init__()
        self.expand = nn.Linear(width, ff_dim)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = Dropout(dropout)
        self.contract = nn.Linear(ff_dim, width)

    def forward(
        self, stream: Float[Tensor, "batch token width"]
    ) -> Float[Tensor, "batch token width"]:
        """Return the layer's contribution to the stream."""
        given: Tensor = self.contract(self.dropout(self.activation(self.expand(stream))))
        return given


class Block(nn.Module):
    """Attention and feed-forward on a residual stream.

    ``norm`` places the normalisation: "pre" x + f(norm(x)), "post" norm(x + f(x)),
    "post_sublayer" x + norm(f(x)); ``residual_scale`` multiplies what is added to x.
    """

    def __init__(
        self,
        attention: Attention,
        feed_forward: FeedForward,
        width: int,
        *,
        norm: str,
        dropout: float,
        residual_scale: float,
    ) -> None:
        super().__init__()
        self.norm = norm
        self.residual_scale = residual_scale
        self.attention_norm = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.attention = attention
        self.dropout = Dropout(dropout)
        self.feed_forward_norm = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.feed_forward = feed_forward

    def forward(
        self, stream: Float[Tensor, "batch token width"]
    ) -> Float[Tensor, "batch token width"]:
        """Return the stream after both layers."""
        stream = self._add(stream, self._attend, self.attention_norm)
        return self._add(stream, self.feed_forward, self.feed_forward_norm)

    def _attend(self, stream: Tensor) -> Tensor:
        gathered: Tensor = self.dropout(self.attention(stream))
        return gathered

    def _add(self, stream: Tensor, layer: Layer, norm: Layer) -> Tensor:
        if self.norm == "pre":
            return stream + self.residual_scale * layer(norm(stream))
        if self.norm == "post":
            return norm(stream + self.residual_scale * layer(stream))
        return stream + self.residual_scale * norm(layer(stream))
