"""How much of a batch's gradient is chance: the gradient noise scale, from micro-batches.

McCandlish et al. 2018 ("An Empirical Model of Large-Batch Training"), appendix A.1: the squared
norm of a gradient over b windows is on average |G|^2 + tr(Sigma) / b, so two batch sizes give both
terms without bias. Their ratio is the batch size beyond which larger ones stop paying.

One measurement says little about |G|^2 and its ratio is biased: rules average the two terms over
steps and divide then. The windows are the same at every step, so the average is over states of the
model more than over data. Dropout is off and a penalty on weights left out: both terms are those of
the squared error alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import isfinite

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tsdiag.diagnostics.probes.probe import Probe, Reading, View
from tsdiag.diagnostics.probes.view import undisturbed
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
)
# On 32 windows of the generated series, after 60 steps, one measurement of |G|^2 is off by .87, .86
# and .86 of its value with 2, 4 and 8 (the windows limit it), one of tr(Sigma) by .70, .44 and .29;
# the cost is .50, .58 and .75 of a training step with 64 windows.
MICRO_BATCHES = 4


def measure(view: View) -> Iterator[Reading]:
    """Yield both terms and their ratio, of a model with at least one gradient.

    A single window tells nothing about noise; windows that fill no micro-batch are left out.
    """
    count = min(MICRO_BATCHES, len(view.inputs))
    if count < 2:
        return
    size = len(view.inputs) // count
    whole = size * count
    micro_batches = torch.split(_order(view.inputs)[:whole], size)
    with undisturbed(view.model), torch.enable_grad(), _differentiable_recurrence():
        squares = _squares(_gradients(view, index) for index in micro_batches)
    if not squares or not isfinite(sum(squares)):
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


def _gradients(view: View, index: Int[Tensor, " batch"]) -> list[Tensor]:
    """Return the gradients of some of the windows, of all tensors that have one."""
    loss = nn.functional.mse_loss(view.model(view.inputs[index]), view.targets[index])
    if not loss.requires_grad:
        return []
    parameters = [p for p in view.model.parameters() if p.requires_grad]
    # Not backward(): the gradients of training stay where they are.
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [g for g in found if g is not None]


def _squares(micro_batches: Iterable[list[Tensor]]) -> list[float]:
    """Return the squared norm of each micro-batch's gradient and, last, that of their mean.

    One gradient at a time is held beside their sum.
    """
    norms: list[Float[Tensor, " tensor"]] = []
    total: list[Tensor] = []
    for gradients in micro_batches:
        if not gradients:
            return []
        norms.append(torch.stack(torch._foreach_norm(gradients)))
        total = list(torch._foreach_add(total, gradients)) if total else gradients
    norms.append(torch.stack(torch._foreach_norm(total)) / len(norms))
    squares: list[float] = torch.stack(norms).double().square().sum(dim=1).tolist()
    return squares


def _order(inputs: Float[Tensor, "batch time channel"]) -> Int[Tensor, " batch"]:
    """Return a fixed order without meaning: windows that are neighbours in time resemble."""
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    return order.to(inputs.device)


@contextmanager
def _differentiable_recurrence() -> Iterator[None]:
    """Do without cuDNN: its recurrent layers have no backward pass in evaluation mode."""
    enabled = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = enabled


# It takes as long as all other probes of a view together, and the first steps say nothing more.
NOISE = Probe("noise", "standard", View, SIGNALS, measure, dense=False)
