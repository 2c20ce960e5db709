"""Trials that have no run, or whose run ended with an exception: stored all the same."""

from __future__ import annotations

import sys
from typing import Any

import optuna

from tsdiag.config import RunConfig
from tsdiag.errors import TsdiagError
from tsdiag.search.limits import Refusal, refuse_after
from tsdiag.search.queue import TrialQueue
from tsdiag.store.database import Store
from tsdiag.store.runs import RunRow, create_run, get_run, update_run

# Trials that fail one after the other before a worker gives up: a defect, not bad luck.
MOST = 5


class Failures:
    """Trials of one worker that failed one after the other."""

    def __init__(self) -> None:
        self._count, self._last = 0, ""

    def end(self) -> None:
        """Begin anew: a trial did not fail."""
        self._count = 0

    def add(self, row: RunRow, error: Exception) -> None:
        """Count a failure and tell of it; what does not fit into memory is none."""
        if row.state == "infeasible":
            return
        self._count, self._last = self._count + 1, told(error)
        sys.stderr.write(f"trial {row.trial} failed: {self._last}\n")

    def give_up_after_many(self) -> None:
        """End the worker where its trials fail one after the other.

        Raises:
            TsdiagError: they do.
        """
        if self._count >= MOST:
            raise TsdiagError(
                f"{self._count} trials in a row failed, the last with: {self._last}; "
                "correct the study or report the defect, then run the same command again"
            )


def store_unrun(
    store: Store,
    queue: TrialQueue,
    number: int,
    config: RunConfig,
    refusal: Refusal | None = None,
) -> RunRow:
    """Store a run that never began."""
    row = RunRow(
        study=queue.name,
        role=queue.role,
        trial=number,
        seed=config.seed,
        config=config.to_json(),
        max_steps=config.training.max_steps,
        state="infeasible" if refusal else "failed",
        reason=refusal.reason if refusal else "",
        metrics={"constraints": refusal.constraints} if refusal else {},
    )
    return create_run(store, row)


def store_failure(
    store: Store, queue: TrialQueue, trial: optuna.Trial, error: Exception, meant: RunConfig
) -> RunRow:
    """Store why a trial failed; it may not have come as far as to have a run."""
    row = queue.run(trial.number) or store_unrun(store, queue, trial.number, meant)
    if row.state not in ("running", "failed"):
        return row
    refusal = refuse_after(error)
    changes: dict[str, Any] = {"state": "failed", "reason": told(error)}
    if refusal is not None:
        metrics = {"constraints": refusal.constraints}
        changes = {"state": "infeasible", "reason": refusal.reason, "metrics": metrics}
    update_run(store, row.id, **changes)
    return get_run(store, row.id)


def told(error: Exception) -> str:
    """Return the kind and the words of an exception, cut to what a table can hold."""
    return f"{type(error).__name__}: {error}"[:2000]
