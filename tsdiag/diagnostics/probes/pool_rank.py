"""How many directions of the stream get through the pooling, over channels and over tokens.

The pool's Jacobian d pooled[p] / d stream[t, w] is a matrix with a row for every (p, t) and a
column for every channel w, or one with a column for every token t. A mean over channels has rank
1 in the first (all channels are read alike), a mean over time or a last token rank 1 in the
second. The pool alone, not the head behind it: one linear output reads one direction anyhow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from tsdiag.diagnostics.probes.probe import Probe, Reading, Specimen
from tsdiag.diagnostics.probes.sample import spaced
from tsdiag.diagnostics.probes.view import differentiable, look
from tsdiag.diagnostics.signals import SignalName

POOLING = "pooling"  # last part of the path of the module between the stream and the head
WINDOWS = 32
MOST_TOKENS = 256  # of the rank over tokens, evenly spaced: it grows with their cube
# Random combinations of what the pool gives. Where it treats all tokens alike, each adds only one
# direction over channels, and the reverse: a rank beyond this may then be cut off.
MOST_COMBINATIONS = 256
SMALLEST = 1e-5  # of the largest singular value; float32 leaves about 1e-7 of it
_STREAM = 13  # of random numbers, so that no other use of the seed repeats them

SIGNALS = (
    SignalName("readout_channel_rank", "directions", "over channels, through the pool", "state"),
    SignalName("readout_channel_effective_rank", "directions", "the same, by entropy", "state"),
    SignalName(
        "readout_token_rank",
        "directions",
        f"over tokens, at most {MOST_TOKENS} evenly spaced, through the pool",
        "state",
    ),
    SignalName("readout_token_effective_rank", "directions", "the same, by entropy", "state"),
    SignalName("readout_token_share", "share", "tokens that the pool reads at all", "state"),
)


@dataclass(frozen=True, eq=False)
class Products:
    """J^T J over channels, over some tokens, and its diagonal over all tokens."""

    channels: Float64[Tensor, "width width"]
    tokens: Float64[Tensor, "chosen chosen"]
    read: Float64[Tensor, " token"]


def measure_pool_rank(specimen: Specimen) -> Iterator[Reading]:
    """Measure every pooling that turns (batch, token, width) into a vector a window."""
    view = look(specimen.model, *spaced(specimen.validation, WINDOWS))
    generator = torch.Generator().manual_seed(_STREAM + specimen.config.seed)
    for path, pool in specimen.model.named_modules():
        stream, pooled = view.entered.get(path), view.left.get(path)
        if path.rpartition(".")[2] != POOLING or stream is None or pooled is None:
            continue
        if bool(stream.isfinite().all()) and stream.ndim == 3 and pooled.ndim == 2:
            with differentiable(specimen.model):
                through = jacobian_products(pool, stream, pooled.shape[1], generator)
            yield from _ranks("readout_channel", through.channels, path)
            yield from _ranks("readout_token", through.tokens, path)
            read = (through.read > 0).double().mean()
            yield Reading("readout_token_share", float(read), path)


def jacobian_products(
    pool: nn.Module,
    stream: Float[Tensor, "window token width"],
    features: int,
    generator: torch.Generator,
) -> Products:
    """Return J^T J, summed over random combinations of features.

    With as many independent combinations as there are columns, its rank is the Jacobian's.
    """
    _, n_tokens, width = stream.shape
    some = torch.linspace(0, n_tokens - 1, min(n_tokens, MOST_TOKENS), device=stream.device)
    chosen = some.round().long()
    wanted = min(max(len(chosen), width), MOST_COMBINATIONS)
    channels = stream.new_zeros((width, width), dtype=torch.float64)
    tokens = stream.new_zeros((len(chosen), len(chosen)), dtype=torch.float64)
    read = stream.new_zeros(n_tokens, dtype=torch.float64)
    for part in torch.split(torch.arange(wanted), WINDOWS):
        leaf = stream[part.to(stream.device) % len(stream)].requires_grad_()
        weights = torch.randn((len(part), features), generator=generator).to(stream)
        (product,) = torch.autograd.grad(pool(leaf), leaf, weights)
        product = product.double()
        channels += torch.einsum("btw,btv->wv", product, product)
        tokens += torch.einsum("btw,bsw->ts", product[:, chosen], product[:, chosen])
        read += product.square().sum(dim=(0, 2))
    return Products(channels, tokens, read)


def _ranks(name: str, products: Float64[Tensor, "column column"], where: str) -> Iterator[Reading]:
    """Yield the rank and exp(entropy) of the singular values' shares (Roy and Vetterli 2007)."""
    singular = torch.linalg.eigvalsh(products).clamp(min=0).sqrt()
    counted = singular[singular > SMALLEST * singular.max()]
    shares = counted / counted.sum()
    yield Reading(f"{name}_rank", float(len(counted)), where)
    effective = torch.special.entr(shares).sum().exp()
    yield Reading(f"{name}_effective_rank", float(effective), where)


POOL_RANK = Probe("pool_rank", "full", Specimen, SIGNALS, measure_pool_rank)
