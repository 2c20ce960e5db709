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
from tsdiag.training.engine import build_engine
from tsdiag.training.evaluation import Evaluation, evaluate
from tsdiag.training.feed import Feed
from tsdiag.training.observer import Moment, Observer
from tsdiag.training.optimizer import build_optimizer
from tsdiag.training.schedule import learning_rate
from tsdiag.training.sharpness import sharpen

# Asked after every step and between the batches of an evaluation (``moment.evaluating``): a state
# such as "pruned" or "interrupted" ends the run.
Stop = Callable[[Moment], str | None]


def never(_: Moment) -> None:
    """Let a run go on to its last step."""


@dataclass(frozen=True)
class Ending:
    """How a run ended: a state, a reason in words, and what it had reached."""

    state: str
    reason: str
    progress: Progress


class _BrokenOff(Exception):
    """An evaluation was told to stop between two batches."""

    def __init__(self, state: str) -> None:
        super().__init__(state)
        self.state = state


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
        self.moment = Moment(model, self.optimizer, memory=self.progress.memory)
        # Found once: walking through the modules costs a small model a tenth of its step.
        self._trained = [p for p in model.parameters() if p.requires_grad]
        self._penalty = model.penalty if isinstance(model, Penalised) else None
        model.train()
        self.engine = build_engine(model, config.training, self.feed.batch(0)[0])

    def checkpoint(self) -> bytes:
        """Return everything that the next step depends on."""
        return pack_checkpoint(self.model, self.optimizer, self.progress)

    def resume(self, data: bytes) -> None:
        """Go on where a checkpoint was taken; raises what ``restore_checkpoint`` raises."""
        self.progress = restore_checkpoint(data, self.model, self.optimizer)
        moment, progress = self.moment, self.progress
        moment.step, moment.evaluated_step = progress.step, progress.evaluated_step
        moment.train_loss, moment.gradient_norm = progress.train_loss, progress.gradient_norm
        moment.validation_loss = progress.last_validation_loss
        moment.best_validation_loss = progress.best_validation_loss
        moment.memory = progress.memory

    def run(self, stop: Stop = never) -> Ending:
        """Train until the last step, a stop, a lost patience or a non-finite loss."""
        self.model.train()
        try:
            return self._run(stop)
        except _BrokenOff as broken:
            during = f"{broken.state} in the evaluation at step {self.progress.step}"
            return self._ending(broken.state, during)
        finally:
            self.moment.evaluating = False

    def _run(self, stop: Stop) -> Ending:
        if self.progress.step == 0 and self._is_due() and not self._evaluate(stop):
            return self._ending("diverged", self._divergence())
        # The run was broken off within this evaluation; else it was asked before it was resumed.
        if self._is_due() and (ending := self._look(stop)) is not None:
            return ending
        while self.progress.step < self.config.training.max_steps:
            # Asked before a step, so that a run resumed just here ends here as well.
            if self._patience_is_lost():
                waited = self.config.training.patience
                return self._ending("early_stopped", f"no gain in {waited} evaluations")
            if not self._step():
                return self._ending("diverged", self._divergence())
            if (ending := self._look(stop)) is not None:
                return ending
        return self._ending("completed", f"all {self.progress.step} steps")

    def _look(self, stop: Stop) -> Ending | None:
        """Evaluate if it is time to, ask whether to stop; return the ending if it is one."""
        if self._is_due() and not self._evaluate(stop):
            return self._ending("diverged", self._divergence())
        state = stop(self.moment)
        return None if state is None else self._ending(state, f"{state} at step {self.moment.step}")

    def _step(self) -> bool:
        """Carry out one update; return whether loss and gradients were finite."""
        moment, step = self.moment, self.progress.step
        moment.learning_rate = learning_rate(
            self.config.optimizer, step, self.config.training.max_steps
        )
        for group in self.optimizer.param_groups:
            group["lr"] = moment.learning_rate
        moment.inputs, moment.targets = self.feed.batch(step)
        for parameter in self._trained:
            parameter.grad = None
        error = self._backward()
        if self.config.optimizer.name == "sam":
            sharpen(self.model, self.config.optimizer.rho, self._backward)
        gradients = [p.grad for p in self._trained if p.grad is not None]
        self._measure(error, gradients)
        for observer in self.observers:
            observer.after_backward(moment)
        if not (math.isfinite(moment.train_loss) and math.isfinite(moment.gradient_norm)):
            return False
        if moment.clipped:
            torch._foreach_mul_(gradients, moment.clip_share)
        self.optimizer.step()
        self.progress.step = moment.step = step + 1
        for observer in self.observers:
            observer.after_update(moment)
        return True

    def _backward(self) -> Tensor:
        inputs, targets = self.moment.inputs, self.moment.targets
        assert inputs is not None
        assert targets is not None
        return self.engine.backward(inputs, targets, self._penalty)

    def _measure(self, error: Tensor, gradients: list[Tensor]) -> None:
        """Note the batch's loss and the gradients' norms: read from a GPU in one transfer."""
        moment, progress = self.moment, self.progress
        moment.gradient_norms = torch.stack(torch._foreach_norm(gradients))
        whole = torch.linalg.vector_norm(moment.gradient_norms)
        moment.train_loss, moment.gradient_norm = torch.stack((error, whole)).tolist()
        progress.train_loss, progress.gradient_norm = moment.train_loss, moment.gradient_norm
        limit = self.config.optimizer.clip_norm
        moment.clipped = 0 < limit < moment.gradient_norm
        moment.clip_share = limit / moment.gradient_norm if moment.clipped else 1.0

    def _is_due(self) -> bool:
        """Whether this step is to be evaluated, and was not yet.

        The grid is the same for every run of a study, so that pruners compare like with like.
        """
        training, step = self.config.training, self.progress.step
        on_grid = step % training.evaluate_every == 0 or step == training.max_steps
        return on_grid and self.progress.evaluated_step < step

    def _evaluate(self, stop: Stop) -> bool:
        """Measure validation loss, keep the best weights; return whether it was finite."""
        progress, moment = self.progress, self.moment
        moment.evaluation = self._measure_validation(stop)
        loss = moment.evaluation.loss
        moment.validation_loss = progress.last_validation_loss = loss
        moment.evaluated_step = progress.evaluated_step = progress.step
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

    def _measure_validation(self, stop: Stop) -> Evaluation:
        """Evaluate, unless told to stop: then nothing of it counts, and it is done again later."""

        def pause() -> None:
            if (state := stop(self.moment)) is not None:
                raise _BrokenOff(state)

        self.moment.evaluating = True
        found = evaluate(self.model, self.validation, precision=self.engine.precision, pause=pause)
        self.moment.evaluating = False
        return found

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
