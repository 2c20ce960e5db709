"""How the runs of a study stand, in a few numbers: of thousands no more than a handful is read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import Connection, Float, case, cast, func, select

from tsdiag.store.database import Store
from tsdiag.store.patience import patient
from tsdiag.store.runs import BY_LOSS, is_newest, with_loss
from tsdiag.store.schema import RUNS

# Runs that have not come to an end: at work, or broken off and to be resumed.
UNENDED = ("running", "interrupted")
# The mean time of a trial is that of the latest so many: what a sampler draws changes.
_LATEST = 100
# How long a run takes, carried to its last step [s].
_WHOLE_SECONDS = (
    RUNS.c.seconds / cast(case((RUNS.c.step > 1, RUNS.c.step), else_=1), Float) * RUNS.c.max_steps
)


@dataclass(frozen=True)
class Reached:
    """What a run, or the best of several, has reached, and how long one takes."""

    trial: int | None
    loss: float | None  # validation loss
    seconds: float  # carried to its last step


@dataclass(frozen=True)
class Running:
    """A run that is under way."""

    role: str
    trial: int | None
    label: str
    seed: int
    step: int
    max_steps: int


@dataclass(frozen=True)
class Tally:
    """How a search is getting on, by the runs that no other one continues."""

    counts: dict[tuple[str, str], int]  # by role and state
    running: tuple[Running, ...]
    baseline: Reached
    best: tuple[Reached, ...]  # trials, lowest loss first
    seconds: float | None  # mean of the latest trials that have ended
    finalists: int  # candidates that have final runs

    def count(self, role: str) -> int:
        """Return how many runs of a role there are."""
        return sum(number for (of, _), number in self.counts.items() if of == role)

    def ended(self, role: str) -> int:
        """Return how many runs of a role have come to an end."""
        return self.count(role) - sum(self.counts.get((role, state), 0) for state in UNENDED)

    def under_way(self, role: str) -> list[Running]:
        """Return the runs of a role that are under way."""
        return [run for run in self.running if run.role == role]


@patient
def tally_of(store: Store, study: str, best: int) -> Tally:
    """Count a study's runs, with as many of its best trials."""
    with store.read() as connection:
        return Tally(
            counts=_counts(connection, study),
            running=_running(connection, study),
            baseline=_baseline(connection, study),
            best=_best(connection, study, best),
            seconds=_mean_seconds(connection, study),
            finalists=_finalists(connection, study),
        )


@patient
def reached(store: Store, study: str, best: int) -> tuple[Reached, tuple[Reached, ...]]:
    """Return what the baseline has reached, and what the best trials have."""
    with store.read() as connection:
        return _baseline(connection, study), _best(connection, study, best)


def _counts(connection: Connection, study: str) -> dict[tuple[str, str], int]:
    """Count by role and state: all runs, by an index alone, less the few that are continued."""
    columns = (RUNS.c.state, RUNS.c.role)
    all_runs = select(*columns, func.count()).where(RUNS.c.study == study).group_by(*columns)
    other = RUNS.alias("other")
    continued = (
        select(*columns, func.count(RUNS.c.id.distinct()))
        .join_from(other, RUNS, RUNS.c.id == other.c.parent)
        .where(other.c.study == study, other.c.parent.is_not(None))
        .group_by(*columns)
    )
    counts = Counter({(role, state): found for state, role, found in connection.execute(all_runs)})
    counts.subtract({(role, state): found for state, role, found in connection.execute(continued)})
    return dict(+counts)


def _running(connection: Connection, study: str) -> tuple[Running, ...]:
    columns = [RUNS.c[name] for name in Running.__dataclass_fields__]
    own = (RUNS.c.study == study, RUNS.c.state == "running", is_newest())
    query = select(*columns).where(*own).order_by(RUNS.c.started, RUNS.c.id)
    return tuple(Running(*row) for row in connection.execute(query))


def _baseline(connection: Connection, study: str) -> Reached:
    """Return the lowest loss of the baseline's runs, and the time of the longest."""
    own = (RUNS.c.study == study, RUNS.c.role == "baseline", is_newest())
    query = select(func.min(RUNS.c.validation_loss), func.max(_WHOLE_SECONDS)).where(*own)
    loss, seconds = connection.execute(query).one()
    return Reached(None, loss, seconds or 0.0)


def _best(connection: Connection, study: str, count: int) -> tuple[Reached, ...]:
    query = select(RUNS.c.trial, RUNS.c.validation_loss, _WHOLE_SECONDS)
    found = query.where(*with_loss(study, "trial"), is_newest()).order_by(*BY_LOSS).limit(count)
    return tuple(Reached(*row) for row in connection.execute(found))


def _mean_seconds(connection: Connection, study: str) -> float | None:
    own = (RUNS.c.study == study, RUNS.c.role == "trial", RUNS.c.state.not_in(UNENDED))
    some = select(RUNS.c.seconds).where(*own).order_by(RUNS.c.trial.desc()).limit(_LATEST)
    found = connection.scalar(select(func.avg(some.subquery().c.seconds)))
    return None if found is None else float(found)


def _finalists(connection: Connection, study: str) -> int:
    own = (RUNS.c.study == study, RUNS.c.role == "final")
    found = connection.scalar(select(func.count(RUNS.c.label.distinct())).where(*own))
    return int(found or 0)
