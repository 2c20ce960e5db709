"""What the loop shows to whoever watches: three hooks and a read-only view of the moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn, optim


@dataclass
class Moment:
    """The loop's state at a hook; observers read it and must change nothing in it.

    ``step`` counts finished optimizer steps: 0 before the first update. ``gradient_norm`` is the
    global L2 norm before clipping, of the step under way or just finished; ``evaluated_step`` is
    the step of the latest validation loss.
    """

    model: nn.Module
    optimizer: optim.Optimizer
    step: int = 0
    inputs: Tensor | None = None
    targets: Tensor | None = None
    train_loss: float = float("nan")
    learning_rate: float = 0.0
    gradient_norm: float = 0.0
    clipped: bool = False
    validation_loss: float = float("nan")
    best_validation_loss: float = float("inf")
    evaluated_step: int = -1


class Observer(Protocol):
    """The three hooks; none may draw random numbers or change what it is shown."""

    def after_backward(self, moment: Moment) -> None:
        """Gradients are in ``p.grad``, not clipped yet."""

    def after_update(self, moment: Moment) -> None:
        """The optimizer has stepped; ``moment.step`` already counts it."""

    def after_evaluation(self, moment: Moment) -> None:
        """``moment.validation_loss`` is fresh, finite or not; called before the first step, too."""
