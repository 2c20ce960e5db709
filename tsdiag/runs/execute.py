"""Carry out a RunConfig: train, record, checkpoint, resume, and keep the store up to date."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import torch
from torch import nn

from tsdiag.config import RunConfig, as_written_now
from tsdiag.data.dataset import Dataset
from tsdiag.data.windows import Windows
from tsdiag.diagnostics.probes import AT_END, LIVE, STATES, unmeasured
from tsdiag.diagnostics.probes.probe import Probe
from tsdiag.diagnostics.probes.watcher import Note, Watcher
from tsdiag.diagnostics.signals import AT_THE_END, SignalName, Trace
from tsdiag.errors import StoreError, Unreachable, without_passwords
from tsdiag.models import build
from tsdiag.runs.artifacts import (
    ArtifactStore,
    checkpoints_of,
    read_bytes,
    remove_bytes,
    weights_of,
    write_bytes,
)
from tsdiag.runs.dropout import seed_dropout
from tsdiag.runs.environment import describe
from tsdiag.runs.examination import examine
from tsdiag.runs.origin import begin_with
from tsdiag.runs.outbox import Outbox, TakenOver
from tsdiag.runs.recorder import Recorder
from tsdiag.runs.weights import pack_trained, shapes_of
from tsdiag.store.cases import UNMEASURED
from tsdiag.store.curves import load_trace, merge_curves
from tsdiag.store.database import Store
from tsdiag.store.runs import (
    RunRow,
    create_run,
    end_run,
    forget_run,
    get_run,
    hand_on_checkpoint,
)
from tsdiag.training.checkpoint import Progress
from tsdiag.training.evaluation import Pause, go_on
from tsdiag.training.loop import Ending, Stop, Training
from tsdiag.training.observer import Moment, Observer

# A crash loses at most this much work [s]; a checkpoint of a small model takes milliseconds.
CHECKPOINT_EVERY = 15.0

# Which states leave weights that are worth keeping.
FINISHED = ("completed", "early_stopped", "timed_out", "pruned")


# What is measured of the best weights beside the probes, as keys of a row's metrics.
Score = Callable[[nn.Module], dict[str, Any]]


@dataclass(frozen=True)
class Request:
    """What to run, and what for."""

    study: str
    role: str
    config: RunConfig
    trial: int | None = None
    label: str = ""
    parent: str | None = None
    origin: str | None = None  # run whose best weights are what this one begins with
    engine: dict[str, Any] | None = None  # what the choice by timing found, kept with the run


@dataclass(frozen=True)
class Done:
    """A run that has ended: its row as stored, and its model with the best weights."""

    row: RunRow
    config: RunConfig
    model: nn.Module


class Execution:
    """One run from its row in the store to its end.

    A run that continues another one takes over its checkpoint. Where there is none that fits, it
    begins anew and says so in its reason: being determined by its configuration, it ends the same.
    Probes never change how it ends, so they are no part of what a run is asked for.
    """

    def __init__(
        self,
        request: Request,
        dataset: Dataset,
        store: Store,
        artifacts: ArtifactStore,
        device: torch.device,
        probes: Sequence[Probe[Any]] = (*LIVE, *AT_END),
    ) -> None:
        self.request = request
        self.dataset = dataset
        self.store = store
        self.artifacts = artifacts
        self.device = device
        self.id = uuid4().hex
        self._outbox = Outbox(store, artifacts, self.id)
        self._checkpoint: str | None = None
        self._took_steps = False
        self._unsaved = False  # the last checkpoint could not be written
        self._remark = ""
        self._probes = probes
        self._failures: dict[str, str] = {}
        self._pause: Pause = go_on
        self._hear: Note | None = None
        self._recorder = Recorder()
        self._saved = self._began = time.monotonic()
        self._cpu = time.process_time()
        self._before = (0.0, 0.0)

    def carry_out(
        self,
        stop: Stop,
        observers: Sequence[Observer] = (),
        on_resume: Callable[[Trace], None] | None = None,
        pause: Pause = go_on,
        hear: Note | None = None,
        score: Score | None = None,
    ) -> Done:
        """Train to an end and store it; an exception is stored too, and raised on.

        While the database is away, training goes on, and what there is to store waits. Dropout
        draws from torch's default generator, since its kernels accept no other: the run forks and
        seeds it, so nothing outside is disturbed. ``on_resume`` is shown what the run that this one
        continues had measured; ``pause`` is called between the probes at the end; ``hear`` is told
        each reading while the run trains, before ``stop`` is asked; ``score`` is asked about the
        best weights, and its answer is stored with how the run ended.
        """
        self._pause, self._hear = pause, hear
        pause()  # before the row is there, or one that nobody wants any more would be left
        self._create_row()
        try:
            pause()
            with torch.random.fork_rng(devices=self._cuda_devices()):
                training = self._prepare(observers, on_resume)
                ending = training.run(lambda moment: self._after_step(training, moment, stop))
                return self._finish(training, ending, score)
        except BaseException as error:
            self._break_off(error)
            raise

    def _prepare(
        self, observers: Sequence[Observer], on_resume: Callable[[Trace], None] | None
    ) -> Training:
        training = self._begin(observers)
        parameters = sum(p.numel() for p in training.model.parameters())
        self._update(parameters=parameters)
        parent = get_run(self.store, self.request.parent) if self.request.parent else None
        # One that died before it took a checkpoint over left it with its own parent.
        while parent is not None and parent.checkpoint is None and parent.parent is not None:
            self._remove_unnamed(parent)
            parent = get_run(self.store, parent.parent)
        if parent is not None:
            self._remove_unnamed(parent)
        if parent is None or parent.checkpoint is None:
            return training
        try:
            trace = self._resume(training, parent, parent.checkpoint)
        except Unreachable:
            raise
        except StoreError as error:
            self._remark = f"; begun anew: {error}"
            return self._begin(observers)
        self._take_over(parent, trace, training.progress)
        if on_resume is not None:
            on_resume(trace)
        return training

    def _begin(self, observers: Sequence[Observer]) -> Training:
        config = self.request.config
        generator = torch.Generator().manual_seed(config.seed)
        model = build(config, shapes_of(self.dataset), generator)
        if self.request.origin is not None:
            begin_with(model, self.request.origin, self.store, self.artifacts)
        model.to(self.device)
        seed_dropout(config.seed, self.device)
        train = self.dataset.train.to(self.device)
        validation = self.dataset.validation.to(self.device)
        observers = (self._watcher(train), *observers)
        return Training(model, train, validation, config, observers)

    def _watcher(self, windows: Windows) -> Watcher:
        """Return what asks the probes about this run, on training windows."""
        watcher = Watcher(self._probes, windows, self.request.config, self._note)
        self._failures = watcher.failures
        return watcher

    def _note(self, signal: SignalName, where: str, step: int, value: float) -> None:
        self._recorder.note(signal, where, step, value)
        if self._hear is not None:
            self._hear(signal, where, step, value)

    def _resume(self, training: Training, parent: RunRow, checkpoint: str) -> Trace:
        """Bring the training to where the parent's checkpoint was taken; return what led there."""
        if as_written_now(parent.config) != self.request.config.to_json():
            raise StoreError(f"run {parent.id} had another configuration")
        if parent.origin != self.request.origin:
            raise StoreError(f"run {parent.id} began with other weights")
        training.resume(self.store.patience(lambda: read_bytes(self.artifacts, checkpoint)))
        return load_trace(self.store, parent.id).until(training.progress.step, STATES, AT_THE_END)

    def _take_over(self, parent: RunRow, trace: Trace, progress: Progress) -> None:
        self._outbox.add(trace.signals)
        self._before = (parent.seconds, parent.cpu_seconds)
        # The watcher's own: what failed before the break is not asked again after it.
        self._failures.update(parent.metrics.get("failed_probes", {}))
        # Should this run die before its first own checkpoint, the next one finds the parent's.
        self._checkpoint = parent.checkpoint
        self._update(
            step=progress.step,
            validation_loss=_finite(progress.best_validation_loss),
            last_validation_loss=_finite(progress.last_validation_loss),
        )
        assert parent.checkpoint is not None
        if not hand_on_checkpoint(self.store, parent.id, self.id, parent.checkpoint):
            raise TakenOver

    def _after_step(self, training: Training, moment: Moment, stop: Stop) -> str | None:
        self._took_steps = True
        # Within an evaluation nothing is saved: a checkpoint from there would be followed by curves
        # that the run resumed from it measures again.
        if (state := stop(moment)) is not None or moment.evaluating:
            return state
        if moment.evaluated_step == moment.step:
            self._note_columns(
                step=moment.step,
                validation_loss=moment.best_validation_loss,
                last_validation_loss=moment.validation_loss,
            )
        # With the first evaluation, so that a run can be read from its beginning.
        if moment.step == 1 or moment.evaluated_step == moment.step:
            self._outbox.add(self._recorder.take())
            self._outbox.offer()
        if time.monotonic() - self._saved > CHECKPOINT_EVERY:
            self._save_if_possible(training)
        return None

    def _save_if_possible(self, training: Training) -> None:
        """Save a checkpoint, or go on with the one before: what cannot be saved is no failure."""
        self._outbox.add(self._recorder.take())
        self._saved = time.monotonic()
        # Nobody would know of a checkpoint that the row does not name.
        if not self._outbox.offer():
            return
        try:
            self._save(training)
        except Unreachable as error:
            if not self._unsaved:
                sys.stderr.write(f"{error}; training goes on from the checkpoint before\n")
            self._unsaved = True
        else:
            self._unsaved = False

    def _save(self, training: Training) -> None:
        """Write the new checkpoint, name it in the row, then remove the one before."""
        old = self._checkpoint
        name = next(name for name in checkpoints_of(self.id) if name != old)
        self._checkpoint = write_bytes(self.artifacts, name, training.checkpoint())
        self._note_columns(checkpoint=name, step=training.progress.step)
        self._outbox.remove(old)
        self._outbox.offer()
        self._saved = time.monotonic()

    def _finish(self, training: Training, ending: Ending, score: Score | None) -> Done:
        interrupted = ending.state == "interrupted"
        self._outbox.add(self._recorder.take())
        if interrupted:
            # Where it cannot be written, whoever goes on begins at the one before.
            with suppress(Unreachable):
                if self._outbox.offer():
                    self._save(training)
        progress, weights, scores = ending.progress, None, {}
        if progress.best_weights:
            training.model.load_state_dict(progress.best_weights)
        if ending.state in FINISHED and progress.best_weights:
            trained = pack_trained(training.model, self.request.config, self.dataset)
            weights = self._outbox.write(weights_of(self.id), trained, self._pause)
            self._failures |= examine(
                training.model,
                self.request.config,
                self.dataset,
                self._probes,
                progress.best_step,
                self._recorder.note,
                self._pause,
            )
            scores = score(training.model) if score else {}
        self._outbox.add(self._recorder.take())
        self._note_columns(
            metrics={"best_step": progress.best_step, **self._unmeasured(), **scores},
            state=ending.state,
            reason=ending.reason + self._remark,
            step=progress.step,
            validation_loss=_finite(progress.best_validation_loss),
            last_validation_loss=_finite(progress.last_validation_loss),
            weights=weights,
            checkpoint=self._checkpoint if interrupted else None,
        )
        if not interrupted:
            self._outbox.remove(self._checkpoint)
        self._outbox.send()
        # Tidying: unmerged they read the same, so a store out of reach ends no run.
        with suppress(StoreError):
            merge_curves(self.store, self.id)
        return Done(get_run(self.store, self.id), self.request.config, training.model)

    def _create_row(self) -> None:
        request = self.request
        row = RunRow(
            id=self.id,
            study=request.study,
            trial=request.trial,
            role=request.role,
            label=request.label,
            seed=request.config.seed,
            config=request.config.to_json(),
            max_steps=request.config.training.max_steps,
            environment=describe(self.device)
            | ({"engine": request.engine} if request.engine else {}),
            parent=request.parent,
            origin=request.origin,
        )
        create_run(self.store, row)

    def _break_off(self, error: BaseException) -> None:
        """Store how an exception ended the run: a person's Ctrl-C leaves it to be resumed."""
        if isinstance(error, TakenOver):
            self._withdraw()
            return
        # What is wrong with a store is no fault of the run: a worker that has one goes on with it.
        failed = isinstance(error, Exception) and not isinstance(error, StoreError)
        reason = without_passwords(f"{type(error).__name__}: {error}")[:2000]
        self._outbox.add(self._recorder.take())
        state, checkpoint = ("failed", None) if failed else ("interrupted", self._checkpoint)
        metrics = self._unmeasured()
        self._note_columns(state=state, reason=reason, checkpoint=checkpoint, metrics=metrics)
        if failed:
            self._outbox.remove(self._checkpoint)
        # The error itself matters more than that the store, too, is out of reach.
        with suppress(StoreError, TakenOver):
            self._outbox.send()

    def _withdraw(self) -> None:
        """Leave nothing behind of a run that another worker goes on with, or has begun anew."""
        with suppress(StoreError):
            if self._took_steps:
                end_run(self.store, self.id, state="interrupted", reason="taken over by another")
            else:
                forget_run(self.store, self.id)
        for name in (weights_of(self.id), self._outbox.unnamed_checkpoint):
            remove_bytes(self.artifacts, name)

    def _remove_unnamed(self, parent: RunRow) -> None:
        """Remove what a run had written, and died before its row named it."""
        for name in (*checkpoints_of(parent.id), weights_of(parent.id)):
            if name not in (parent.checkpoint, parent.weights):
                self._outbox.remove(name)

    def _unmeasured(self) -> dict[str, Any]:
        """Return which probes failed: what could not be measured must never look like health."""
        if not self._failures:
            return {}
        failed = {name: f"failed at {why}" for name, why in self._failures.items()}
        return {"failed_probes": dict(self._failures), UNMEASURED: unmeasured(failed)}

    def _update(self, **columns: object) -> None:
        self._note_columns(**columns)
        self._outbox.send()

    def _note_columns(self, **columns: object) -> None:
        self._outbox.set(
            seconds=self._before[0] + time.monotonic() - self._began,
            cpu_seconds=self._before[1] + time.process_time() - self._cpu,
            **columns,
        )

    def _cuda_devices(self) -> list[torch.device]:
        return [self.device] if self.device.type == "cuda" else []


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
