"""From a verdict back to the search: a trial's repaired configuration, queued in its study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from tsdiag.config import RunConfig
from tsdiag.diagnostics.verdicts import Repair
from tsdiag.errors import UsageError
from tsdiag.models import complete
from tsdiag.search.queue import REPAIRS
from tsdiag.search.registration import open_queue
from tsdiag.search.space import ENQUEUED, default_config, enqueued_parameters, open_engine
from tsdiag.search.spec import SEARCHABLE, StudySpec, find_spec, stored_spec
from tsdiag.search.storage import open_storage
from tsdiag.store.chosen import chosen_run, chosen_study
from tsdiag.store.database import Store
from tsdiag.store.runs import RunRow
from tsdiag.store.studies import find_study, load_study
from tsdiag.verify.hypotheses import described
from tsdiag.verify.proven import proven_repair


@dataclass(frozen=True)
class AskedRepair:
    """A trial's run and the repair that its verification has confirmed."""

    row: RunRow
    repair: Repair

    @property
    def trial(self) -> int:
        """The trial's number; of one that was resumed, the last."""
        assert self.row.trial is not None
        return self.row.trial


def study_to_repair(store: Store, study: str | None) -> StudySpec:
    """Return the study that a repair is for: by its file, else as stored, else the newest there.

    Raises:
        UsageError: there is no such study.
        ConfigError: its file cannot be used.
    """
    if study is not None and (Path(study).exists() or study.endswith(".toml")):
        return find_spec(study)
    stored = chosen_study(store, None) if study is None else find_study(store, study)
    return find_spec(study or "") if stored is None else stored_spec(stored.name, stored.spec)


def asked_repair(store: Store, spec: StudySpec, trial: int) -> AskedRepair:
    """Return the repair of a trial, if its study can try it.

    Raises:
        UsageError: no such study or trial, no confirmed repair, or one that changes the data.
    """
    row = chosen_run(store, load_study(store, spec.name).name, trial)
    asked = AskedRepair(row, proven_repair(store, row))
    fixed = {
        path: value for path, value in asked.repair.set.items() if not path.startswith(SEARCHABLE)
    }
    if fixed:
        raise UsageError(
            f'repair trial {asked.trial} in study "{spec.name}": its repair sets '
            f"{described(fixed)}, and all trials of a study share their data; write that into the "
            "study.toml, under another name, and search again"
        )
    return asked


def enqueue_repair(store: Store, spec: StudySpec, asked: AskedRepair) -> str:
    """Queue the repaired configuration as the next trial, once; return what was done in words."""
    queue = open_queue(store, open_storage(store), spec, "trial", 0)
    trials = queue.study.get_trials(deepcopy=False)
    given = trials[asked.trial].user_attrs.get(ENQUEUED) or {}
    free = open_engine(spec, {**given, **asked.repair.set})
    paths = repaired_paths(spec, asked.row.config, asked.repair.set, free)
    told = f"repair of trial {asked.trial}, {described(asked.repair.set)}"
    if (known := _enqueued_before(spec, trials, paths, free)) is not None:
        state = known.state.name.lower()
        return f"{told}: enqueued before, as trial {known.number} ({state}); not enqueued again"
    queue.enqueue([(paths, enqueued_parameters(spec, paths))], {REPAIRS: asked.trial})
    return f"{told}: enqueued as the next trial"


def repairs_of(store: Store, spec: StudySpec) -> dict[int, int]:
    """Return by trial which later trial carries its repair out."""
    trials = open_queue(store, open_storage(store), spec, "trial", 0).study.get_trials(
        deepcopy=False
    )
    return {t.user_attrs[REPAIRS]: t.number for t in trials if REPAIRS in t.user_attrs}


def repaired_paths(
    spec: StudySpec, config: str, changes: Mapping[str, Any], free: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Return what an ``[[enqueue]]`` must name to mean a stored configuration with its repair.

    That is the repair, and all in which the configuration differs from the study's defaults; but
    not the paths in ``free``, which are left to the choice by timing.
    """
    repaired = complete(RunConfig.from_json(config)).edits(changes).paths()
    wanted = {
        path: value
        for path, value in repaired.items()
        if path.startswith(SEARCHABLE) and path not in free
    }
    paths = {path: repaired[path] for path in changes}
    # More than once, since a path that is named can imply others: see ``imply``.
    while missing := _differing(wanted, default_config(spec, paths)):
        paths |= missing
    return paths


def _differing(wanted: Mapping[str, Any], config: RunConfig) -> dict[str, Any]:
    meant = config.paths()
    return {path: value for path, value in wanted.items() if meant[path] != value}


def _enqueued_before(
    spec: StudySpec, trials: list[FrozenTrial], paths: Mapping[str, Any], free: frozenset[str]
) -> FrozenTrial | None:
    """Return the last trial that was enqueued with the same meaning, whatever its words."""
    for trial in reversed(trials):
        given = trial.user_attrs.get(ENQUEUED)
        if given is not None and _meaning(spec, given, free) == _meaning(spec, paths, free):
            return trial
    return None


def _meaning(spec: StudySpec, paths: Mapping[str, Any], free: frozenset[str]) -> dict[str, Any]:
    meant = default_config(spec, paths).paths()
    return {path: value for path, value in meant.items() if path not in free}
