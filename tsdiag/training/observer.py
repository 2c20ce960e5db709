"""What the loop shows to whoever watches: three hooks and a read-only view of the moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor, nn, optim

from tsdiag.training.evaluation import Evaluation


@dataclass
class Moment:
    """The loop's state at a hook; observers read it and must change nothing in it but ``memory``.

    ``step`` counts finished optimizer steps: 0 before the first update. ``gradient_norm`` is the
    global L2 norm before clipping, of the step under way or just finished, ``gradient_norms`` that
    of each parameter that has a gradient, in the model's order; ``clip_share`` is what the
    gradients are multiplied by, 1 where nothing is clipped. ``evaluated_step`` is the step of the
    latest validation loss; ``evaluation`` has its predictions, and is None until the first one of
    this process. ``memory`` is for what an observer must know of earlier steps: it is saved in
    checkpoints, and on the CPU after a resume.
    """

    model: nn.Module
    optimizer: optim.Optimizer
    step: int = 0
    inputs: Tensor | None = None
    targets: Tensor | None = None
    train_loss: float = float("nan")
    learning_rate: float = 0.0
    gradient_norm: float = 0.0
    gradient_norms: Tensor | None = None
    clipped: bool = False
    clip_share: float = 1.0
    validation_loss: float = float("nan")
    best_validation_loss: float = float("inf")
    evaluated_step: int = -1
    evaluating: bool = False  # between two batches of an evaluation, not at a hook
    evaluation: Evaluation | None = None
    memory: dict[str, Tensor] = field(default_factory=dict)


class Observer(Protocol):
    """The three hooks; none may draw random numbers or change what it is shown."""

    def after_backward(self, moment: Moment) -> None:
        """Gradients are in ``p.grad``, not clipped yet; valid until the next step only."""

    def after_update(self, moment: Moment) -> None:
        """The optimizer has stepped; ``moment.step`` already counts it."""

    def after_evaluation(self, moment: Moment) -> None:
        """``moment.validation_loss`` is fresh, finite or not; called before the first step, too."""
