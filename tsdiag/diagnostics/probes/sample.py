"""Windows to measure on, the same each time or drawn anew, and what a model says to them."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from tsdiag.config import RunConfig
from tsdiag.data.windows import Windows
from tsdiag.diagnostics.probes.view import undisturbed
from tsdiag.models import Shapes, build

# Windows that are drawn, and the parts in which they are differentiated: only one part at a time
# must fit into memory. Of the default transformer on the generated series, in a run of 600 steps,
# the averages of ten evaluations are off by .64, .53 and .59 of |G|^2 and by .44, .28 and .22 of
# tr(Sigma) with 24 windows in 2, 4 and 8 parts, and with 4 parts of 16 and 32 windows by .75, .33
# and .42, .28. The ratio of the averages is then within three times the true one in 85 of 100
# draws. 32 would bring all probes together to 3 % of training.
SAMPLE_WINDOWS = 24
MICRO_BATCHES = 4
AT_ONCE = 64  # windows of one forward pass: no more memory than a training step of that size
_STREAM = 14  # of random numbers, so that no other use of the seed repeats them

Batch = tuple[
    Float[Tensor, "window time channel"],
    Float[Tensor, "window horizon target"],
]


def spaced(windows: Windows, most: int) -> Batch:
    """Return inputs and targets of at most ``most`` windows, evenly spaced over the span."""
    some = windows.every(most)
    return some.batch(torch.arange(len(some), device=some.ends.device))


def drawn(windows: Windows, most: int, seed: int, step: int) -> Batch:
    """Return inputs and targets of at most ``most`` different windows, in no order.

    They depend on seed and step alone, so a resumed run draws what an unbroken one does.
    """
    rng = np.random.default_rng([_STREAM, seed, step])
    index = rng.choice(len(windows), min(most, len(windows)), replace=False)
    return windows.batch(torch.from_numpy(index).to(windows.ends.device))


def fresh(
    config: RunConfig,
    inputs: Float[Tensor, "window time channel"],
    targets: Float[Tensor, "window horizon target"],
) -> nn.Module:
    """Return the model for such windows as a run of this configuration begins with it."""
    shapes = Shapes(*inputs.shape[1:], *targets.shape[1:])
    return build(config, shapes, torch.Generator().manual_seed(config.seed)).to(inputs.device)


def outputs(
    model: nn.Module, inputs: Float[Tensor, "window time channel"]
) -> Float64[Tensor, "window output"]:
    """Return the predictions, in evaluation mode, one row a window."""
    with undisturbed(model), torch.no_grad():
        parts = [model(part).flatten(1) for part in torch.split(inputs, AT_ONCE)]
    return torch.cat(parts).double()


def variance(values: Float[Tensor, "window ..."]) -> float:
    """Return the variance around the mean of each output, averaged over outputs."""
    return float(values.double().flatten(1).var(dim=0, correction=0).mean())
