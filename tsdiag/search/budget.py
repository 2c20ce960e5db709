"""Time: how long to search so that the final runs still fit."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from tsdiag.compare.finals import FINALISTS
from tsdiag.store.database import Store
from tsdiag.store.tally import Reached, reached

# Final runs take longer than the trials did on a machine that is busy with all workers at once.
_MARGIN = 1.15
# Scoring the test span and computing the verdict [s].
_SCORING = 10.0
# However dear the final runs are, at least this share of the time is for searching.
_LEAST_SEARCH = 0.4


def search_deadline(
    store: Store, study: str, started: float, deadline: float, final_seeds: int, workers: int
) -> float:
    """Return the time.time() at which searching ends; ``inf`` without a timeout."""
    if math.isinf(deadline):
        return deadline
    baseline, best = reached(store, study, FINALISTS)
    reserve = final_seconds(baseline, best, final_seeds, workers) * _MARGIN + _SCORING
    return max(deadline - reserve, started + _LEAST_SEARCH * (deadline - started))


def final_seconds(
    baseline: Reached, best: Sequence[Reached], final_seeds: int, workers: int
) -> float:
    """Return an estimate of the wall clock of the final runs, from what trials took [s]."""
    each = baseline.seconds + sum(trial.seconds for trial in best)
    return each * final_seeds / workers


def is_over(deadline: float) -> bool:
    """Tell whether a time.time() has passed."""
    return time.time() > deadline
