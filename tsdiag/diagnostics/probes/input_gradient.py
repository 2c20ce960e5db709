"""Which rows and channels of its windows a model reads, told by the gradient of its output.

Shares are of the squared gradient, summed over windows. A model with many outputs is asked about
their sum with random weights: its squared gradient is on average the sum of theirs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from tsdiag.diagnostics.probes.probe import Probe, Reading, Specimen
from tsdiag.diagnostics.probes.sample import AT_ONCE, spaced
from tsdiag.diagnostics.probes.view import differentiable
from tsdiag.diagnostics.signals import SignalName

TIME_BINS = 24
MOST_CHANNELS = 32  # in the profile; the strongest
_STREAM = 12  # of random numbers, so that no other use of the seed repeats them

SIGNALS = (
    SignalName("blind_time_share", "share", "rows of the window with gradient exactly 0", "state"),
    SignalName("blind_channel_share", "share", "channels with gradient exactly 0", "state"),
    SignalName("gradient_age", "rows", "centre of the squared gradient, before the end", "state"),
    SignalName("last_row_share", "share", "squared gradient on the last row", "state"),
    SignalName("last_tenth_share", "share", "squared gradient on the last tenth of rows", "state"),
    SignalName(
        "top_channels_share", "share", "squared gradient on two strongest channels", "state"
    ),
    SignalName("batch_gradient_share", "share", "gradient norm on other windows' rows", "state"),
    SignalName(
        "input_gradient",
        "share",
        f"squared gradient by place: time[i], of at most {TIME_BINS} equal parts of the window, "
        f"oldest first; channel[i], of the {MOST_CHANNELS} strongest",
        "state",
    ),
)


def measure_input_gradient(specimen: Specimen) -> Iterator[Reading]:
    """Ask about every second window of a batch; what reaches the others is batch mixing."""
    inputs, targets = spaced(specimen.validation, AT_ONCE)
    rng = np.random.default_rng([_STREAM, specimen.config.seed])
    weights = torch.from_numpy(rng.standard_normal(targets.flatten(1).shape))
    weights[1::2] = 0
    squares = input_gradients(specimen.model, inputs, weights.to(inputs)).double().square()
    if not bool(squares.isfinite().all()):
        return  # the loss signals say that it diverged
    asked, others, total = squares[::2], squares[1::2], float(squares.sum())
    by_time, by_channel = asked.sum(dim=(0, 2)), asked.sum(dim=(0, 1))
    yield Reading("blind_time_share", float((by_time == 0).double().mean()))
    yield Reading("blind_channel_share", float((by_channel == 0).double().mean()))
    if total > 0 and len(others) > 0:
        yield Reading("batch_gradient_share", math.sqrt(float(others.sum()) / total))
    if float(asked.sum()) > 0:
        yield from _over_time(by_time / by_time.sum())
        yield from _over_channels(by_channel / by_channel.sum())


def input_gradients(
    model: nn.Module,
    inputs: Float[Tensor, "batch time channel"],
    weights: Float[Tensor, "batch output"],
) -> Float[Tensor, "batch time channel"]:
    """Return the gradient of the weighted sum of all outputs; zero where nothing leads back."""
    leaf = inputs.detach().clone().requires_grad_()
    with differentiable(model):
        total = (model(leaf).flatten(1) * weights).sum()
        if not total.requires_grad:
            return torch.zeros_like(inputs)
        (gradient,) = torch.autograd.grad(total, leaf, allow_unused=True)
    return torch.zeros_like(inputs) if gradient is None else gradient


def _over_time(shares: Float64[Tensor, " time"]) -> Iterator[Reading]:
    rows = len(shares)
    ages = torch.arange(rows - 1, -1, -1, device=shares.device)
    yield Reading("gradient_age", float((shares * ages).sum()))
    yield Reading("last_row_share", float(shares[-1]))
    yield Reading("last_tenth_share", float(shares[-math.ceil(rows / 10) :].sum()))
    for place, part in enumerate(shares.tensor_split(min(rows, TIME_BINS))):
        yield Reading("input_gradient", float(part.sum()), f"time[{place}]")


def _over_channels(shares: Float64[Tensor, " channel"]) -> Iterator[Reading]:
    strongest = shares.argsort(descending=True, stable=True)[:MOST_CHANNELS]
    yield Reading("top_channels_share", float(shares[strongest[:2]].sum()))
    for channel in sorted(strongest.tolist()):
        yield Reading("input_gradient", float(shares[channel]), f"channel[{channel}]")


INPUT_GRADIENT = Probe("input_gradient", "full", Specimen, SIGNALS, measure_input_gradient)
