"""The observer that asks the probes on their schedule and hands every reading on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from tsdiag.config import TrainingConfig
from tsdiag.diagnostics.probes.probe import Probe, Update, View, is_due
from tsdiag.diagnostics.probes.view import look
from tsdiag.diagnostics.signals import SignalName
from tsdiag.training.observer import Moment

# Windows of the fixed batch that is looked at: enough for a mean over windows and tokens, and a
# forward pass of them is about a tenth of a training step with 64.
PROBE_WINDOWS = 16
# Names under which the gradients of one step are remembered until the next.
_REMEMBERED = "gradient."

# Where readings go: the signal, its place, the step, the value.
Note = Callable[[SignalName, str, int, float], None]


class Watcher:
    """Watches one run; what it shows to the probes are copies or hidden behind forked generators.

    A probe that raises is not asked again: ``failures`` then says why, by the probe's name. A lost
    measurement is worth a remark; no measurement is worth a lost run.
    """

    def __init__(
        self,
        probes: Sequence[Probe[Any]],
        inputs: Tensor,
        targets: Tensor,
        training: TrainingConfig,
        note: Note,
    ) -> None:
        self.failures: dict[str, str] = {}
        self._probes = probes
        self._batch = (inputs, targets)
        self._training = training
        self._note = note
        self._pending: tuple[int, dict[str, Tensor], dict[str, Tensor | None]] | None = None

    def after_backward(self, moment: Moment) -> None:
        """Ask about the step under way; where it is due, keep what the update will change."""
        self._ask(moment, moment.step)
        self._pending = None
        if self._is_due(moment.step) and self._watches(Update):
            parameters = dict(moment.model.named_parameters())
            before = {name: p.detach().clone() for name, p in parameters.items()}
            gradients = {
                # Cloned, because clipping scales gradients where they are.
                name: None if p.grad is None else p.grad.detach().clone()
                for name, p in parameters.items()
            }
            self._pending = (moment.step, before, gradients)

    def after_update(self, moment: Moment) -> None:
        """Ask about the update, and about the state where no evaluation follows that asks."""
        if self._pending is not None:
            self._ask_update(moment, *self._pending)
            self._pending = None
        self._remember(moment)
        if self._is_due(moment.step) and not self._is_evaluated(moment.step):
            self._ask_view(moment, [probe for probe in self._probes if probe.dense])

    def after_evaluation(self, moment: Moment) -> None:
        """Ask about the validation windows and the state."""
        if moment.evaluation is not None:
            self._ask(moment.evaluation, moment.step)
        self._ask_view(moment, self._probes)

    def _ask_update(
        self,
        moment: Moment,
        step: int,
        before: dict[str, Tensor],
        gradients: dict[str, Tensor | None],
    ) -> None:
        previous = {
            name.removeprefix(_REMEMBERED): gradient
            for name, gradient in moment.memory.items()
            if name.startswith(_REMEMBERED)
        }
        update = Update(
            moment.model,
            moment.optimizer,
            moment.learning_rate,
            before,
            gradients,
            previous or None,
            moment.clip_share,
        )
        self._ask(update, step)

    def _remember(self, moment: Moment) -> None:
        """Keep the gradients of this step for the next, through a checkpoint if need be."""
        for name in [name for name in moment.memory if name.startswith(_REMEMBERED)]:
            del moment.memory[name]
        if self._is_due(moment.step) and self._watches(Update):
            for name, parameter in moment.model.named_parameters():
                if parameter.grad is not None:
                    moment.memory[_REMEMBERED + name] = parameter.grad.detach().clone()

    def _ask_view(self, moment: Moment, probes: Sequence[Probe[Any]]) -> None:
        if self._watches(View):
            view = look(moment.model, *self._batch)
            # What cannot be computed is not measured; the loss signals say that it diverged.
            if bool(view.predictions.isfinite().all()):
                ask(probes, view, moment.step, self._note, self.failures)

    def _ask(self, subject: object, step: int) -> None:
        ask(self._probes, subject, step, self._note, self.failures)

    def _watches(self, kind: type[object]) -> bool:
        return any(p.sees is kind and p.name not in self.failures for p in self._probes)

    def _is_due(self, step: int) -> bool:
        return is_due(step, self._training.evaluate_every)

    def _is_evaluated(self, step: int) -> bool:
        return step % self._training.evaluate_every == 0 or step == self._training.max_steps


def ask(
    probes: Sequence[Probe[Any]],
    subject: object,
    step: int,
    note: Note,
    failures: dict[str, str],
) -> None:
    """Ask every probe that sees this kind of subject and has not failed before."""
    for probe in probes:
        if probe.sees is not type(subject) or probe.name in failures:
            continue
        try:
            readings = list(probe.measure(subject))
        except Exception as error:
            failures[probe.name] = f"step {step}: {type(error).__name__}: {error}"[:500]
            continue
        signals = {signal.name: signal for signal in probe.signals}
        for reading in readings:
            note(signals[reading.name], reading.where, step, reading.value)
