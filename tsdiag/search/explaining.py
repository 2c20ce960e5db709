"""What a worker finds out about a run that has ended, before its trial is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from tsdiag.config import RunConfig
from tsdiag.data.dataset import Dataset
from tsdiag.diagnostics.case import Case
from tsdiag.diagnostics.diagnose import EXPLAINED, diagnose
from tsdiag.diagnostics.findings import Diagnosis
from tsdiag.diagnostics.probes import AT_END, ON_DEMAND
from tsdiag.diagnostics.probes.overfit import MOST_STEPS, OVERFIT, WINDOWS
from tsdiag.runs.artifacts import ArtifactStore
from tsdiag.runs.examination import examine_run
from tsdiag.store.cases import load_case
from tsdiag.store.database import Store
from tsdiag.store.findings import save_diagnosis, told_of
from tsdiag.store.runs import RunRow, find_runs, get_run, newest, update_run

# Runs that trained at least a little, so that there is something to look at.
_TRAINED = ("completed", "early_stopped", "timed_out", "pruned", "diverged")
# Learning a batch by heart may take this much of what the run itself took, in windows trained on.
# It seldom takes all of its steps: most models that can, do so in a tenth of them.
OVERFIT_SHARE = 0.5

Stopped = Callable[[], bool]


class _CutShortError(Exception):
    """A probe was left because its worker was asked to stop."""


def explain_run(
    store: Store,
    artifacts: ArtifactStore,
    dataset: Dataset,
    row: RunRow,
    device: torch.device,
    stopped: Stopped,
) -> tuple[Case, Diagnosis]:
    """Measure what is missing of a run that looks stalled, ask the rules, store what they say.

    ``stopped`` is asked between probes: whoever is asked to stop leaves the rest unmeasured.
    """
    case = load_case(store, row)
    if case.standing.state in EXPLAINED and row.state in _TRAINED:
        measure_further(store, artifacts, dataset, row, device, stopped)
        row = get_run(store, row.id)
        case = load_case(store, row)
    return case, explain_case(store, case, row)


def explain_case(store: Store, case: Case, row: RunRow) -> Diagnosis:
    """Ask the rules about a run, and store what they say."""
    diagnosis = diagnose(case, row.study, row.trial if row.role == "trial" else None)
    save_diagnosis(store, row, str(case.setting("model.kind")), diagnosis)
    return diagnosis


def measure_further(
    store: Store,
    artifacts: ArtifactStore,
    dataset: Dataset,
    row: RunRow,
    device: torch.device,
    stopped: Stopped,
) -> None:
    """Ask the dear probes about a run, one by one, as long as it may take."""
    # A diverged run was not examined when it ended; it is looked at as it began.
    probes = [*(AT_END if row.weights is None else ()), *ON_DEMAND]

    def pause() -> None:
        if stopped():
            raise _CutShortError("the search was stopped")

    failed: dict[str, str] = {}
    unasked: dict[str, str] = {}
    for probe in probes:
        if stopped():
            unasked[probe.name] = "the search was stopped before it"
        elif probe is OVERFIT and (why := _too_dear(row)) is not None:
            unasked[probe.name] = why
        else:
            try:
                failed |= examine_run(store, artifacts, dataset, row.id, device, [probe], pause)
            except _CutShortError as error:
                unasked[probe.name] = str(error)
    known = get_run(store, row.id).metrics
    changes: dict[str, Mapping[str, Any]] = {"unasked_probes": unasked} if unasked else {}
    if failed:
        changes["failed_probes"] = known.get("failed_probes", {}) | failed
    if changes:
        update_run(store, row.id, metrics={**known, **changes})


def _too_dear(row: RunRow) -> str | None:
    trained = row.step * RunConfig.from_json(row.config).training.batch_size
    wanted = MOST_STEPS * WINDOWS
    if wanted <= OVERFIT_SHARE * trained:
        return None
    return (
        f"it could take {wanted:,} windows, more than half of the {trained:,} that the run itself "
        "trained on"
    )


def refresh(store: Store, study: str) -> None:
    """Ask the rules again about trials that ended before the baseline or the floors were there."""
    told = told_of(store, study)
    baselines = find_runs(store, study, role="baseline")
    ready = max((row.finished for row in baselines if row.finished), default=None)
    for row in newest(find_runs(store, study, role="trial")):
        early = row.finished is not None and (ready is None or row.finished <= ready)
        if row.id in told and early:
            explain_case(store, load_case(store, row), row)
