"""What a worker finds out about a run that has ended, before its trial is told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import torch

from tsdiag.config import RunConfig
from tsdiag.data.dataset import Dataset
from tsdiag.diagnostics.case import Case
from tsdiag.diagnostics.diagnose import EXPLAINED, diagnose
from tsdiag.diagnostics.findings import Diagnosis
from tsdiag.diagnostics.probes import AT_END, ON_DEMAND, unmeasured
from tsdiag.diagnostics.probes.overfit import MOST_STEPS, OVERFIT, WINDOWS
from tsdiag.runs.artifacts import ArtifactStore
from tsdiag.runs.examination import examine_run
from tsdiag.store.cases import AUDITED, UNMEASURED, load_case
from tsdiag.store.database import Store
from tsdiag.store.findings import save_diagnosis, told_until
from tsdiag.store.runs import RunRow, find_runs, get_run, newest, update_run
from tsdiag.store.studies import load_study

# Runs that trained at least a little, so that there is something to look at.
_TRAINED = ("completed", "early_stopped", "timed_out", "pruned", "diverged")
# Learning a batch by heart may take as much as the run itself did, in windows trained on. So only
# short runs can be doubled: of a longer one it is a smaller part, and most models need few steps.
OVERFIT_SHARE = 1.0
# Why a probe was not asked that could still be.
CUT_SHORT = "the search was stopped before it"

Stopped = Callable[[], bool]


class _CutShort(BaseException):
    """A worker was asked to stop; no Exception, since those are taken for a probe's own fault."""


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
            raise _CutShort

    failed: dict[str, str] = {}
    unasked: dict[str, str] = {}
    for probe in probes:
        if probe is OVERFIT and (why := _too_dear(row)) is not None:
            unasked[probe.name] = why
            continue
        try:
            pause()
            failed |= examine_run(store, artifacts, dataset, row.id, device, [probe], pause)
        except _CutShort:
            unasked[probe.name] = CUT_SHORT
    _remark(store, row.id, failed, unasked)


def was_cut_short(row: RunRow) -> bool:
    """Tell whether a run's search was stopped before all was measured that could be."""
    return any(CUT_SHORT in why for why in row.metrics.get(UNMEASURED, {}).values())


def _remark(store: Store, run: str, failed: dict[str, str], unasked: dict[str, str]) -> None:
    """Store what was not measured: what is missing must never look like health."""
    metrics = get_run(store, run).metrics
    before = metrics.get(UNMEASURED, {})
    kept = {signal: why for signal, why in before.items() if CUT_SHORT not in why}
    if not failed and not unasked and kept == before:
        return
    whys = {name: f"failed at {why}" for name, why in failed.items()}
    whys |= {name: f"was not asked: {why}" for name, why in unasked.items()}
    changes: dict[str, Any] = {UNMEASURED: kept | unmeasured(whys)}
    if failed:
        changes["failed_probes"] = metrics.get("failed_probes", {}) | failed
    update_run(store, run, metrics={**metrics, **changes})


def _too_dear(row: RunRow) -> str | None:
    trained = row.step * RunConfig.from_json(row.config).training.batch_size
    wanted = MOST_STEPS * WINDOWS
    if wanted <= OVERFIT_SHARE * trained:
        return None
    return f"it could take {wanted:,} windows, more than the {trained:,} that the run trained on"


def refresh(
    store: Store,
    artifacts: ArtifactStore,
    dataset: Dataset,
    study: str,
    device: torch.device,
    stopped: Stopped,
) -> list[tuple[RunRow, Diagnosis]]:
    """Explain again what ended before the baseline, the floors or the audit were there.

    And that of which not all was measured, since the search was stopped.

    Returns what was explained, for whoever shows it.
    """
    again = []
    for run in _told_too_early(store, study):
        if stopped():
            break
        row = get_run(store, run)
        _, diagnosis = explain_run(store, artifacts, dataset, row, device, stopped)
        again.append((row, diagnosis))
    return again


def _told_too_early(store: Store, study: str) -> list[str]:
    baseline = newest(find_runs(store, study, role="baseline"))
    ready = [row.finished for row in baseline if row.finished]
    audited = load_study(store, study).attributes.get(AUDITED)
    ready += [datetime.fromisoformat(audited)] if audited else []
    return told_until(store, study, max(ready), CUT_SHORT) if ready else []
