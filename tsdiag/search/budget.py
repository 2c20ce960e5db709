"""Time: how long to search so that the final runs still fit."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from tsdiag.compare.finals import FINALISTS
from tsdiag.store.runs import RunRow

# Final runs take longer than the trials did on a machine that is busy with all workers at once.
_MARGIN = 1.15
# Scoring the test span and computing the verdict [s].
_SCORING = 10.0
# However dear the final runs are, at least this share of the time is for searching.
_LEAST_SEARCH = 0.4


def search_deadline(
    rows: Sequence[RunRow], started: float, deadline: float, final_seeds: int, workers: int
) -> float:
    """Return the time.time() at which searching ends; ``inf`` without a timeout."""
    if math.isinf(deadline):
        return deadline
    reserve = final_seconds(rows, final_seeds, workers) * _MARGIN + _SCORING
    return max(deadline - reserve, started + _LEAST_SEARCH * (deadline - started))


def final_seconds(rows: Sequence[RunRow], final_seeds: int, workers: int) -> float:
    """Return an estimate of the wall clock of the final runs, from what trials took [s]."""
    baseline = [_whole(row) for row in rows if row.role == "baseline"]
    trials = [row for row in rows if row.role == "trial" and row.validation_loss is not None]
    best = sorted(trials, key=lambda row: row.validation_loss or math.inf)[:FINALISTS]
    each = max(baseline, default=0.0) + sum(_whole(row) for row in best)
    return each * final_seeds / workers


def is_over(deadline: float) -> bool:
    """Tell whether a time.time() has passed."""
    return time.time() > deadline


def _whole(row: RunRow) -> float:
    """Return the seconds of a run carried to its last step."""
    return row.seconds / max(row.step, 1) * row.max_steps
