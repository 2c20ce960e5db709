"""The rate meter: how long a step along the update direction the loss tolerates.

Measured where the configured peak rate is judged: at the fresh weights that a run begins with. At
trained weights the loss tolerates only about the rate with which the schedule ended, and every
healthy run would seem to have begun far too fast.

The direction is that of the optimizer's first step, on a fixed train batch with dropout off: for
Adam and its kin g / (|g| + eps), so nearly the sign of each gradient (Kingma and
Ba 2015, after one step m / sqrt(v) = g / |g|), for SGD the clipped gradient. The rates so found
compare with the configured one. Limits: in the middle of training Adam's directions are shorter
(successive gradients disagree) and SGD's with momentum longer (up to 10 times), other batches and
curvature met further on do not count, and a rate is known to half a decade.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import takewhile

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tsdiag.config import OptimizerConfig
from tsdiag.diagnostics.probes.probe import Probe, Reading, Specimen
from tsdiag.diagnostics.probes.sample import fresh, spaced
from tsdiag.diagnostics.probes.view import differentiable, undisturbed
from tsdiag.diagnostics.signals import SignalName
from tsdiag.training.optimizer import freeze

WINDOWS = 64
HALF_DECADES = range(-8, 7)  # around the configured rate: from a 10,000th to 1,000 times of it
ROUNDING = 1e-6  # of the loss: a rise by less is float32's
ADAM_EPSILON = 1e-8  # torch's default, which the optimizer here keeps

SIGNALS = (
    SignalName(
        "tolerated_rate",
        "weight per direction",
        "largest rate up to which no step from fresh weights raises the loss of a batch; "
        "an end of the grid stands for everything beyond it",
        "state",
    ),
    SignalName(
        "best_rate", "weight per direction", "that of the tolerated with least loss", "state"
    ),
    SignalName(
        "rate_ratio",
        "ratio",
        "configured peak rate over the tolerated one: up to about 3 in healthy runs",
        "state",
    ),
)


def measure_rates(specimen: Specimen) -> Iterator[Reading]:
    """Judge the configured rate by the weights that the run began with."""
    inputs, targets = spaced(specimen.train, WINDOWS)
    model = fresh(specimen.config, inputs, targets)
    freeze(model, specimen.config.optimizer.frozen)
    yield from judge_rate(model, inputs, targets, specimen.config.optimizer)


def judge_rate(
    model: nn.Module,
    inputs: Float[Tensor, "batch time channel"],
    targets: Float[Tensor, "batch horizon target"],
    optimizer: OptimizerConfig,
) -> Iterator[Reading]:
    """Walk along the direction and leave the model at its end; without a gradient there is none."""
    start, directions = update_directions(model, inputs, targets, optimizer)
    if not math.isfinite(start) or not any(bool(d.any()) for _, d in directions):
        return
    rates = [optimizer.lr * 10 ** (half / 2) for half in HALF_DECADES]
    with undisturbed(model):
        losses = losses_along(model, directions, rates, inputs, targets)
    limit = start * (1 + ROUNDING)
    # Where not even the least rate is tolerated, it stands for those below it.
    tolerated = max(1, len(list(takewhile(lambda loss: loss <= limit, losses))))
    yield Reading("tolerated_rate", rates[tolerated - 1])
    yield Reading("rate_ratio", optimizer.lr / rates[tolerated - 1])
    yield Reading("best_rate", rates[losses.index(min(losses[:tolerated]))])


def update_directions(
    model: nn.Module,
    inputs: Float[Tensor, "batch time channel"],
    targets: Float[Tensor, "batch horizon target"],
    optimizer: OptimizerConfig,
) -> tuple[float, list[tuple[nn.Parameter, Tensor]]]:
    """Return the loss and what a rate of 1 would add to each parameter that is trained."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    with differentiable(model):
        loss = _loss(model, inputs, targets)
        start = float(loss.detach())
        if not loss.requires_grad:
            return start, []
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    pairs = [(p, g) for p, g in zip(parameters, gradients, strict=True) if g is not None]
    if optimizer.name == "sgd":
        norm = math.sqrt(sum(float(g.double().square().sum()) for _, g in pairs))
        share = optimizer.clip_norm / norm if 0 < optimizer.clip_norm < norm else 1.0
        return start, [(p, -share * g) for p, g in pairs]
    return start, [(p, -g / (g.abs() + ADAM_EPSILON)) for p, g in pairs]


def losses_along(
    model: nn.Module,
    directions: list[tuple[nn.Parameter, Tensor]],
    rates: list[float],
    inputs: Float[Tensor, "batch time channel"],
    targets: Float[Tensor, "batch horizon target"],
) -> list[float]:
    """Return the loss after one step of each rate from the model's weights, which it leaves."""
    starts = [parameter.detach().clone() for parameter, _ in directions]
    losses = []
    for rate in rates:
        with torch.no_grad():
            for (parameter, direction), start in zip(directions, starts, strict=True):
                parameter.copy_(start + rate * direction)
            losses.append(float(_loss(model, inputs, targets)))
    return losses


def _loss(
    model: nn.Module,
    inputs: Float[Tensor, "batch time channel"],
    targets: Float[Tensor, "batch horizon target"],
) -> Float[Tensor, ""]:
    loss: Tensor = (model(inputs) - targets).double().square().mean()
    return loss


RATE_METER = Probe("rate_meter", "full", Specimen, SIGNALS, measure_rates)
