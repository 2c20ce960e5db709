"""Read a recorded trace back as a Case."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from tsdiag.config import RunConfig
from tsdiag.diagnostics.audit import DataAudit
from tsdiag.diagnostics.case import Case, Facts, Record
from tsdiag.diagnostics.measures import last
from tsdiag.diagnostics.signals import Signal, Trace
from tsdiag.diagnostics.states import Level, Outcome, standing
from tsdiag.store.cases import pace

TRACES = Path(__file__).parents[1] / "traces"


def load_case(name: str) -> Case:
    """Return a trace with what was known around it; its state is judged anew."""
    told = json.loads((TRACES / name / "config.json").read_text())
    return case_of(told, read_signals(TRACES / name / "signals.csv"))


def case_of(told: dict, signals: list[Signal]) -> Case:
    """Return a run as a Case: its curves, and the rest as ``config.json`` has it."""
    trace = Trace(tuple(signals), told["outcome"]["end_state"])
    config = RunConfig.model_validate(told["config"]).paths()
    floors = {
        key: Level(floor["loss"], tuple(floor["blocks"])) for key, floor in told["floors"].items()
    }
    baseline = Level(told["baseline"]["loss"], tuple(told["baseline"]["blocks"]))
    audit = DataAudit.model_validate(told.get("audit") or {})
    return Case(
        record=Record(config, trace),
        facts=Facts(**told["facts"]),
        standing=standing(outcome_of(told["outcome"], trace), floors, baseline, audit, "lstm"),
        audit=audit,
        unmeasured=told["outcome"]["failed"],
    )


def outcome_of(told: dict, trace: Trace) -> Outcome:
    losses = trace.signal("validation_loss")
    level = None if told["loss"] is None else Level(told["loss"], tuple(told["blocks"]))
    return Outcome(
        end_state=told["end_state"],
        reason=told["reason"],
        level=level,
        first_loss=float(losses.values[0]) if losses else None,
        last_loss=told["last_loss"],
        pace=pace(trace, told["step"]),
        step=told["step"],
        max_steps=told["max_steps"],
        one_batch=last(trace.signal("one_batch_loss_share")),
    )


def read_signals(file: Path) -> list[Signal]:
    with file.open(newline="") as rows:
        return [
            Signal(
                row["name"],
                row["where"],
                row["unit"],
                np.array(row["steps"].split(), dtype=np.float32),
                np.array(row["values"].split(), dtype=np.float32),
            )
            for row in csv.DictReader(rows)
        ]


def names() -> list[str]:
    return sorted(folder.parent.name for folder in TRACES.glob("*/config.json"))
