"""What each head looks at: entropy, sharpness, size of its scores, likeness to other heads.

Entropy is of all queries of all windows. What needs the patterns themselves is taken from some
queries of some windows, so no pattern of a whole window is ever held.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tsdiag.diagnostics.probes.entropy import (
    SAMPLED_QUERIES,
    attention_entropy,
    evenly,
    logits,
)
from tsdiag.diagnostics.probes.probe import Probe, Reading, View
from tsdiag.diagnostics.probes.readings import Found, readings
from tsdiag.diagnostics.probes.view import undisturbed
from tsdiag.diagnostics.signals import SignalName
from tsdiag.models.attention import Attention

SAMPLED_WINDOWS = 8
# Deviation of a pattern from the uniform one, relative to the pattern, that rounding alone makes.
FLAT = 1e-5


@dataclass(frozen=True)
class Heads:
    """Queries and keys of one attention layer; the logits are ``scale * query @ key^T``."""

    query: Float[Tensor, "batch head token dim"]
    key: Float[Tensor, "batch key_head token dim"]
    scale: float
    query_weight: Float[Tensor, "head head_dim width"]
    key_weight: Float[Tensor, "head head_dim width"]


def _measure(view: View) -> list[Reading]:
    found: Found = {}
    with torch.no_grad(), torch.autocast(view.inputs.device.type, enabled=False):
        for path, module in view.model.named_modules():
            if path in view.entered and (heads := _heads(view, path, module)) is not None:
                found |= {(name, path): value for name, value in _of_layer(heads).items()}
    return readings(found)


def _of_layer(heads: Heads) -> dict[str, Tensor]:
    tokens = heads.key.shape[-2]
    if tokens < 2:  # one token can only look at itself
        return {}
    entropy = attention_entropy(heads.query, heads.key, heads.scale)
    every = -(-len(heads.query) // SAMPLED_WINDOWS)
    query = evenly(heads.query[::every], SAMPLED_QUERIES)
    scores = logits(query, heads.key[::every], heads.scale)
    pattern = scores.softmax(dim=-1)
    deviation = scores - scores.mean(dim=-1, keepdim=True)
    found = {
        "attention_entropy": entropy.mean(dim=(0, 2)) / log(tokens),
        "largest_probability": pattern.amax(dim=-1).mean(dim=(0, 2)),
        "logit_scale": deviation.square().mean(dim=-1).sqrt().mean(dim=(0, 2)),
        "largest_logit": deviation.amax(dim=(0, 2, 3)),
        "query_key_norm": product_norm(heads.query_weight, heads.key_weight),
    }
    if pattern.shape[1] > 1:
        pairs = similarities(pattern)
        found |= {"head_similarity": pairs.mean(), "head_similarity_max": pairs.amax()}
    return found


def similarities(pattern: Float[Tensor, "batch head query token"]) -> Float[Tensor, " pair"]:
    """Return the cosine of each pair of heads' deviations from the uniform pattern, over all rows.

    The patterns themselves are all alike as long as they are flat. A head that does not deviate
    resembles none.
    """
    deviation = (pattern - 1 / pattern.shape[-1]).transpose(0, 1).flatten(1)
    norm = deviation.norm(dim=1, keepdim=True)
    floor = FLAT * pattern.transpose(0, 1).flatten(1).norm(dim=1, keepdim=True)
    unit = torch.where(norm <= floor, 0, deviation / norm)  # what is not a number stays so
    first, second = torch.triu_indices(len(unit), len(unit), offset=1, device=unit.device)
    cosines: Tensor = (unit @ unit.T)[first, second]
    return cosines


def product_norm(
    query_weight: Float[Tensor, "head head_dim width"],
    key_weight: Float[Tensor, "head head_dim width"],
) -> Float[Tensor, " head"]:
    """Return the Frobenius norm of W_Q^T W_K of each head.

    |A^T B|^2 = tr(A^T B B^T A) = <A A^T, B B^T>, so the smaller of the two products will do.
    """
    if query_weight.shape[1] >= query_weight.shape[2]:
        squares = (query_weight.mT @ key_weight).square()
    else:
        squares = (query_weight @ query_weight.mT) * (key_weight @ key_weight.mT)
    return squares.sum(dim=(1, 2)).clamp(min=0).sqrt()


def _heads(view: View, path: str, module: nn.Module) -> Heads | None:
    if isinstance(module, Attention):
        query, key = module.queries_and_keys(view.entered[path])
        weights = (
            linear.weight.view(module.n_heads, -1, linear.in_features)
            for linear in (module.query, module.key)
        )
        return Heads(query, key, module.scale, *weights)
    if isinstance(module, nn.MultiheadAttention):
        return _standard_heads(module, view.entered[path], view.left[path])
    return None


def _standard_heads(module: nn.MultiheadAttention, stream: Tensor, left: Tensor) -> Heads | None:
    """Return the heads of PyTorch's own layer where it attends from the stream to all of it."""
    packed = module.in_proj_weight
    if packed is None or module.bias_k is not None or module.add_zero_attn or stream.dim() != 3:
        return None
    # A view holds no masks and no second input; whether there were any shows in what came out.
    with undisturbed(module):
        again = module.forward(stream, stream, stream, need_weights=False)[0]
    if not torch.allclose(again, left, rtol=1e-4, atol=1e-5):
        return None
    tokens = stream if module.batch_first else stream.transpose(0, 1)
    projected = nn.functional.linear(tokens, packed, module.in_proj_bias)
    split = projected.view(*projected.shape[:2], 3, module.num_heads, -1)
    query, key, _ = split.permute(2, 0, 3, 1, 4)
    query_weight, key_weight, _ = packed.view(3, module.num_heads, -1, packed.shape[1])
    return Heads(query, key, query.shape[-1] ** -0.5, query_weight, key_weight)


SIGNALS = (
    SignalName(
        "attention_entropy",
        "share",
        "entropy of a head's patterns over ln of the visible keys, mean over queries and windows;"
        " 1 = uniform, which is normal at the start",
        of="state",
    ),
    SignalName(
        "largest_probability",
        "probability",
        "largest entry of a head's pattern, mean over sampled queries",
        of="state",
    ),
    SignalName(
        "logit_scale",
        "nats",
        "standard deviation of a head's logits over the keys, mean over sampled queries",
        of="state",
    ),
    SignalName(
        "largest_logit",
        "nats",
        "largest logit above the mean over its keys, of all sampled queries of a head",
        of="state",
    ),
    SignalName(
        "head_similarity",
        "cosine",
        "cosine of two heads' deviations from the uniform pattern, mean over pairs; says nothing"
        " where attention_entropy is near 1, because the deviations then do nothing",
        of="state",
    ),
    SignalName(
        "head_similarity_max",
        "cosine",
        "as head_similarity, of the two heads that are most alike",
        of="state",
    ),
    SignalName(
        "query_key_norm",
        "weights",
        "Frobenius norm of a head's W_Q^T W_K, without the scale of the logits",
        of="state",
    ),
)

ATTENTION = Probe("attention", "standard", View, SIGNALS, _measure)
