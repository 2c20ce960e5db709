from __future__ import annotations

import dataclasses
import functools
import sys
from pathlib import Path

import numpy as np
import pytest

from tsdiag.diagnostics.case import Case, Facts, Record
from tsdiag.diagnostics.findings import RunScores
from tsdiag.diagnostics.signals import Signal, Trace
from tsdiag.diagnostics.states import Standing

sys.path.insert(0, str(Path(__file__).parents[1] / "diagnostics"))
from recorded import load_case


@pytest.fixture(scope="session")
def recorded():
    """Return a recorded run by name."""
    return functools.cache(load_case)


@pytest.fixture
def without():
    """Return a case whose run did not measure a signal."""

    def drop(case, name):
        kept = tuple(s for s in case.record.trace.signals if s.name != name)
        record = Record(case.record.config, Trace(kept, case.record.trace.end_state))
        return dataclasses.replace(case, record=record)

    return drop


@pytest.fixture
def made():
    """Return a case of the given curves: (name, where) -> (steps, values)."""

    def make(curves, state="learning", **scores):
        signals = tuple(
            Signal(name, where, "", np.array(steps, np.float32), np.array(values, np.float32))
            for (name, where), (steps, values) in curves.items()
        )
        standing = Standing(state, "", RunScores(**{"validation_loss": None} | scores))
        return Case(Record({}, Trace(signals, "completed")), Facts(8, 2), standing)

    return make
