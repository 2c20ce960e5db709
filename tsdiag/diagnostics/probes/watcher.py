"""The observer that asks the probes on their schedule and hands every reading on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from tsdiag.config import RunConfig
from tsdiag.data.windows import Windows
from tsdiag.diagnostics.probes.probe import Probe, Sample, Update, View, is_due
from tsdiag.diagnostics.probes.sample import MICRO_BATCHES, SAMPLE_WINDOWS, drawn, spaced
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
Prepared = TypeVar("Prepared")


@dataclass(frozen=True)
class _Before:
    """What an update is about to change, at the step where it begins."""

    step: int
    weights: dict[str, Tensor]
    gradients: dict[str, Tensor | None]


class Watcher:
    """Watches one run; what it shows to the probes are copies or hidden behind forked generators.

    A probe that raises is not asked again: ``failures`` then says why, by the probe's name, or by
    "view", "sample" or "update" where that could not even be prepared. A lost measurement is worth
    a remark; no measurement is worth a lost run.
    """

    def __init__(
        self, probes: Sequence[Probe[Any]], windows: Windows, config: RunConfig, note: Note
    ) -> None:
        self.failures: dict[str, str] = {}
        self._probes = probes
        self._windows = windows
        self._config = config
        self._note = note
        # No more windows at once than training holds: a probe must fit where training does.
        at_once = config.training.micro_batch or config.training.batch_size
        self._batch = spaced(windows, min(PROBE_WINDOWS, at_once))
        self._drawn = min(SAMPLE_WINDOWS, MICRO_BATCHES * at_once)
        self._before: _Before | None = None

    def after_backward(self, moment: Moment) -> None:
        """Ask about the step under way; where it is due, keep what the update will change."""
        self._ask(moment, moment.step)
        self._before = None
        if self._is_due(moment.step) and self._watches(Update):
            self._before = self._prepared("update", moment.step, lambda: _keep(moment))

    def after_update(self, moment: Moment) -> None:
        """Ask about the update, and about the state where no evaluation follows that asks."""
        if self._before is not None:
            self._ask(_update(moment, self._before), self._before.step)
            self._before = None
        self._remember(moment)
        if self._is_due(moment.step) and not self._is_evaluated(moment.step):
            self._ask_view(moment)

    def after_evaluation(self, moment: Moment) -> None:
        """Ask about the validation windows, the state, and windows drawn for this evaluation."""
        if moment.evaluation is not None:
            self._ask(moment.evaluation, moment.step)
        self._ask_view(moment)
        if self._watches(Sample):
            sample = self._prepared("sample", moment.step, lambda: self._sample(moment))
            self._ask(sample, moment.step)

    def _remember(self, moment: Moment) -> None:
        """Keep the gradients of this step for the next, through a checkpoint if need be."""
        for name in [name for name in moment.memory if name.startswith(_REMEMBERED)]:
            del moment.memory[name]
        if self._is_due(moment.step) and self._watches(Update):
            gradients = self._prepared("update", moment.step, lambda: _gradients(moment))
            for name, gradient in (gradients or {}).items():
                if gradient is not None:
                    moment.memory[_REMEMBERED + name] = gradient

    def _ask_view(self, moment: Moment) -> None:
        if self._watches(View):
            view = self._prepared("view", moment.step, lambda: self._view(moment))
            self._ask(view, moment.step)

    def _view(self, moment: Moment) -> View | None:
        """Return a view, unless the model overflows: the loss signals say that it diverged."""
        view = look(moment.model, *self._batch)
        return view if bool(view.predictions.isfinite().all()) else None

    def _sample(self, moment: Moment) -> Sample:
        windows = drawn(self._windows, self._drawn, self._config.seed, moment.step)
        return Sample(moment.model, *windows)

    def _prepared(
        self, name: str, step: int, prepare: Callable[[], Prepared | None]
    ) -> Prepared | None:
        """Return what is to be shown, or None where that fails, which is then not tried again."""
        if name in self.failures:
            return None
        try:
            return prepare()
        except Exception as error:  # such as a full GPU
            self.failures[name] = _remark(step, error)
            return None

    def _ask(self, subject: object, step: int) -> None:
        ask(self._probes, subject, step, self._note, self.failures)

    def _watches(self, kind: type[object]) -> bool:
        return any(p.sees is kind and p.name not in self.failures for p in self._probes)

    def _is_due(self, step: int) -> bool:
        return is_due(step, self._config.training.evaluate_every)

    def _is_evaluated(self, step: int) -> bool:
        training = self._config.training
        return step % training.evaluate_every == 0 or step == training.max_steps


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
            failures[probe.name] = _remark(step, error)
            continue
        signals = {signal.name: signal for signal in probe.signals}
        for reading in readings:
            note(signals[reading.name], reading.where, step, reading.value)


def _keep(moment: Moment) -> _Before:
    weights = {name: p.detach().clone() for name, p in moment.model.named_parameters()}
    return _Before(moment.step, weights, _gradients(moment))


def _gradients(moment: Moment) -> dict[str, Tensor | None]:
    """Return clones: clipping scales gradients where they are."""
    return {
        name: None if p.grad is None else p.grad.detach().clone()
        for name, p in moment.model.named_parameters()
    }


def _update(moment: Moment, before: _Before) -> Update:
    """Return the update that was just made, with what is remembered of the step before it."""
    previous = {
        name.removeprefix(_REMEMBERED): gradient
        for name, gradient in moment.memory.items()
        if name.startswith(_REMEMBERED)
    }
    return Update(
        moment.model,
        moment.optimizer,
        moment.learning_rate,
        before.weights,
        before.gradients,
        previous or None,
        moment.clip_share,
    )


def _remark(step: int, error: Exception) -> str:
    return f"step {step}: {type(error).__name__}: {error}"[:500]
