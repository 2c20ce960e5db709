"""Multi-head self-attention with separate projections; heads may be wider than the stream."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

from tsdiag.models.folding import reading_weight, scoring_weight, with_one
from tsdiag.models.positions import Rotary
from tsdiag.models.probability_dropout import dropped_attention

NORM_EPSILON = 1e-6  # of every normalisation here, as in the founding model


class Attention(nn.Module):
    """softmax(scale q k^T) v, per head, between four linear projections (Vaswani et al. 2017).

    ``dropout_kind`` says what falls out in training: "probability" drops single entries of the
    patterns and scales up the rest, "key" hides whole keys from a head before the softmax (it
    keeps the fused kernel, and is another regulariser), "none" drops nothing.

    ``folded`` says whether the heads are computed in the width of the stream (see ``folding``).
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
        # Norm and rotation act between the two products that folding would merge.
        self.folded = head_dim > width + 1 and not qk_norm and rotary_tokens is None

    def forward(
        self, stream: Float[Tensor, "batch token width"]
    ) -> Float[Tensor, "batch token width"]:
        """Return what every token gathers from all tokens of its window."""
        query, key = self._project(stream)
        value = key if self.folded else self._split(self.value(stream))
        gathered = self._gather(query, key, value).transpose(1, 2).flatten(2)
        given: Tensor
        if self.folded:
            reading = reading_weight(self.value, self.output, self.n_heads)
            given = linear(gathered, reading, self.output.bias)
        else:
            given = self.output(gathered)
        return given

    def queries_and_keys(
        self, stream: Float[Tensor, "batch token width"]
    ) -> tuple[Float[Tensor, "batch head token dim"], Float[Tensor, "batch head token dim"]]:
        """Return what the patterns are made of: logits = scale * query @ key^T.

        In the precision of the weights whatever is mixed around it: entropies need it.
        """
        with torch.autocast(stream.device.type, enabled=False):
            query, key = self._project(stream.to(self.query.weight.dtype))
            return query, key.expand_as(query)

    def _project(
        self, stream: Float[Tensor, "batch token width"]
    ) -> tuple[Float[Tensor, "batch head token dim"], Float[Tensor, "batch key_head token dim"]]:
        if self.folded:
            extended = with_one(stream)
            scoring = scoring_weight(self.query, self.key, self.n_heads)
            return self._split(linear(extended, scoring)), extended.unsqueeze(1)
        query = self.rotary(self.query_norm(self._split(self.query(stream))))
        return query, self.rotary(self.key_norm(self._split(self.key(stream))))

    def _split(
        self, projected: Float[Tensor, "batch token features"]
    ) -> Float[Tensor, "batch head token dim"]:
        batch, tokens, _ = projected.shape
        return projected.view(batch, tokens, self.n_heads, -1).transpose(1, 2)

    def _gather(
        self,
        query: Float[Tensor, "batch head token dim"],
        key: Float[Tensor, "batch key_head token dim"],
        value: Float[Tensor, "batch key_head token dim"],
    ) -> Float[Tensor, "batch head token dim"]:
        if query.device.type != "cpu":
            return self._attend(query, key, value)  # in bfloat16: the fused kernels there want it
        # The backward pass of the CPU's fused kernel is three times slower in bfloat16.
        given, precise = value.dtype, torch.promote_types(query.dtype, torch.float32)
        with torch.autocast("cpu", enabled=False):
            parts = (part.to(precise) for part in (query, key, value))
            return self._attend(*parts).to(given)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        rate = self.dropout if self.training else 0.0
        if rate > 0 and self.dropout_kind == "key":
            key, value = key.expand_as(query), value.expand_as(query)
            mask = hidden_keys(key, rate)
            return scaled_dot_product_attention(query, key, value, mask, scale=self.scale)
        if key.shape[1] == 1:
            # All heads share the keys: their queries become more queries of one head. In this
            # order that is a view, and no key is copied.
            by_token = query.transpose(1, 2)
            rows = by_token.flatten(1, 2).unsqueeze(1)
            gathered = attend_all(rows, key, value, rate, self.scale)
            return gathered.reshape(by_token.shape).transpose(1, 2)
        return attend_all(query, key, value, rate, self.scale)


def attend_all(
    query: Float[Tensor, "batch head query dim"],
    key: Float[Tensor, "batch head key dim"],
    value: Float[Tensor, "batch head key dim"],
    rate: float,
    scale: float,
) -> Float[Tensor, "batch head query dim"]:
    """Return softmax(scale q k^T) v where a pattern's entries are dropped at ``rate``."""
    if rate > 0 and query.device.type == "cpu" and key.shape[2] > query.shape[3]:
        # The CPU's fused kernel knows no dropout, and without it all patterns are held. That is
        # cheaper than computing them twice while they are no larger than the queries.
        return dropped_attention(query, key, value, rate, scale)
    return scaled_dot_product_attention(query, key, value, dropout_p=rate, scale=scale)


def hidden_keys(
    key: Float[Tensor, "batch head token dim"], rate: float
) -> Float[Tensor, "batch head 1 token"]:
    """Return what to add to the scores so that each key is hidden with probability ``rate``.

    Where every key of a head would be, none is: the fused kernel's backward pass takes such a
    pattern for one of ones and not of equal shares, and its gradients would be that much too large.
    """
    hidden = torch.rand(key.shape[:-1], device=key.device) < rate
    hidden &= ~hidden.all(dim=-1, keepdim=True)
    floor = torch.finfo(key.dtype).min / 2
    return torch.zeros_like(hidden, dtype=key.dtype).masked_fill(hidden, floor).unsqueeze(2)
