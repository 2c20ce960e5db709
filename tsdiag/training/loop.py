"""The training loop: plain, on one step axis, and the same for every model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tsdiag.config import RunConfig
from tsdiag.data.windows import Windows
from tsdiag.models import Penalised
from tsdiag.training.checkpoint import Progress, pack_checkpoint, restore_checkpoint
from tsdiag.training.evaluation import evaluate
from tsdiag.training.feed import Feed
from tsdiag.training.observer import Moment, Observer
from tsdiag.training.optimizer import build_optimizer
from tsdiag.training.schedule import learning_rate
from tsdiag.training.sharpness import sharpen

# Asked after every step: a state such as "pruned" or "interrupted" ends the run.
Stop = Callable[[Moment], str | None]


def never(_: Moment) -> None:
    """Let a run go on to its last step."""


@dataclass(frozen=True)
class Ending:
    """How a run ended: a state, a reason in words, and what it had reached."""

    state: str
    reason: str
    progress: Progress


class Training:
    """One model on its way through its steps; ``run`` may be called again after a stop."""

    def __init__(
        self,
        model: nn.Module,
        train: Windows,
        validation: Windows,
        config: RunConfig,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.model = model
        self.config = config
        self.observers = observers
        self.feed = Feed(train, config.training.batch_size, config.seed)
        self.validation = validation.every(config.training.validation_windows)
        self.optimizer = build_optimizer(model, config.optimizer)
        self.progress = Progress()
        self.moment = Moment(model, self.optimizer)

    def checkpoint(self) -> bytes:
        """Return everything that the next step depends on."""
        return pack_checkpoint(self.model, self.optimizer, self.progress)

    def resume(self, data: bytes) -> None:
        """Go on where a checkpoint was taken; raises what ``restore_checkpoint`` raises."""
        self.progress = restore_checkpoint(data, self.model, self.optimizer)
        moment, progress = self.moment, self.progress
        moment.step = progress.step
        moment.evaluated_step = progress.step - progress.step % self.config.training.evaluate_every
        moment.validation_loss = progress.last_validation_loss
        moment.best_validation_loss = progress.best_validation_loss

    def run(self, stop: Stop = never) -> Ending:
        """Train until the last step, a stop, a lost patience or a non-finite loss."""
        self.model.train()
        if self.progress.step == 0 and not self._evaluate():
            return self._ending("diverged", self._divergence())
        while self.progress.step < self.config.training.max_steps:
            # Asked before a step, so that a run resumed just here ends here as well.
            if self._patience_is_lost():
                waited = self.config.training.patience
                return self._ending("early_stopped", f"no gain in {waited} evaluations")
            if not self._step():
                return self._ending("diverged", self._divergence())
            if self._is_grid_step() and not self._evaluate():
                return self._ending("diverged", self._divergence())
            if (state := stop(self.moment)) is not None:
                return self._ending(state, f"{state} at step {self.progress.step}")
        return self._ending("completed", f"all {self.progress.step} steps")

    def _step(self) -> bool:
        """Carry out one update; return whether loss and gradients were finite."""
        moment, step = self.moment, self.progress.step
        moment.learning_rate = learning_rate(
            self.config.optimizer, step, self.config.training.max_steps
        )
        for group in self.optimizer.param_groups:
            group["lr"] = moment.learning_rate
        moment.inputs, moment.targets = self.feed.batch(step)
        self.optimizer.zero_grad(set_to_none=True)
        moment.train_loss = float(self._backward())
        if self.config.optimizer.name == "sam":
            sharpen(self.model, self.config.optimizer.rho, self._backward)
        self._measure_gradients()
        for observer in self.observers:
            observer.after_backward(moment)
        if not (math.isfinite(moment.train_loss) and math.isfinite(moment.gradient_norm)):
            return False
        self._clip()
        self.optimizer.step()
        self.progress.step = moment.step = step + 1
        for observer in self.observers:
            observer.after_update(moment)
        return True

    def _backward(self) -> Tensor:
        """Add the batch's gradients to ``p.grad``; return its mean squared error, no penalty."""
        assert self.moment.inputs is not None
        assert self.moment.targets is not None
        error = nn.functional.mse_loss(self.model(self.moment.inputs), self.moment.targets)
        loss = error + self.model.penalty() if isinstance(self.model, Penalised) else error
        torch.autograd.backward(loss)
        return error.detach()

    def _measure_gradients(self) -> None:
        norms = torch._foreach_norm(self._gradients())
        self.moment.gradient_norm = float(torch.linalg.vector_norm(torch.stack(norms)))
        limit = self.config.optimizer.clip_norm
        self.moment.clipped = 0 < limit < self.moment.gradient_norm

    def _clip(self) -> None:
        if self.moment.clipped:
            share = self.config.optimizer.clip_norm / self.moment.gradient_norm
            torch._foreach_mul_(self._gradients(), share)

    def _gradients(self) -> list[Tensor]:
        return [p.grad for p in self.model.parameters() if p.grad is not None]

    def _is_grid_step(self) -> bool:
        """The grid is the same for every run of a study, so that pruners compare like with like."""
        training, step = self.config.training, self.progress.step
        return step % training.evaluate_every == 0 or step == training.max_steps

    def _evaluate(self) -> bool:
        """Measure validation loss, keep the best weights; return whether it was finite."""
        progress, moment = self.progress, self.moment
        loss = evaluate(self.model, self.validation)
        moment.validation_loss = progress.last_validation_loss = loss
        moment.evaluated_step = progress.step
        if loss < progress.best_validation_loss:
            progress.best_validation_loss, progress.best_step = loss, progress.step
            progress.evaluations_without_gain = 0
            progress.best_weights = {
                name: value.detach().clone() for name, value in self.model.state_dict().items()
            }
        else:
            progress.evaluations_without_gain += 1
        moment.best_validation_loss = progress.best_validation_loss
        for observer in self.observers:
            observer.after_evaluation(moment)
        return math.isfinite(loss)

    def _patience_is_lost(self) -> bool:
        patience = self.config.training.patience
        return 0 < patience <= self.progress.evaluations_without_gain

    def _divergence(self) -> str:
        moment = self.moment
        return (
            f"non-finite at step {self.progress.step}: train loss {moment.train_loss:g}, "
            f"gradient norm {moment.gradient_norm:g}, validation loss {moment.validation_loss:g}"
        )

    def _ending(self, state: str, reason: str) -> Ending:
        return Ending(state, reason, self.progress)
