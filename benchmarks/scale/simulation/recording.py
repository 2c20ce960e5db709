"""What one real run wrote: trained once with all probes, then replayed by simulated workers."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

import torch

from tsdiag.data.dataset import load_dataset
from tsdiag.diagnostics.probes import AT_END, LIVE, ON_DEMAND, PROBES
from tsdiag.diagnostics.signals import SignalName
from tsdiag.runs.execute import Execution, Request
from tsdiag.search.artifacts import AtomicFolder
from tsdiag.search.space import default_config
from tsdiag.search.spec import StudySpec
from tsdiag.store.curves import load_trace
from tsdiag.store.database import open_store
from tsdiag.store.runs import find_runs
from tsdiag.training.loop import never

Point = tuple[int, SignalName, str, float]  # step, signal, place, value

STUDY = "recorded"


@dataclass(frozen=True)
class Recording:
    """A run as it is replayed: what was measured while it trained, and what at its end."""

    live: tuple[Point, ...]  # in order of their steps
    at_end: tuple[Point, ...]
    on_demand: tuple[Point, ...]
    evaluations: tuple[tuple[int, float], ...]  # step and validation loss, from step 0 on
    seconds: float  # what the real run took

    @property
    def steps(self) -> int:
        """The run's last step."""
        return self.evaluations[-1][0]

    @property
    def loss(self) -> float:
        """The lowest validation loss."""
        return min(loss for _, loss in self.evaluations)

    @property
    def curves(self) -> int:
        """How many curves the run left, those measured on demand aside."""
        return len({(signal.name, where) for _, signal, where, _ in self.live + self.at_end})

    def between(self, after: int, until: int) -> tuple[Point, ...]:
        """Return what was measured after one step and until another one, that one included."""
        first, last = (bisect_right(self.live, step, key=_step) for step in (after, until))
        return self.live[first:last]


def record(spec: StudySpec, file: Path) -> None:
    """Train a study's default transformer for real, with all probes, and keep its run in a file."""
    torch.set_num_threads(1)
    dataset = load_dataset(spec.data)
    request = Request(STUDY, "trial", default_config(spec), trial=0)
    store, artifacts = open_store(f"sqlite:///{file}"), AtomicFolder(file.parent / "recorded")
    probes = (*LIVE, *AT_END, *ON_DEMAND)
    execution = Execution(request, dataset, store, artifacts, torch.device("cpu"), probes)
    execution.carry_out(never)


def read_recording(file: Path) -> Recording:
    """Read what ``record`` has left."""
    store = open_store(f"sqlite:///{file}", read_only=True)
    (row,) = find_runs(store, STUDY)
    trace = load_trace(store, row.id)
    known = {signal.name: signal for probe in PROBES for signal in probe.signals}
    points = [
        (int(step), known[signal.name], signal.where, float(value))
        for signal in trace.signals
        for step, value in zip(signal.steps, signal.values, strict=True)
    ]
    points.sort(key=_step)
    ends, dear = (
        {signal.name for probe in probes for signal in probe.signals}
        for probes in (AT_END, ON_DEMAND)
    )
    losses = trace.signal("validation_loss")
    assert losses is not None
    return Recording(
        live=tuple(p for p in points if p[1].name not in ends | dear),
        at_end=tuple(p for p in points if p[1].name in ends),
        on_demand=tuple(p for p in points if p[1].name in dear),
        evaluations=tuple(
            (int(step), float(loss)) for step, loss in zip(losses.steps, losses.values, strict=True)
        ),
        seconds=row.seconds,
    )


def _step(point: Point) -> int:
    return point[0]
