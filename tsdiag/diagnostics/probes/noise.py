"""How much of a batch's gradient is chance: the gradient noise scale, from micro-batches.

McCandlish et al. 2018 ("An Empirical Model of Large-Batch Training"), appendix A.1: the squared
norm of a gradient over b windows is on average |G|^2 + tr(Sigma) / b, so two batch sizes give both
terms without bias. Their ratio is the batch size beyond which larger ones stop paying.

One measurement says little about |G|^2, and a ratio of two such numbers is biased: rules average
each term over the evaluations after warmup and divide then. As every evaluation draws other
windows, chance averages out. Dropout is off and a penalty on weights left out: both terms are those
of the squared error alone. So is the loss, which costs nothing more.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tsdiag.diagnostics.probes.probe import Probe, Reading, Sample
from tsdiag.diagnostics.probes.sample import MICRO_BATCHES
from tsdiag.diagnostics.probes.view import differentiable
from tsdiag.diagnostics.signals import SignalName

UNIT = "loss per weight, squared"
SIGNALS = (
    SignalName(
        "gradient_square",
        UNIT,
        "unbiased estimate of the true gradient's squared norm; negative where noise drowns it",
        of="state",
    ),
    SignalName(
        "gradient_covariance_trace", UNIT, "summed variance of a single window's gradient", "state"
    ),
    SignalName(
        "noise_scale",
        "windows",
        "covariance trace over gradient square; no reading where the latter is not positive",
        of="state",
    ),
    SignalName(
        "undropped_train_loss",
        "target variance",
        "mean squared error of train windows drawn for this evaluation, dropout off: far below "
        "train_loss where dropout is too strong, far below validation_loss where it overfits",
        of="state",
    ),
)


def measure(sample: Sample) -> Iterator[Reading]:
    """Yield the loss, and of a model with at least one gradient both terms and their ratio.

    A single window tells nothing about noise; windows that fill no micro-batch are left out.
    """
    count = min(MICRO_BATCHES, len(sample.inputs))
    size = len(sample.inputs) // count
    whole = size * count
    with differentiable(sample.model):
        loss, squares = _walk(sample.model, sample.inputs[:whole], sample.targets[:whole], size)
    if not isfinite(loss):
        return
    yield Reading("undropped_train_loss", loss)
    if count < 2 or not squares or not isfinite(sum(squares)):
        return
    *small, large = squares
    mean = sum(small) / count
    # Equations A.2 and A.3 with B_small = size and B_big = whole.
    square = (whole * large - size * mean) / (whole - size)
    trace = (mean - large) / (1 / size - 1 / whole)
    yield Reading("gradient_square", square)
    yield Reading("gradient_covariance_trace", trace)
    if square > 0:
        yield Reading("noise_scale", trace / square)


def _walk(
    model: nn.Module,
    inputs: Float[Tensor, "batch time channel"],
    targets: Float[Tensor, "batch horizon target"],
    size: int,
) -> tuple[float, list[float]]:
    """Return the loss; the squared norm of each micro-batch's gradient and, last, of their mean.

    One gradient at a time is held beside their sum. Without any gradient there are no norms.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    losses: list[Float[Tensor, ""]] = []
    norms: list[Float[Tensor, " tensor"]] = []
    total: list[Tensor] = []
    for windows, wanted in zip(torch.split(inputs, size), torch.split(targets, size), strict=True):
        loss = nn.functional.mse_loss(model(windows), wanted)
        losses.append(loss.detach())
        if not loss.requires_grad:
            continue
        # Not backward(): the gradients of training stay where they are.
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        gradients = [g for g in found if g is not None]
        norms.append(torch.stack(torch._foreach_norm(gradients)))
        total = list(torch._foreach_add(total, gradients)) if total else gradients
    mean = float(torch.stack(losses).double().mean())
    if not norms:
        return mean, []
    norms.append(torch.stack(torch._foreach_norm(total)) / len(norms))
    squares: list[float] = torch.stack(norms).double().square().sum(dim=1).tolist()
    return mean, squares


NOISE = Probe("noise", "standard", Sample, SIGNALS, measure)
