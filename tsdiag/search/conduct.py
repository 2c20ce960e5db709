"""A whole search: check the data, set workers to work, watch them, then judge."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tsdiag.compare.comparison import Comparison
from tsdiag.compare.contest import compare, stored_comparison
from tsdiag.compare.finals import FINALISTS, Finals
from tsdiag.data.dataset import Dataset, load_dataset
from tsdiag.diagnostics.findings import Diagnosis
from tsdiag.errors import StoreError, TsdiagError, UsageError
from tsdiag.report.leaderboard import Leaderboard, leaderboard
from tsdiag.runs.environment import choose_device
from tsdiag.search.artifacts import artifact_store
from tsdiag.search.budget import UNTIL, is_over, join, others_at_work
from tsdiag.search.crew import Crew
from tsdiag.search.explaining import refresh
from tsdiag.search.interruption import Interruption
from tsdiag.search.mirror import renew_notes
from tsdiag.search.registration import register
from tsdiag.search.repairing import repairs_of
from tsdiag.search.spec import StudySpec
from tsdiag.search.storage import open_storage
from tsdiag.search.worker import Place
from tsdiag.store.database import Store
from tsdiag.store.findings import Told, told_of
from tsdiag.store.interventions import stored_verification
from tsdiag.store.leases import held
from tsdiag.store.owners import owner
from tsdiag.store.runs import RunRow, best_runs, find_runs, newest
from tsdiag.store.studies import load_study
from tsdiag.store.tally import Tally, tally_of
from tsdiag.uptime import uptime

if TYPE_CHECKING:
    import pandas as pd
    import torch

# More workers than this on one machine write to one SQLite file in turns, mostly waiting.
MOST_WORKERS = 8
_POLL = 0.5
# Scoring the test span takes seconds, for a dear model minutes [s].
_VERDICT_LEASE = 600.0


@dataclass(frozen=True)
class Snapshot:
    """What is going on, for whoever shows it."""

    spec: StudySpec
    tally: Tally
    floors: dict[str, float]
    started: float  # uptime()
    deadline: float
    workers: int
    scoring: bool = False  # final runs on the test span: nothing is trained any more


@dataclass(frozen=True)
class SearchResult:
    """What a search has found; ``comparison`` is None while no pair of final runs is done."""

    study: str
    best: RunRow | None
    baseline: RunRow | None
    rows: list[RunRow]
    floors: dict[str, float]
    comparison: Comparison | None
    pending: int  # final runs that are still to be done
    interrupted: bool
    seconds: float
    told: dict[str, Told] = field(default_factory=dict)  # diagnoses by the id of a run
    repairs: dict[int, int] = field(default_factory=dict)  # by trial, the one of its repair

    @property
    def leaderboard(self) -> pd.DataFrame:
        """The trials as a table, best first, with the columns of ``tsdiag trials --csv``."""
        import pandas as pd

        return pd.DataFrame([row.model_dump() for row in self.board.trials])

    @property
    def board(self) -> Leaderboard:
        """The trials ranked, with what they are measured against."""
        return leaderboard(self.study, self.rows, self.baseline, self.floors, self.told)


Show = Callable[[Snapshot], None]


def silent(_: Snapshot) -> None:
    """Show nothing."""


def prepare(store: Store, spec: StudySpec, *, renew: bool = True) -> Dataset:
    """Load and check the data and register the study; ``renew`` as in ``register``.

    Raises:
        DataError: the rows cannot be used.
        ConfigError: the study exists with other settings, or cannot be built.
    """
    dataset = load_dataset(spec.data)
    register(store, open_storage(store), spec, dataset, renew=renew)
    return dataset


def conduct(
    store: Store,
    spec: StudySpec,
    dataset: Dataset,
    *,
    workers: int = 0,
    device: str = "auto",
    finals_only: bool = False,
    show: Show = silent,
) -> SearchResult:
    """Search with several workers until the budget is spent, then return the verdict.

    ``workers`` 0 means one per core, and one where there is a GPU.

    Raises:
        TsdiagError: a worker ended with an error; what was finished is in the store.
    """
    chosen = choose_device(device)
    count = workers or default_workers(chosen)
    started = uptime()
    deadline = math.inf if finals_only else _deadline(store, spec)
    places = [Place(i, count, deadline, chosen.type, finals_only) for i in range(count)]
    with Interruption() as interruption, Crew(store, spec.name, places) as crew:
        store.patience.stopped = interruption.__bool__
        stopping = False
        while crew.is_working():
            show(Snapshot(spec, *_standing(store, spec), started, deadline, count))
            if interruption and not stopping:
                stopping = True
                crew.stop()
            time.sleep(_POLL)
        interrupted = bool(interruption)
    if not finals_only:
        _refresh(store, spec, dataset, chosen, interrupted)
    tally, floors = _standing(store, spec)
    show(Snapshot(spec, tally, floors, started, deadline, count, scoring=not interrupted))
    comparison = None if interrupted else judge_study(store, spec, dataset, chosen)
    return SearchResult(
        study=spec.name,
        best=next(iter(best_runs(store, spec.name, "trial", 1)), None),
        baseline=next(iter(best_runs(store, spec.name, "baseline", 1)), None),
        rows=newest(find_runs(store, spec.name)),
        floors=floors,
        comparison=comparison,
        pending=len(_finals(store, spec).pending()),
        interrupted=interrupted,
        seconds=uptime() - started,
        told=told_of(store, spec.name),
        repairs=repairs_of(store, spec),
    )


def conclude(
    store: Store,
    spec: StudySpec,
    *,
    workers: int = 0,
    device: str = "auto",
    show: Show = silent,
) -> Comparison:
    """Return the verdict on what has been searched, training the final runs that are missing.

    Raises:
        UsageError: there is no finished trial, or no finished baseline, to compare.
        TsdiagError: a worker ended with an error, or the final runs were interrupted.
    """
    finals = _finals(store, spec)
    if not finals.candidates():
        raise UsageError(
            f'compare in study "{spec.name}": no finished trial or no finished baseline yet; give '
            "the `tsdiag search` line that began it once more, with more time or trials"
        )
    comparison = None if finals.pending() else stored_comparison(store, spec.name)
    if comparison is not None:
        return comparison
    dataset = load_dataset(spec.data)
    result = conduct(
        store, spec, dataset, workers=workers, device=device, finals_only=True, show=show
    )
    if result.interrupted:
        raise KeyboardInterrupt
    if result.comparison is None:
        raise TsdiagError(
            f'compare in study "{spec.name}": the final runs are not done; run the same command '
            "again to go on"
        )
    return result.comparison


def _deadline(store: Store, spec: StudySpec) -> float:
    """Return when this search's time is over: that of others at work, or as long as was asked."""
    others, timeout = others_at_work(store, spec.name), spec.search.timeout
    is_theirs = others > 0 and UNTIL in load_study(store, spec.name).attributes
    deadline = join(store, spec.name, timeout, anew=not others)
    if not is_theirs or math.isinf(deadline):
        return deadline
    if is_over(deadline):  # they are at their last runs
        return join(store, spec.name, timeout, anew=True)
    sys.stderr.write(
        f"{others} at work on {spec.name} already: this search shares their time, "
        f"{deadline - uptime():.0f} s of it are left\n"
    )
    return deadline


