"""What runs through the model: size, variety and dimensions of the stream, block by block.

Streams are taken as "batch token width". The stream before the first block is told by the path of
the module that gave it, such as ``positions``.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from tsdiag.diagnostics.probes.anatomy import anatomy, block_of
from tsdiag.diagnostics.probes.probe import Probe, Reading, View
from tsdiag.diagnostics.probes.readings import Found, readings
from tsdiag.diagnostics.probes.units import KINDS
from tsdiag.diagnostics.signals import SignalName
from tsdiag.models.blocks import Block
from tsdiag.models.positions import Learned, Sinusoidal

SAMPLED_TOKENS = 512  # of all windows, for the rank; several times the widths in use
LARGEST_CHANNELS = 2  # "unscaled" is when as few as these carry the input


def _measure(view: View) -> list[Reading]:
    with torch.no_grad(), torch.autocast(view.inputs.device.type, enabled=False):
        found: Found = {}
        for path, stream in _streams(view):
            found |= _of_stream(path, stream)
        for path, hidden, width in _hidden(view):
            found |= _rank(path, hidden, width)
        for path, added, before in _sublayers(view):
            found["contribution", path] = rms(added) / rms(before)
        for path, module in view.model.named_modules():
            if isinstance(module, Learned | Sinusoidal) and path in view.left:
                added = view.left[path] - view.entered[path]
                found["positions_ratio", path] = rms(added) / rms(view.entered[path])
        if view.inputs.shape[-1] > LARGEST_CHANNELS:
            found["channel_share", ""] = channel_share(view.inputs)
        return readings(found)


def _streams(view: View) -> Iterator[tuple[str, Tensor]]:
    """Yield the stream that enters the first block and the one that leaves each."""
    blocks = [path for path in anatomy(view.model).blocks if path in view.left]
    if blocks:
        first = view.entered.get(blocks[0])
        # Of several modules that passed the same tensor on, the one nearest to the block.
        givers = [path for path, left in view.left.items() if path and left is first]
        order = [path for path, _ in view.model.named_modules() if path in givers]
        yield from ((path, view.left[path]) for path in order[-1:])
    yield from ((path, view.left[path]) for path in blocks)


def _of_stream(path: str, stream: Tensor) -> Found:
    found = {("stream_rms", path): rms(stream)}
    if stream.dim() == 3:
        found["token_cosine", path] = token_cosine(stream)
        found |= _rank(path, stream, stream.shape[-1])
    return found


def _hidden(view: View) -> Iterator[tuple[str, Tensor, int]]:
    """Yield the activations inside the blocks, each with the width of the stream around it."""
    blocks = anatomy(view.model).blocks
    for path, module in view.model.named_modules():
        block = block_of(path, blocks)
        if block is None or not isinstance(module, KINDS) or not {path, block} <= view.left.keys():
            continue
        hidden, width = view.left[path], view.left[block].shape[-1]
        if hidden.dim() == 3:
            # More units than the stream is wide make no bottleneck; as many of them will do.
            units = hidden.shape[-1]
            some = torch.linspace(0, units - 1, min(units, width), device=hidden.device)
            yield path, hidden[..., some.round().long()], width


def _rank(path: str, stream: Tensor, width: int) -> Found:
    tokens = stream.flatten(0, 1)
    if not bool(tokens.isfinite().all()):  # an eigenvalue of anything else is an error
        return {}
    sampled = tokens[:: -(-len(tokens) // SAMPLED_TOKENS)]
    return {("effective_rank", path): effective_rank(sampled) / possible_rank(len(sampled), width)}


def _sublayers(view: View) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield each sub-layer with what it adds to the stream and the stream before."""
    for path, block in view.model.named_modules():
        if not isinstance(block, Block) or path not in view.left:
            continue
        for name in ("attention", "feed_forward"):
            layer, norm = f"{path}.{name}", f"{path}.{name}_norm"
            before = view.entered[norm if block.norm == "pre" else layer]
            added = view.left[norm if block.norm == "post_sublayer" else layer]
            yield layer, block.residual_scale * added, before


def rms(values: Tensor) -> Float[Tensor, ""]:
    """Return the root of the mean square."""
    return values.square().mean().sqrt()


def token_cosine(stream: Float[Tensor, "batch token width"]) -> Float[Tensor, ""]:
    """Return the mean cosine of two different tokens of a window, over pairs and windows.

    The pairs are never formed: sum over i != j of u_i . u_j = |sum u|^2 - sum |u|^2.
    """
    tokens = stream.shape[1]
    unit = torch.nn.functional.normalize(stream, dim=-1)
    pairs = unit.sum(dim=1).square().sum(dim=-1) - unit.square().sum(dim=(1, 2))
    return pairs.mean() / (tokens * (tokens - 1)) if tokens > 1 else stream.new_tensor(torch.nan)


def effective_rank(tokens: Float[Tensor, "token width"]) -> Float[Tensor, ""]:
    """Return the effective rank of the centred tokens.

    exp(entropy) of the normalised singular values (Roy and Vetterli 2007). Tokens without any
    difference have rank 1.
    """
    tokens = tokens.double()  # the squares of small singular values would drown in float32
    # Differences in the last digits of float32 are rounding, not directions.
    floor = torch.finfo(torch.float32).eps * tokens.norm()
    centred = tokens - tokens.mean(dim=0)
    singular = torch.linalg.eigvalsh(centred.T @ centred).clamp(min=0).sqrt()
    singular = torch.where(singular > floor, singular, 0)
    shares = singular / singular.sum().clamp(min=torch.finfo(torch.float64).tiny)
    rank: Tensor = torch.special.entr(shares).sum().exp()
    return rank


def possible_rank(tokens: int, width: int) -> int:
    """Return the largest rank of so many centred tokens in a stream of that width."""
    return max(1, min(width, tokens - 1))


def channel_share(inputs: Float[Tensor, "batch time channel"]) -> Float[Tensor, ""]:
    """Return the share of the squared norm of the inputs that the largest channels hold."""
    energy = inputs.square().mean(dim=(0, 1))
    return energy.topk(LARGEST_CHANNELS).values.sum() / energy.sum()


SIGNALS = (
    SignalName(
        "stream_rms",
        "activations",
        "root mean square of the stream behind a block, and before the first",
        of="state",
    ),
    SignalName(
        "contribution",
        "ratio",
        "root mean square of what a sub-layer adds to the stream over that of the stream before",
        of="state",
    ),
    SignalName(
        "token_cosine",
        "cosine",
        "cosine of two different tokens of one window, mean over pairs and windows",
        of="state",
    ),
    SignalName(
        "effective_rank",
        "share",
        "effective rank of the centred tokens of all windows over the smaller of width and tokens; "
        "of an activation inside a block over the width of the stream around it: near 1 / width "
        "where all passes through one unit",
        of="state",
    ),
    SignalName(
        "positions_ratio",
        "ratio",
        "root mean square of the added positions over that of the stream they are added to",
        of="state",
    ),
    SignalName(
        "channel_share",
        "share",
        "share of the squared norm of the inputs in the two largest of at least three channels",
        of="state",
    ),
)

ACTIVATIONS = Probe("activations", "standard", View, SIGNALS, _measure)
