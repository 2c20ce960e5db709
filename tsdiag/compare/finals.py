"""Final runs: the best transformers and the baseline, trained anew on seeds that chose nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import count, islice

from tsdiag.config import ENGINE, RunConfig, as_written_now
from tsdiag.runs.execute import Request
from tsdiag.store.database import Store
from tsdiag.store.leases import claim, release, renew
from tsdiag.store.owners import owner
from tsdiag.store.runs import (
    WHOLE,
    RunRow,
    best_runs,
    end_dead,
    find_runs,
    latest,
    seeds_above,
)

# The best of many trials is partly luck. So several go to the final runs, and which of them meets
# the test data is decided by their mean validation loss over fresh seeds.
FINALISTS = 2
# So many of the best are looked at first: a configuration that was drawn twice is rare.
_AT_FIRST = 4 * FINALISTS

_ENDED = (*WHOLE, "diverged", "infeasible")
# As long as a trial's: see search/queue.py.
_LEASE = 300.0
_BUDGET = (
    "training.max_steps",
    "training.evaluate_every",
    "training.validation_windows",
    "training.patience",
)
# A final run that failed may have met a full disk; one that fails this often has a defect.
_MOST_FAILURES = 3


@dataclass(frozen=True)
class Candidate:
    """A configuration that goes to the final runs."""

    label: str
    trial: int
    role: str
    config: RunConfig


@dataclass(frozen=True)
class FinalRun:
    """One candidate on one seed, claimed by this process."""

    candidate: Candidate
    seed: int
    request: Request


class Finals:
    """The final runs of a study: which there are, which are done, which comes next."""

    def __init__(self, store: Store, study: str, seeds: int, search_seed: int) -> None:
        self._store = store
        self._study = study
        # Not the seed that the search was run with: the best trials were chosen on it.
        # Nor one of interventions; those begin far above (verify/plan.py), so as to take none away.
        used = seeds_above(store, study, search_seed)
        fresh = (seed for seed in count(search_seed + 1) if seed not in used)
        self.seeds = tuple(islice(fresh, seeds))
        self._owner = owner()

    def candidates(self) -> list[Candidate]:
        """Return the baseline and the best transformers, or nothing while either is missing."""
        baselines = best_runs(self._store, self._study, "baseline", 1)
        transformers = self._finalists()
        if not baselines or not transformers:
            return []
        chosen = (*baselines, *transformers)
        baseline, *others = (_candidate(row) for row in chosen)
        # Whatever a study lets its trials vary, the contest is held under one budget.
        budget = {path: baseline.config.get(path) for path in _BUDGET}
        return [baseline, *(replace(it, config=it.config.edits(budget)) for it in others)]

    def _finalists(self) -> list[RunRow]:
        """Return the best trials that differ, reading no more than it takes to find them."""
        count = _AT_FIRST
        while True:
            rows = best_runs(self._store, self._study, "trial", count)
            found = _distinct(rows)
            if len(found) >= FINALISTS or len(rows) < count:
                return found[:FINALISTS]
            count *= 4

    def next(self) -> FinalRun | None:
        """Claim the next final run, seed by seed so that pairs are complete early, or None."""
        for candidate, seed in self.pending():
            if claim(self._store, self._key(candidate, seed), self._owner, _LEASE):
                end_dead(self._store, self.runs(candidate, seed), "its worker died")
                # Read again: one that was only late may have ended at that moment.
                runs = self.runs(candidate, seed)
                last = latest(runs)
                if last is None or last.state not in _ENDED:
                    return FinalRun(candidate, seed, self._request(candidate, seed, runs))
                self.release(candidate, seed)
        return None

    def pending(self) -> list[tuple[Candidate, int]]:
        """Return what has not ended yet, running ones included."""
        everyone = self.candidates()
        rows = find_runs(self._store, self._study, role="final")
        rows = [row for row in rows if _is_of(row, everyone)]
        ended = {(row.label, row.seed) for row in rows if row.state in _ENDED}
        failures = Counter((row.label, row.seed) for row in rows if row.state == "failed")
        ended |= {run for run, times in failures.items() if times >= _MOST_FAILURES}
        return [
            (candidate, seed)
            for seed in self.seeds
            for candidate in everyone
            if (candidate.label, seed) not in ended
        ]

    def runs(self, candidate: Candidate, seed: int | None = None) -> list[RunRow]:
        """Return a candidate's final runs, oldest first."""
        rows = find_runs(self._store, self._study, role="final", label=candidate.label)
        return [
            row for row in rows if _is_of(row, [candidate]) and (seed is None or row.seed == seed)
        ]

    def keep(self, run: FinalRun) -> bool:
        """Renew the lease; False where another process has taken the run over."""
        return renew(self._store, self._key(run.candidate, run.seed), self._owner, _LEASE)

    def release(self, candidate: Candidate, seed: int) -> None:
        """Give a lease back."""
        release(self._store, self._key(candidate, seed), self._owner)

    def _request(self, candidate: Candidate, seed: int, runs: list[RunRow]) -> Request:
        return Request(
            study=self._study,
            role="final",
            config=candidate.config.edit("seed", seed),
            trial=candidate.trial,
            label=candidate.label,
            parent=last.id if (last := latest(runs)) else None,
        )

    def _key(self, candidate: Candidate, seed: int) -> str:
        return f"{self._study}/final/{candidate.label}/{seed}"


def _candidate(row: RunRow) -> Candidate:
    kind = "baseline" if row.role == "baseline" else "trial"
    assert row.trial is not None
    return Candidate(f"{kind} {row.trial}", row.trial, row.role, RunConfig.from_json(row.config))


def _distinct(rows: list[RunRow]) -> list[RunRow]:
    """Return the first of each configuration: samplers draw one twice at times.

    How the steps were computed does not count: it was chosen by timing, and may be so anew.
    """
    found: dict[str, RunRow] = {}
    for row in rows:
        paths = RunConfig.from_json(row.config).paths()
        found.setdefault(repr([paths[path] for path in sorted(paths) if path not in ENGINE]), row)
    return list(found.values())


def _is_of(row: RunRow, candidates: list[Candidate]) -> bool:
    return any(
        row.label == candidate.label
        and as_written_now(row.config) == candidate.config.edit("seed", row.seed).to_json()
        for candidate in candidates
    )
