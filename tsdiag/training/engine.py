"""How a step's gradients are computed: in which precision, in how many parts, replayed or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from tsdiag.config import Precision, TrainingConfig
from tsdiag.errors import ConfigError
from tsdiag.training.graphs import replayed
from tsdiag.training.precision import in_precision

Penalty = Callable[[], Tensor]


@dataclass(frozen=True)
class Engine:
    """The forward pass of training, and how many windows go through it at once."""

    forward: nn.Module
    precision: Precision
    part: int

    def backward(self, inputs: Tensor, targets: Tensor, penalty: Penalty | None) -> Tensor:
        """Add the batch's gradients to ``p.grad``; return its mean squared error, no penalty.

        In parts that stay in the cache where there are micro-batches. Their errors are weighted by
        their share of the windows, so that they add up to the whole batch's gradient and loss.
        """
        errors = []
        parts = zip(torch.split(inputs, self.part), torch.split(targets, self.part), strict=True)
        for part, wanted in parts:
            error = mse_loss(self.forward(part), wanted)
            if len(part) < len(inputs):
                error = error * (len(part) / len(inputs))
            errors.append(error.detach())
            # The penalty is one of the weights: it counts once, however many the parts.
            if penalty is not None and len(errors) == 1:
                error = error + penalty()
            torch.autograd.backward(error)
        return errors[0] if len(errors) == 1 else torch.stack(errors).sum()


def build_engine(model: nn.Module, how: TrainingConfig, inputs: Tensor) -> Engine:
    """Return the engine of a model for such batches; raises what ``refuse_parts`` does."""
    refuse_parts(model, how)
    part = min(how.micro_batch or len(inputs), len(inputs))
    forward = in_precision(model, how.precision)
    # Elsewhere it is the same computation, launched kernel by kernel.
    if how.cuda_graph and inputs.is_cuda:
        forward = replayed(forward, inputs)
    return Engine(forward, how.precision, part)


def refuse_parts(model: nn.Module, how: TrainingConfig) -> None:
    """Check that micro-batches compute what the whole batch does.

    Raises:
        ConfigError: they would change the statistics of batch normalisation.
    """
    if 0 < how.micro_batch < how.batch_size and normalises_batches(model):
        raise ConfigError(
            f"training.micro_batch = {how.micro_batch} for a model with batch normalisation, whose "
            f"statistics are of the whole batch of {how.batch_size} windows; set "
            "training.micro_batch = 0"
        )


def normalises_batches(model: nn.Module) -> bool:
    """Return whether a window's prediction in training depends on the others of its batch."""
    return any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in model.modules())
