"""What a model reacts to: the order of rows, which channel is which, the other rows of a batch.

Effects are relative: the root mean square of the change over the spread of the outputs. Float32
alone makes about 1e-7 of it, so an effect below 1e-5 is none. The spread is taken to be at least
one percent of the targets' and of the outputs' own size: what a nearly constant model does is
rounding, and rounding must not pass for a reaction. Of outputs that do not vary at all nothing is
read: what ignores its input is not for that blind to order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from tsdiag.diagnostics.probes.probe import Probe, Reading, Specimen
from tsdiag.diagnostics.probes.sample import AT_ONCE, outputs, spaced, variance
from tsdiag.diagnostics.signals import SignalName

WINDOWS = 2 * AT_ONCE  # of the validation span
LEAST_SPREAD = 0.01  # of the targets' spread, and of the outputs' size
# Of the least spread. A model that reacts moves its outputs by about their spread, so from here on
# its effect would be 1e-3 and well above that of rounding; below it could pass for none.
VARIES = 1e-3
_STREAM = 11  # of random numbers, so that no other use of the seed repeats them

SIGNALS = (
    SignalName(
        "time_shuffle_effect",
        "relative",
        "change of the output when the rows of each window are shuffled",
        "state",
    ),
    SignalName(
        "time_shuffle_loss",
        "target variance",
        "validation loss with shuffled rows minus without, same windows",
        "state",
    ),
    SignalName(
        "channel_shuffle_effect",
        "relative",
        "change of the output when the channels of each window are shuffled",
        "state",
    ),
    SignalName(
        "batch_influence",
        "relative",
        "change of a window's output when others of its batch are replaced",
        "state",
    ),
)


def measure_sensitivity(specimen: Specimen) -> Iterator[Reading]:
    """Compare outputs before and after each disturbance; what cannot be shuffled is left out."""
    model = specimen.model
    inputs, targets = spaced(specimen.validation, WINDOWS)
    rng = np.random.default_rng([_STREAM, specimen.config.seed])
    plain, truth = outputs(model, inputs), targets.flatten(1).double()
    if not bool(plain.isfinite().all()):
        return  # the loss signals say that it diverged
    spread, least = math.sqrt(variance(plain)), least_spread(plain, truth)
    if spread <= VARIES * least:
        return
    scale = max(spread, least)
    if inputs.shape[1] > 1:
        found = outputs(model, shuffled(inputs, 1, rng))
        yield Reading("time_shuffle_effect", _rms(found - plain) / scale)
        change = _rms(found - truth) ** 2 - _rms(plain - truth) ** 2
        yield Reading("time_shuffle_loss", change)
    if inputs.shape[2] > 1:
        found = outputs(model, shuffled(inputs, 2, rng))
        yield Reading("channel_shuffle_effect", _rms(found - plain) / scale)
    if len(inputs) >= 4:
        yield Reading("batch_influence", _batch_influence(model, inputs) / scale)


def least_spread(
    found: Float64[Tensor, "window output"], truth: Float64[Tensor, "window output"]
) -> float:
    """Return the least that effects are related to."""
    return LEAST_SPREAD * max(math.sqrt(variance(truth)), _rms(found))


def shuffled(
    inputs: Float[Tensor, "window time channel"], axis: int, rng: np.random.Generator
) -> Float[Tensor, "window time channel"]:
    """Return the windows with the places along an axis permuted, each window by its own order."""
    orders = rng.permuted(np.tile(np.arange(inputs.shape[axis]), (len(inputs), 1)), axis=1)
    rows = zip(inputs, torch.from_numpy(orders).to(inputs.device), strict=True)
    return torch.stack([window.index_select(axis - 1, order) for window, order in rows])


def _batch_influence(model: nn.Module, inputs: Float[Tensor, "window time channel"]) -> float:
    """Replace every second window of a batch and look at the outputs of the others."""
    half = len(inputs) // 2  # at most one pass, or the others would not be in the same batch
    batch, strangers = inputs[:half], inputs[half : 2 * half]
    replaced = batch.clone()
    replaced[1::2] = strangers[1::2]
    return _rms((outputs(model, replaced) - outputs(model, batch))[::2])


def _rms(values: Float64[Tensor, "window output"]) -> float:
    return math.sqrt(float(values.square().mean()))


SENSITIVITY = Probe("sensitivity", "full", Specimen, SIGNALS, measure_sensitivity)
