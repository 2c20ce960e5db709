"""Workers whose training sleeps: all else of theirs is what a real worker does.

Three things are replaced, all that computes with tensors for long: the steps of a run (they sleep,
and hand over what was recorded), the scoring of the best weights (off by the recorded
loss everywhere), and the dear probes of a stalled run (they hand over what was recorded).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from simulation.recording import Point, Recording
from torch import Tensor, nn

from tsdiag.data.windows import Windows
from tsdiag.diagnostics.probes.watcher import Note
from tsdiag.runs import examination, execute
from tsdiag.runs.execute import Execution, Request
from tsdiag.search import watch, worker
from tsdiag.training.loop import Ending, Stop, Training
from tsdiag.training.observer import Observer

# What a stalled run's best weights reach [variance of the target].
_STALLED = 1.0
_CHECKPOINT_EVERY, _RENEW_EVERY = execute.CHECKPOINT_EVERY, watch._RENEW_EVERY


@dataclass(frozen=True)
class Pace:
    """How long a simulated run takes, and how it ends."""

    minutes: float
    # Checkpoints and renewals come this many times as often: what a long run writes, in less time.
    speed: float = 1.0
    stalled: bool = False

    @property
    def seconds(self) -> float:
        """What a run takes on the clock [s]."""
        return 60 * self.minutes / self.speed


class Asleep:
    """Stands in for a ``Training``: the same model and progress, and no step is computed."""

    def __init__(self, training: Training, recording: Recording, pace: Pace, note: Note) -> None:
        self.model = training.model
        self.progress = training.progress
        self._training = training
        self._recording = recording
        self._pace = pace
        self._note = note

    def checkpoint(self) -> bytes:
        """Return a real checkpoint of the model, which has not moved."""
        return self._training.checkpoint()

    def resume(self, data: bytes) -> None:
        """Go on where a checkpoint was taken."""
        self._training.resume(data)
        self.progress = self._training.progress

    def run(self, stop: Stop) -> Ending:
        """Sleep from one moment to the next, hand over its readings, ask whether to stop."""
        progress, moment = self.progress, self._training.moment
        began, first = time.monotonic(), progress.step
        if first == 0:
            self._evaluate(0)
        losses = dict(self._recording.evaluations)
        for step in self._moments(first):
            _sleep_until(began + (step - first) / self._recording.steps * self._pace.seconds)
            self._hand_over(progress.step, step)
            progress.step = moment.step = step
            if step in losses:
                self._evaluate(step)
            if (state := stop(moment)) is not None:
                return Ending(state, f"{state} at step {step}", progress)
        return Ending("completed", f"all {progress.step} steps", progress)

    def _moments(self, after: int) -> list[int]:
        """Return the steps at which something may happen: the first, evaluations, and between."""
        steps = self._recording.steps
        # A real run asks at every step; between its evaluations only the clock matters.
        between = math.ceil(self._pace.seconds / min(1.0, execute.CHECKPOINT_EVERY / 4))
        chosen = {step for step, _ in self._recording.evaluations} | {1, steps}
        chosen |= {round(steps * part / between) for part in range(1, between)}
        return sorted(step for step in chosen if step > after)

    def _hand_over(self, after: int, until: int) -> None:
        for step, signal, where, value in self._recording.between(after, until):
            if signal.name != "validation_loss":
                self._note(signal, where, step, value)

    def _evaluate(self, step: int) -> None:
        progress, moment = self.progress, self._training.moment
        (signal,) = {p[1] for p in self._recording.live if p[1].name == "validation_loss"}
        if step == 0:
            self._hand_over(-1, 0)
        loss = dict(self._recording.evaluations)[step] * self._scale
        self._note(signal, "", step, loss)
        moment.validation_loss = progress.last_validation_loss = loss
        moment.evaluated_step = progress.evaluated_step = step
        if loss < progress.best_validation_loss:
            progress.best_validation_loss, progress.best_step = loss, step
            progress.best_weights = {k: v.clone() for k, v in self.model.state_dict().items()}
        moment.best_validation_loss = progress.best_validation_loss

    @property
    def _scale(self) -> float:
        return _STALLED / self._recording.loss if self._pace.stalled else 1.0


class SleepingExecution(Execution):
    """An execution that sleeps; it writes and asks what a real one does."""

    recording: Recording
    pace: Pace

    def _begin(self, observers: Sequence[Observer]) -> Any:
        return Asleep(super()._begin(observers), self.recording, self.pace, self._note)

    def _examine(self, _: nn.Module, step: int) -> None:
        for _, signal, where, value in self.recording.at_end:
            self._recorder.note(signal, where, step, value)


class SleepingWorker(worker.Worker):
    """A real worker with executions that sleep."""

    def _execution(self, request: Request) -> Execution:
        return SleepingExecution(request, self.dataset, self._store, self._artifacts, self.device)


def simulate(recording: Recording, pace: Pace) -> None:
    """From here on this process's workers sleep instead of training."""
    SleepingExecution.recording, SleepingExecution.pace = recording, pace
    execute.CHECKPOINT_EVERY = _CHECKPOINT_EVERY / pace.speed
    watch._RENEW_EVERY = _RENEW_EVERY / pace.speed
    loss = _STALLED if pace.stalled else recording.loss
    worker.predict = _predicted(loss)
    examination.examine = _examined(recording.on_demand)
    worker.Worker = SleepingWorker


def _predicted(loss: float) -> Callable[..., Tensor]:
    def predict(_: nn.Module, windows: Windows, **__: Any) -> Tensor:
        truth = windows.targets_at(torch.arange(len(windows)))
        return truth + loss**0.5  # the same error everywhere: every block has the same loss

    return predict


def _examined(points: Sequence[Point]) -> Callable[..., dict[str, str]]:
    def examine(*arguments: Any) -> dict[str, str]:
        _, _, _, probes, step, note, *_ = arguments
        asked = {signal.name for probe in probes for signal in probe.signals}
        for _, signal, where, value in points:
            if signal.name in asked:
                note(signal, where, step, value)
        return {}

    return examine


def _sleep_until(moment: float) -> None:
    if (left := moment - time.monotonic()) > 0:
        time.sleep(left)
