"""Multi-head self-attention with separate projections; heads may be wider than the stream."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from tsdiag.models.positions import Rotary

NORM_EPSILON = 1e-6  # of every normalisation here, as in the founding model


class Attention(nn.Module):
    """softmax(scale q k^T) v, per head, between four linear projections (Vaswani et al. 2017).

    ``dropout_kind`` says what falls out in training: "probability" drops single entries of the
    patterns and scales up the rest, "key" hides whole keys from a head before the softmax (it
    keeps the fused kernel, and is another regulariser), "none" drops nothing.
    """

    def __init__(
        self,
        width: int,
        n_heads: int,
        head_dim: int,
        *,
        scale: float | None = None,
        dropout: float = 0.0,
        dropout_kind: str = "none",
        qk_norm: bool = False,
        rotary_tokens: int | None = None,
    ) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.scale = head_dim**-0.5 if scale is None else scale
        self.dropout = dropout if dropout_kind != "none" else 0.0
        self.dropout_kind = dropout_kind
        self.query = nn.Linear(width, n_heads * head_dim)
        self.key = nn.Linear(width, n_heads * head_dim)
        self.value = nn.Linear(width, n_heads * head_dim)
        self.output = nn.Linear(n_heads * head_dim, width)
        # Henry et al. 2020; RMS as in most later models, so a key bias still has no effect.
        norm = (lambda: nn.RMSNorm(head_dim, eps=NORM_EPSILON)) if qk_norm else nn.Identity
        self.query_norm, self.key_norm = norm(), norm()
        self.rotary = nn.Identity() if rotary_tokens is None else Rotary(rotary_tokens, head_dim)

    def forward(
        self, stream: Float[Tensor, "batch token width"]
    ) -> Float[Tensor, "batch token width"]:
        """Return what every token gathers from all tokens of its window."""
        query = self.rotary(self.query_norm(self._split(self.query(stream))))
        key = self.rotary(self.key_norm(self._split(self.key(stream))))
        value = self._split(self.value(stream))
        gathered = self._attend(query, key, value)
        given: Tensor = self.output(gathered.transpose(1, 2).flatten(2))
        return given

    def _split(
        self, projected: Float[Tensor, "batch token features"]
    ) -> Float[Tensor, "batch head token dim"]:
        batch, tokens, _ = projected.shape
        return projected.view(batch, tokens, self.n_heads, -1).transpose(1, 2)

    def _attend(
        self,
        query: Float[Tensor, "batch head token dim"],
        key: Float[Tensor, "batch head token dim"],
        value: Float[Tensor, "batch head token dim"],
    ) -> Float[Tensor, "batch head token dim"]:
        rate = self.dropout if self.training else 0.0
        mask = None
        if rate > 0 and self.dropout_kind == "key":
            mask = hidden_keys(key, rate)
            rate = 0.0
        return scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=rate, scale=self.scale
        )


def hidden_keys(
    key: Float[Tensor, "batch head token dim"], rate: float
) -> Float[Tensor, "batch head 1 token"]:
    """Return what to add to the scores so that each key is hidden with probability ``rate``."""
    hidden = torch.rand(key.shape[:-1], device=key.device) < rate
    # A finite number: where every key is hidden the pattern is then uniform instead of NaN.
    floor = torch.finfo(key.dtype).min / 2
    return torch.zeros_like(hidden, dtype=key.dtype).masked_fill(hidden, floor).unsqueeze(2)