def _refresh(
    store: Store, spec: StudySpec, dataset: Dataset, device: torch.device, interrupted: bool
) -> None:
    """Explain again what ended too early to be compared; its note in the dashboard follows."""
    artifacts = artifact_store(store)
    try:
        again = refresh(store, artifacts, dataset, spec.name, device, lambda: interrupted)
        told = [(row, _with_verdicts(store, row, found)) for row, found in again]
        renew_notes(open_storage(store), spec, told)
    except Exception as error:  # a missing explanation is no reason to lose a verdict
        sys.stderr.write(f"trials were not explained again: {type(error).__name__}: {error}\n")


def _with_verdicts(store: Store, row: RunRow, diagnosis: Diagnosis) -> Diagnosis:
    known = None
    with suppress(StoreError):  # of another version: no reason to lose the diagnosis
        known = stored_verification(store, row.id)
    return diagnosis if known is None else diagnosis.with_verdicts(known)


def judge_study(
    store: Store, spec: StudySpec, dataset: Dataset, device: torch.device
) -> Comparison | None:
    """Return the verdict on the final runs that are done, scoring the test span once."""
    # Two searches that end together must not both score the test span.
    with held(store, f"{spec.name}/verdict", owner(), _VERDICT_LEASE):
        finals, artifacts = _finals(store, spec), artifact_store(store)
        return compare(store, spec.name, finals, dataset, artifacts, device)


def _finals(store: Store, spec: StudySpec) -> Finals:
    return Finals(store, spec.name, spec.search.final_seeds, spec.search.seed)


def _standing(store: Store, spec: StudySpec) -> tuple[Tally, dict[str, float]]:
    """Return what is told while it goes on; asked twice a second, so it reads no whole study."""
    return tally_of(store, spec.name, FINALISTS), load_study(store, spec.name).floor_losses


def default_workers(device: torch.device) -> int:
    """Return one worker per core, up to ``MOST_WORKERS``; a GPU takes one."""
    if device.type == "cuda":
        return 1
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    return min(len(allowed) or os.cpu_count() or 1, MOST_WORKERS)
