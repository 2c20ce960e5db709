"""A run on healthy data with its audit, of which tests change one part each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tsdiag.config import DataConfig, RunConfig
from tsdiag.diagnostics.audit import (
    Columns,
    DataAudit,
    FeatureSkill,
    LagScan,
    Leaks,
    Permutation,
    TargetFacts,
)
from tsdiag.diagnostics.case import Case, Facts, Record
from tsdiag.diagnostics.findings import Interval, RunScores
from tsdiag.diagnostics.signals import Signal, Trace
from tsdiag.diagnostics.states import Standing
from tsdiag.models import preset

DATA = DataConfig(path="rows.csv", target="level", transform="difference", context_length=48)
CONFIG = preset(RunConfig(data=DATA), "transformer", "default")
FACTS = Facts(context_length=48, channels=10, outputs=1, train_windows=4000)
HEALTHY = {
    "validation_loss": [2.3, 0.4, 0.3, 0.2],
    "undropped_train_loss": [2.2, 0.3, 0.2, 0.15],
    "prediction_correlation": [0.0, 0.7, 0.8, 0.86],
    "prediction_variance_ratio": [2.0, 0.8, 0.9, 0.9],
    "prediction_range_share": [1.7, 0.9, 0.9, 0.88],
    "unreached_share": [0.0, 0.02, 0.01, 0.01],
    "validation_loss_ratio": [3.3, 0.6, 0.4, 0.27],
    "channel_share": [0.2, 0.2, 0.2, 0.2],
}
TARGET = TargetFacts(
    standard_deviation=1.0,
    mean=0.0,
    most_frequent_share=0.08,
    validation_mean_shift=0.02,
    validation_std_ratio=0.9,
    input_shift=1.2,
    input_shift_channel="level",
)
SHUFFLED = Permutation(
    model="ridge on the last 48 rows",
    against="train_mean",
    skill=0.73,
    shuffled=(0.01, -0.02) * 9,
    p=0.05,
    detectable=0.1,
    block_length=50,
)
LEAKS = Leaks(
    dominating=FeatureSkill(channel="x01", skill=0.3, share=0.4, is_target=False),
    foreseeing=FeatureSkill(channel="x02", skill=0.4, share=0.6, is_target=False),
    past_skill=0.2,
    purged_skill=0.72,
    purged_error=0.02,
    full_skill=0.73,
    interpolated_share=0.05,
    repeated_by_chance=0.01,
)
LAGS = tuple(range(-3, 4))
SCAN = LagScan(lags=LAGS, skills=(0.1, 0.2, 0.4, 0.7, 0.71, 0.7, 0.7), block_error=0.01)
AUDIT = DataAudit(
    permutation=SHUFFLED,
    leaks=LEAKS,
    columns=Columns(missing_share=0.02, largest="x01", smallest="x02"),
    target=TARGET,
    lag_scan=SCAN,
)


def curve(name, values):
    steps = 50 * np.arange(len(values), dtype=np.float32)
    return Signal(name, "", "", steps, np.asarray(values, dtype=np.float32))


def record(config=CONFIG, **signals):
    values = {name: some for name, some in (HEALTHY | signals).items() if some is not None}
    trace = Trace(tuple(curve(name, some) for name, some in values.items()), "completed")
    return Record(config.paths(), trace)


def case(edits=None, audit=AUDIT, attained=True, healthy=(), **signals):
    scores = RunScores(
        validation_loss=0.7,
        attained=Interval(value=0.1, low=0.0, high=0.2) if attained else None,
    )
    return Case(
        record=record(CONFIG.edits(edits or {}), **signals),
        facts=FACTS,
        standing=Standing("stalled", "", scores),
        audit=audit,
        healthy=healthy,
    )


def foreign(**signals):
    """Return the case of a model that tsdiag did not build: its configuration is unknown."""
    given = case(**signals)
    return replace(given, record=Record({}, given.record.trace))


def audited(part, **changes):
    """Return the healthy audit with one part changed."""
    return AUDIT.model_copy(update={part: getattr(AUDIT, part).model_copy(update=changes)})


def without(part, why="too few rows"):
    return AUDIT.model_copy(update={part: None, "reasons": {part: why}})


def edits_fit(finding, edits=None):
    """Say whether every remedy is a valid edit that changes something."""
    config = CONFIG.edits(edits or {})
    return all(config.edits(remedy.set) != config for remedy in finding.remedies)
