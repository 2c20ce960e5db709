"""From the database to a Case: all that the rules may know of a run. Opens nothing live."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tsdiag.diagnostics.audit import DataAudit
from tsdiag.diagnostics.case import Case, Facts, Record
from tsdiag.diagnostics.measures import last
from tsdiag.diagnostics.signals import Trace
from tsdiag.diagnostics.states import Level, Outcome, Standing, standing
from tsdiag.store.curves import load_trace
from tsdiag.store.database import Store
from tsdiag.store.failures import intact
from tsdiag.store.findings import healthy_runs
from tsdiag.store.runs import RunRow, best_runs, get_run
from tsdiag.store.studies import StudyRow, load_study

# Healthy runs that limits are calibrated on: the best few say what health looks like here.
SIBLINGS = 5
AUDIT, AUDITED = "audit", "audited"  # keys of a study's attributes: what was found, and when
BLOCKS = "validation_blocks"  # key of a run's metrics, and of a floor
UNMEASURED = "unmeasured"  # key of a run's metrics: signals, and why there are none


def load_case(store: Store, row: RunRow) -> Case:
    """Return a run with its signals, its state, its study's data and its healthy siblings.

    Raises:
        UsageError: its study is unknown.
        StoreError: its curves are damaged.
    """
    study = load_study(store, row.study)
    record = _record(store, row)
    baseline = next(iter(best_runs(store, row.study, "baseline", 1)), None)
    kind = str(record.setting("model.kind"))
    siblings = healthy_runs(store, row.study, kind, SIBLINGS, row.id)
    return Case(
        record=record,
        facts=_facts(study, record),
        standing=standing_of(study, row, baseline, record.trace),
        audit=audit_of(study),
        baseline=_record(store, baseline) if baseline and baseline.id != row.id else None,
        healthy=tuple(_record(store, get_run(store, run)) for run in siblings),
        unmeasured=row.metrics.get(UNMEASURED, {}),
    )


def standing_of(study: StudyRow, row: RunRow, baseline: RunRow | None, trace: Trace) -> Standing:
    """Return the state of a run; of the baseline itself, against the floors alone."""
    own = baseline is not None and row.role != "baseline"
    return standing(
        _outcome(row, trace),
        floor_levels(study),
        _level(baseline) if own and baseline else None,
        audit_of(study),
        "lstm" if baseline is None else _kind(baseline),
        expected=row.role != "baseline",
    )


def floor_levels(study: StudyRow) -> dict[str, Level]:
    """Return the validation losses of a study's floors, by block where they were so measured."""
    floors = (study.floors or {}).get("floors", {})
    return {
        name: Level(floor["validation_loss"], tuple(floor.get(BLOCKS, ())))
        for name, floor in floors.items()
        if "validation_loss" in floor
    }


def audit_of(study: StudyRow) -> DataAudit:
    """Return what was found out about a study's data; an empty audit where it was not done.

    Raises:
        StoreError: it is damaged.
    """
    with intact(f"what was found out about the data of study {study.name}"):
        return DataAudit.model_validate(study.attributes.get(AUDIT) or {})


def _record(store: Store, row: RunRow) -> Record:
    return Record(row.paths, load_trace(store, row.id))


def _kind(row: RunRow) -> str:
    return str(row.paths.get("model.kind"))


def _level(row: RunRow) -> Level | None:
    if row.validation_loss is None or not math.isfinite(row.validation_loss):
        return None
    return Level(row.validation_loss, tuple(row.metrics.get(BLOCKS, ())))


def _outcome(row: RunRow, trace: Trace) -> Outcome:
    losses = trace.signal("validation_loss")
    known = losses is not None and len(losses.values) > 0
    return Outcome(
        end_state=row.state,
        reason=row.reason,
        level=_level(row),
        first_loss=float(losses.values[0]) if known and losses else None,
        last_loss=row.last_validation_loss,
        pace=pace(trace, row.step),
        step=row.step,
        max_steps=row.max_steps,
        one_batch=last(trace.signal("one_batch_loss_share")),
    )


def pace(trace: Trace, step: int) -> float:
    """Return how much loss a run gained per step over the latest quarter of its steps."""
    losses = trace.signal("validation_loss")
    if losses is None or step <= 0:
        return 0.0
    values = losses.values.astype(np.float64)
    early = values[(losses.steps <= 0.75 * step) & np.isfinite(values)]
    finite = values[np.isfinite(values)]
    if not len(early):
        return 0.0
    return float(early.min() - finite.min()) / (0.25 * step)


def _facts(study: StudyRow, record: Record) -> Facts:
    summary: Mapping[str, Any] = study.summary or {}
    targets = len(summary.get("targets", ())) or 1
    return Facts(
        context_length=int(record.setting("data.context_length")),
        channels=len(summary.get("channels", ())),
        outputs=targets * int(record.setting("data.prediction_length")),
        train_windows=int(summary.get("windows", {}).get("train", 0)),
    )
