"""Can the architecture learn 64 windows by heart? If not, no data and no patience will help.

Fresh weights from the run's seed, the run's frozen parts, Adam at a constant rate, and nothing that
holds back: no dropout, decay, clipping or penalty. Three rates race, the best goes on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tsdiag.config import RunConfig
from tsdiag.diagnostics.probes.probe import Probe, Reading, Specimen
from tsdiag.diagnostics.probes.sample import fresh, spaced, variance
from tsdiag.diagnostics.signals import SignalName
from tsdiag.models import complete
from tsdiag.training.evaluation import Pause, go_on
from tsdiag.training.optimizer import build_optimizer

WINDOWS = 64
MOST_STEPS = 300  # of all rates together
RACE_STEPS = 20  # of each rate, before the best goes on
RATES = (1e-3, 3e-3)  # beside the configured one, which may be what is wrong
LEARNED = 0.05  # of the variance of the targets: from here on the batch counts as learned

SIGNALS = (
    SignalName(
        "one_batch_loss_share",
        "target variance",
        f"least loss on {WINDOWS} train windows from fresh weights, {MOST_STEPS} steps in all;"
        f" below {LEARNED} no further steps are taken",
        "state",
    ),
    SignalName("one_batch_steps", "steps", "updates before that loss, at the best rate", "state"),
    SignalName("one_batch_rate", "weight per direction", "the best rate, of Adam", "state"),
)


def measure_overfit(specimen: Specimen) -> Iterator[Reading]:
    """Train on one batch until it is learned or the steps are spent."""
    inputs, targets = spaced(specimen.train, WINDOWS)
    spread = variance(targets)
    if spread == 0:
        return
    config = unhindered(specimen.config)
    rate, losses = race(config, inputs, targets, LEARNED * spread, specimen.pause)
    least = min(losses)
    yield Reading("one_batch_loss_share", least / spread)
    yield Reading("one_batch_steps", float(losses.index(least)))
    yield Reading("one_batch_rate", rate)


def unhindered(config: RunConfig) -> RunConfig:
    """Return the configuration with Adam alone and everything off that keeps a loss up."""
    whole = complete(config)
    model = [path for path in whole.paths() if path.startswith("model.")]
    dropouts = {path: 0.0 for path in model if path.endswith("dropout")}
    return whole.edits({**dropouts, "optimizer.name": "adam", "optimizer.weight_decay": 0.0})


def race(
    config: RunConfig,
    inputs: Float[Tensor, "batch time channel"],
    targets: Float[Tensor, "batch horizon target"],
    enough: float,
    pause: Pause = go_on,
) -> tuple[float, list[float]]:
    """Return the best rate and its losses, after 0, 1, 2, ... updates; the last may be enough."""
    rates = sorted({config.optimizer.lr, *RATES})
    runs = {
        rate: training_losses(config.edit("optimizer.lr", rate), inputs, targets, pause)
        for rate in rates
    }
    seen: dict[float, list[float]] = {rate: [] for rate in rates}
    for rate in rates:
        for loss in islice(runs[rate], RACE_STEPS + 1):
            seen[rate].append(loss)
            if loss < enough:
                return rate, seen[rate]
    best = min(rates, key=lambda rate: min(seen[rate], default=math.inf))
    for loss in islice(runs[best], MOST_STEPS - RACE_STEPS * len(rates)):
        seen[best].append(loss)
        if loss < enough:
            break
    return best, seen[best]


def training_losses(
    config: RunConfig,
    inputs: Float[Tensor, "batch time channel"],
    targets: Float[Tensor, "batch horizon target"],
    pause: Pause = go_on,
) -> Iterator[float]:
    """Yield the loss of the batch before every update, until it is not finite."""
    model = fresh(config, inputs, targets)
    optimizer = build_optimizer(model, config.optimizer)
    while True:
        pause()
        loss = nn.functional.mse_loss(model(inputs), targets)
        if not math.isfinite(value := float(loss.detach())):
            return
        yield value
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()


OVERFIT = Probe("overfit", "full", Specimen, SIGNALS, measure_overfit)
