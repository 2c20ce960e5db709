"""Heads wider than the stream, computed in the width of the stream: another order of products.

With x~ = [x, 1] and each weight beside its bias, a head's scores are x~ (Wq~ Wk~^T) x~^T and what
it adds to the stream is (P x~)(Wv~ Wo). So x~ itself is key and value of every head. Only the
brackets move: function, parameters and gradients are those of the four projections.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad


def with_one(stream: Float[Tensor, "batch token width"]) -> Float[Tensor, "batch token extended"]:
    """Return the stream with a last feature of ones, which carries the biases."""
    return pad(stream, (0, 1), value=1.0)


def scoring_weight(
    query: nn.Linear, key: nn.Linear, n_heads: int
) -> Float[Tensor, "features extended"]:
    """Return the weight that takes x~ to what each head multiplies the keys x~ with."""
    return _products(_per_head(key, n_heads).mT, _per_head(query, n_heads)).flatten(0, 1)


def reading_weight(
    value: nn.Linear, output: nn.Linear, n_heads: int
) -> Float[Tensor, "width features"]:
    """Return the weight that takes what all heads gathered of x~ back to the stream."""
    give = output.weight.view(output.out_features, n_heads, -1).transpose(0, 1)
    return _products(give, _per_head(value, n_heads)).transpose(0, 1).flatten(1)


def _per_head(layer: nn.Linear, n_heads: int) -> Float[Tensor, "head dim extended"]:
    """Return each head's rows of the weight beside their biases."""
    beside = torch.cat((layer.weight, layer.bias.unsqueeze(1)), dim=1)
    return beside.view(n_heads, -1, beside.shape[1])


def _products(
    first: Float[Tensor, "head row dim"], second: Float[Tensor, "head dim column"]
) -> Float[Tensor, "head row column"]:
    # Small and summed over a wide head: rounding it to bfloat16 would save nothing.
    with torch.autocast(first.device.type, enabled=False):
        return torch.bmm(first, second)
