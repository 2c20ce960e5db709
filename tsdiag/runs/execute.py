"""Carry out a RunConfig: train, record, checkpoint, resume, and keep the store up to date."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

import torch
from torch import nn

from tsdiag.config import RunConfig
from tsdiag.data.dataset import Dataset
from tsdiag.diagnostics.signals import Trace
from tsdiag.models import build, count_parameters
from tsdiag.runs.artifacts import ArtifactStore, read_bytes, remove_bytes, write_bytes
from tsdiag.runs.environment import describe
from tsdiag.runs.recorder import Recorder
from tsdiag.runs.weights import pack_trained, shapes_of
from tsdiag.store.curves import append_curves, load_trace
from tsdiag.store.database import Store
from tsdiag.store.runs import RunRow, create_run, get_run, update_run
from tsdiag.training.loop import Ending, Stop, Training
from tsdiag.training.observer import Moment, Observer

# A crash loses at most this much work [s]; a checkpoint of a small model takes milliseconds.
CHECKPOINT_EVERY = 15.0
# Its own stream of random numbers: dropout must not repeat those of the initial weights.
_DROPOUT_STREAM = 1 << 32

# Which states leave weights that are worth keeping.
FINISHED = ("completed", "early_stopped", "timed_out", "pruned")


@dataclass(frozen=True)
class Request:
    """What to run, and what for."""

    study: str
    role: str
    config: RunConfig
    trial: int | None = None
    label: str = ""
    parent: str | None = None


@dataclass(frozen=True)
class Done:
    """A run that has ended: its row as stored, and its model with the best weights."""

    row: RunRow
    config: RunConfig
    model: nn.Module


class Execution:
    """One run from its row in the store to its end."""

    def __init__(
        self,
        request: Request,
        dataset: Dataset,
        store: Store,
        artifacts: ArtifactStore,
        device: torch.device,
    ) -> None:
        self.request = request
        self.dataset = dataset
        self.store = store
        self.artifacts = artifacts
        self.device = device
        self.id = uuid4().hex
        self._checkpoint: str | None = None
        self._recorder = Recorder()
        self._saved = self._began = time.monotonic()
        self._cpu = time.process_time()
        self._before = (0.0, 0.0)

    def carry_out(
        self,
        stop: Stop,
        observers: Sequence[Observer] = (),
        on_resume: Callable[[Trace], None] | None = None,
    ) -> Done:
        """Train to an end and store it; an exception is stored as state "failed" and raised on.

        Dropout draws from torch's default generator, since its kernels accept no other: the run
        forks and seeds it, so nothing outside is disturbed. ``on_resume`` is shown what the run
        that this one continues had measured.
        """
        config = self.request.config
        generator = torch.Generator().manual_seed(config.seed)
        model = build(config, shapes_of(self.dataset), generator).to(self.device)
        self._create_row()
        try:
            with torch.random.fork_rng(devices=self._cuda_devices()):
                torch.manual_seed(config.seed + _DROPOUT_STREAM)
                training = self._prepare(model, observers, on_resume)
                ending = training.run(lambda moment: self._after_step(training, moment, stop))
                return self._finish(training, ending)
        except BaseException as error:
            self._update(state="failed", reason=f"{type(error).__name__}: {error}"[:2000])
            raise

    def _prepare(
        self,
        model: nn.Module,
        observers: Sequence[Observer],
        on_resume: Callable[[Trace], None] | None,
    ) -> Training:
        training = Training(
            model,
            self.dataset.train.to(self.device),
            self.dataset.validation.to(self.device),
            self.request.config,
            (self._recorder, *observers),
        )
        parent = get_run(self.store, self.request.parent) if self.request.parent else None
        if parent is not None and parent.checkpoint is not None:
            training.resume(read_bytes(self.artifacts, parent.checkpoint))
            trace = load_trace(self.store, parent.id).until(training.progress.step)
            append_curves(self.store, self.id, list(trace.signals))
            if on_resume is not None:
                on_resume(trace)
            self._before = (parent.seconds, parent.cpu_seconds)
        return training

    def _after_step(self, training: Training, moment: Moment, stop: Stop) -> str | None:
        if (state := stop(moment)) is not None:
            return state
        if moment.evaluated_step == moment.step:
            self._flush()
            self._update(
                step=moment.step,
                validation_loss=moment.best_validation_loss,
                last_validation_loss=moment.validation_loss,
            )
            if time.monotonic() - self._saved > CHECKPOINT_EVERY:
                self._save(training)
        return None

    def _save(self, training: Training) -> None:
        """Write the new checkpoint, name it in the row, then remove the one before."""
        old, name = self._checkpoint, f"{self.id}-{training.progress.step}.checkpoint"
        self._checkpoint = write_bytes(self.artifacts, name, training.checkpoint())
        self._update(checkpoint=name, step=training.progress.step)
        if old != name:
            remove_bytes(self.artifacts, old)
        self._saved = time.monotonic()

    def _finish(self, training: Training, ending: Ending) -> Done:
        self._flush()
        if ending.state == "interrupted":
            self._save(training)
        progress, weights = ending.progress, None
        if progress.best_weights:
            training.model.load_state_dict(progress.best_weights)
        if ending.state in FINISHED:
            trained = pack_trained(training.model, self.request.config, self.dataset)
            weights = write_bytes(self.artifacts, f"{self.id}.safetensors", trained)
        if ending.state != "interrupted":
            remove_bytes(self.artifacts, self._checkpoint)
            self._checkpoint = None
        self._update(
            state=ending.state,
            reason=ending.reason,
            step=progress.step,
            validation_loss=_finite(progress.best_validation_loss),
            last_validation_loss=_finite(progress.last_validation_loss),
            weights=weights,
            checkpoint=self._checkpoint,
            finished=datetime.now(UTC),
        )
        return Done(get_run(self.store, self.id), self.request.config, training.model)

    def _create_row(self) -> None:
        request, now = self.request, datetime.now(UTC)
        row = RunRow(
            id=self.id,
            study=request.study,
            trial=request.trial,
            role=request.role,
            label=request.label,
            seed=request.config.seed,
            config=request.config.to_json(),
            max_steps=request.config.training.max_steps,
            parameters=count_parameters(request.config, shapes_of(self.dataset)),
            environment=describe(self.device),
            parent=request.parent,
            started=now,
            updated=now,
        )
        create_run(self.store, row)

    def _flush(self) -> None:
        append_curves(self.store, self.id, self._recorder.take())

    def _update(self, **columns: object) -> None:
        update_run(
            self.store,
            self.id,
            seconds=self._before[0] + time.monotonic() - self._began,
            cpu_seconds=self._before[1] + time.process_time() - self._cpu,
            **columns,
        )

    def _cuda_devices(self) -> list[torch.device]:
        return [self.device] if self.device.type == "cuda" else []


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
