"""A planted run in a database, as a search leaves it there, and its verification in this process.

The study around it (data, floors, audit, baseline) is made once a series and copied for each plant.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
from plants import HEALTHY, STEPS, Plant
from record import configuration, data_of
from series import plant_files

from tsdiag.config import RunConfig
from tsdiag.data.dataset import Dataset, load_dataset
from tsdiag.diagnostics.findings import Diagnosis
from tsdiag.diagnostics.verdicts import Verification
from tsdiag.runs.audit import audit
from tsdiag.runs.execute import Execution, Request
from tsdiag.runs.floors import store_floors
from tsdiag.runs.levels import block_losses
from tsdiag.runs.weights import shapes_of
from tsdiag.search.artifacts import artifact_store
from tsdiag.search.explaining import explain_run
from tsdiag.search.interruption import Interruption
from tsdiag.search.spec import StudySpec
from tsdiag.search.verifier import Verifier
from tsdiag.search.worker import Place
from tsdiag.store.cases import AUDIT, AUDITED, BLOCKS
from tsdiag.store.database import Store, open_store
from tsdiag.store.interventions import save_plan, save_verification
from tsdiag.store.runs import RunRow, get_run, update_run
from tsdiag.store.studies import save_study, set_attribute, set_study
from tsdiag.training.evaluation import predict
from tsdiag.verify.arms import canonical, target_variance
from tsdiag.verify.conclude import conclude
from tsdiag.verify.desk import Desk
from tsdiag.verify.pacing import step_time
from tsdiag.verify.plan import Plan, make_plan, to_time

STUDY = "planted"
CPU = torch.device("cpu")
# What a verification may take, in times of the planted run itself: enough for all its steps.
TIMES = 80
# Waves after which nothing changes the repair any more; they take as long as all before.
LATER = ("from the plateau", "other causes")
# No deadline: what is done must not depend on how busy the machine is [s].
_ENDLESS = 86400.0
_LOOK_EVERY = 1.0  # [s]


@dataclass(frozen=True)
class Ground:
    """A study without trials, in a folder of its own; ``seed`` is that of series and runs."""

    folder: Path
    dataset: Dataset
    seed: int


@dataclass(frozen=True)
class Planted:
    """A trial that was trained and explained."""

    store: Store
    dataset: Dataset
    row: RunRow
    diagnosis: Diagnosis


@dataclass(frozen=True)
class Treated:
    """A trial's verification, and the plan that it went by."""

    plan: Plan
    verification: Verification


class Grounds:
    """The studies of all series, each made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, Ground] = {}

    def of(self, plant: Plant, seed: int) -> Ground:
        """Return the study in which a plant grows."""
        data = data_of(plant)
        if "generate" in data:
            data = data | {"generate": data["generate"] | {"seed": seed}}
        key = json.dumps([data, plant.training, seed], sort_keys=True)
        if key not in self._known:
            folder = self._folder / f"ground-{len(self._known)}"
            folder.mkdir()
            self._known[key] = prepare(folder, data, STEPS | plant.training, seed)
        return self._known[key]


def prepare(folder: Path, data: dict[str, Any], training: dict[str, Any], seed: int) -> Ground:
    """Make the study of a series: floors, audit, and a trained baseline."""
    if "path" in data:
        plant_files(folder, data["path"])
        data = data | {"path": str(folder / data["path"])}
    precise = training | {"precision": "float32"}
    spec = StudySpec.model_validate(
        {"study": {"name": STUDY}, "data": data, "training": precise, "search": {"seed": seed}}
    )
    dataset = load_dataset(spec.data)
    store = _store(folder)
    save_study(store, STUDY, spec.model_dump(mode="json"))
    set_study(store, STUDY, summary=dataset.summary.model_dump(mode="json"))
    set_attribute(store, STUDY, "digest", dataset.digest)
    windows = spec.training.validation_windows
    floors = store_floors(store, STUDY, dataset, artifact_store(store), windows)
    found = audit(dataset, floors, windows, seed)
    set_attribute(store, STUDY, AUDITED, datetime.now(UTC).isoformat())
    set_attribute(store, STUDY, AUDIT, found.model_dump(mode="json"))
    lstm = replace(HEALTHY["healthy-lstm"], training=training)
    baseline = configuration(lstm, dataset.config).edit("seed", seed)
    _run(store, dataset, Request(study=STUDY, role="baseline", config=baseline, trial=0))
    return Ground(folder, dataset, seed)


def plant(ground: Ground, config: RunConfig, folder: Path) -> Planted:
    """Train a configuration as trial 0 in a copy of the study, and explain it."""
    shutil.copytree(ground.folder, folder)
    store = _store(folder)
    request = Request(study=STUDY, role="trial", config=config, trial=0)
    row = _run(store, ground.dataset, request)
    _, diagnosis = explain_run(
        store, artifact_store(store), ground.dataset, row, CPU, lambda: False
    )
    return Planted(store, ground.dataset, get_run(store, row.id), diagnosis)


def treat(planted: Planted, times: float = TIMES, later: tuple[str, ...] = LATER) -> Treated:
    """Verify a planted trial with so many times its own time, up to the waves that come later.

    Raises:
        UsageError: there is nothing to repair, or nothing that could be tried.
    """
    store, row = planted.store, planted.row
    shapes, base = shapes_of(planted.dataset), RunConfig.from_json(row.config)
    # Of a run that diverged early, the time that all of its steps would have taken.
    whole = row.cpu_seconds * row.max_steps / max(row.step, 1)
    variance = target_variance(planted.dataset)
    windows = len(planted.dataset.validation.every(base.training.validation_windows))
    paces = {
        canonical(changes): took
        for changes in to_time(planted.diagnosis, row, shapes)
        if (took := step_time(base, changes, planted.dataset, CPU)) is not None
    }
    plan = make_plan(planted.diagnosis, row, shapes, variance, windows, paces, times * whole)
    save_plan(store, row, plan.model_dump_json())
    began = time.time()
    desk = Desk(store, plan, shapes, began, began + _ENDLESS)
    place = Place(deadline=began + _ENDLESS, device="cpu", verify=row.id)
    Verifier(store, place, _Enough(desk, later)).work()
    course = desk.course()
    runs, seconds = desk.used()
    found = conclude(course, course.pending()[0] in ("", *later), runs, seconds)
    save_verification(store, found)
    return Treated(plan, found)


class _Enough(Interruption):
    """Asks a verifier to stop once only later waves are left."""

    def __init__(self, desk: Desk, later: tuple[str, ...]) -> None:
        super().__init__()
        self._desk, self._later = desk, later
        self._looked, self._is_enough = 0.0, False

    def __bool__(self) -> bool:
        if not self._is_enough and time.monotonic() - self._looked > _LOOK_EVERY:
            self._is_enough = self._desk.course().pending()[0] in self._later
            self._looked = time.monotonic()
        return self._is_enough


def _store(folder: Path) -> Store:
    return open_store(f"sqlite:///{folder}/tsdiag.db")


def _run(store: Store, dataset: Dataset, request: Request) -> RunRow:
    """Train with all probes, and keep the losses by block, as a worker does."""
    done = Execution(request, dataset, store, artifact_store(store), CPU).carry_out(lambda _: None)
    if done.row.weights is None:
        return done.row
    windows = dataset.validation.every(done.config.training.validation_windows)
    blocks = block_losses(windows, predict(done.model, windows))
    update_run(store, done.row.id, metrics={**done.row.metrics, BLOCKS: blocks})
    return get_run(store, done.row.id)
