"""A study of many trials in a database: one that was really trained, and copies of it."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import Table, func, insert, literal, select, text

from tsdiag.compare.finals import Finals
from tsdiag.search.conduct import prepare
from tsdiag.search.interruption import Interruption
from tsdiag.search.mirror import MOST_NOTES
from tsdiag.search.queue import ORIGIN, PARENT_RUN, RESUMES
from tsdiag.search.spec import StudySpec, read_spec
from tsdiag.search.storage import open_storage
from tsdiag.search.worker import Place, Worker
from tsdiag.store.database import Store
from tsdiag.store.runs import RunRow, create_run, get_run
from tsdiag.store.schema import CURVES, FINDINGS, LEASES, RUNS

NAME = "many"
# So small that it is trained in seconds; its space and what is recorded of it are a real one's.
STUDY = f"""
[study]
name = "{NAME}"
[data]
generate = {{ kind = "macd", rows = 3000, channels = 10 }}
target = "level"
transform = "difference"
context_length = 48
[space]
"model.d_model" = [16, 32]
"model.n_layers" = [1, 2]
"model.n_heads" = [1, 2]
"model.head_dim" = [8, 16]
"model.ff_dim" = 32
"model.embedding" = "patch"
"model.patch_length" = 8
[training]
batch_size = 32
max_steps = 200
evaluate_every = 20
precision = "float32"
[search]
trials = 1
final_seeds = 5
timeout = "12h"
"""
WORKERS = 4  # at work elsewhere, each on a trial
# Of the trials so many were stopped by the pruner, and one was broken off and continued.
_PRUNED, _RESUMED = 0.3, 50
_BEST = (5, 6)
# Curves are long, and only those of a few trials are ever read.
_CURVES_OF = 10
# Of the final runs so many are done, so that some are left to be claimed.
_FINALS_DONE = 10
_BATCH = 500
_CHILDREN = (
    models.TrialUserAttributeModel,
    models.TrialSystemAttributeModel,
    models.TrialParamModel,
    models.TrialValueModel,
    models.TrialIntermediateValueModel,
)


def begin(store: Store, folder: Path) -> StudySpec:
    """Register the study and carry out its baseline and its first trial, but no final run."""
    file = folder / "study.toml"
    file.write_text(STUDY)
    spec = read_spec(file)
    prepare(store, spec)
    worker = Worker(store, NAME, Place(device="cpu"), Interruption())
    for find in (worker._next_baseline, worker._next_floors, worker._next_trial):
        task = find()
        assert task is not None
        task()
    return spec


@dataclass(frozen=True)
class Pattern:
    """What is copied: the rows of the first trial, in Optuna's tables and in ours."""

    study_id: int
    trial: dict[str, Any]
    children: dict[str, list[dict[str, Any]]]  # by table
    notes: list[dict[str, Any]]
    run: RunRow
    finding: dict[str, Any]
    config: dict[str, Any]


def read_pattern(store: Store) -> Pattern:
    """Return the rows of trial 0."""
    with store.read() as connection:
        study_id = connection.scalar(
            select(models.StudyModel.study_id).where(models.StudyModel.study_name == NAME)
        )
        trials = models.TrialModel.__table__
        first = (trials.c.study_id == study_id) & (trials.c.number == 0)
        trial = dict(connection.execute(select(trials).where(first)).mappings().one())
        children = {
            model.__tablename__: [
                dict(row)
                for row in connection.execute(
                    select(model.__table__).where(model.trial_id == trial["trial_id"])
                ).mappings()
            ]
            for model in _CHILDREN
        }
        notes = models.StudySystemAttributeModel.__table__
        own = notes.c.key.startswith(f"dashboard:{trial['trial_id']}:")
        noted = [dict(r) for r in connection.execute(select(notes).where(own)).mappings()]
        run = connection.scalar(
            select(RUNS.c.id).where(RUNS.c.study == NAME, RUNS.c.role == "trial").limit(1)
        )
        finding = dict(
            connection.execute(select(FINDINGS).where(FINDINGS.c.run == run)).mappings().one()
        )
    row = get_run(store, run)
    return Pattern(study_id, trial, children, noted, row, finding, json.loads(row.config))


def fill(store: Store, pattern: Pattern, first: int, last: int) -> None:
    """Add trials from number ``first`` to ``last``, the latter left out."""
    for begin in range(first, last, _BATCH):
        numbers = range(begin, min(begin + _BATCH, last))
        ids = _add_trials(store, pattern, numbers)
        _add_children(store, pattern, ids)
        _add_runs(store, pattern, numbers)
    _settle(store)


def _add_trials(store: Store, pattern: Pattern, numbers: range) -> dict[int, int]:
    """Add the rows of trials and return their keys, by number."""
    table = models.TrialModel.__table__
    rows = [
        {
            "number": number,
            "study_id": pattern.study_id,
            "state": _state(number),
            "datetime_start": _begun(number).replace(tzinfo=None),
            "datetime_complete": _begun(number + 1).replace(tzinfo=None),
        }
        for number in numbers
    ]
    with store.write() as connection:
        connection.execute(insert(table), rows)
        own = (table.c.study_id == pattern.study_id) & table.c.number.in_(numbers)
        found = connection.execute(select(table.c.number, table.c.trial_id).where(own)).all()
    return dict(map(tuple, found))


def _add_children(store: Store, pattern: Pattern, ids: dict[int, int]) -> None:
    loss = pattern.run.validation_loss or 1.0
    with store.write() as connection:
        for model in _CHILDREN:
            table = model.__table__
            rows = [
                row
                for number, key in ids.items()
                for row in _copies(table, pattern.children[table.name], number, key, loss)
            ]
            rows += [
                {"trial_id": key, "key": name, "value_json": json.dumps(value)}
                for number, key in ids.items()
                for name, value in (
                    _lineage(number).items() if table.name == "trial_user_attributes" else ()
                )
            ]
            connection.execute(insert(table), rows)
        notes = models.StudySystemAttributeModel.__table__
        old = f":{pattern.trial['trial_id']}:"
        noted = [
            {
                "study_id": pattern.study_id,
                "key": note["key"].replace(old, f":{key}:"),
                "value_json": note["value_json"],
            }
            for number, key in ids.items()
            for note in (pattern.notes if number < MOST_NOTES else ())
        ]
        if noted:
            connection.execute(insert(notes), noted)


def _copies(
    table: Table, rows: Sequence[dict[str, Any]], number: int, key: int, first: float
) -> Iterator[dict[str, Any]]:
    """Return a trial's rows of one table: values of its own, all else as it was."""
    rng = random.Random(number)
    scale = loss_of(number) / first
    primary = {column.name for column in table.primary_key}
    for row in rows:
        copy = {name: value for name, value in row.items() if name not in primary}
        copy["trial_id"] = key
        if table.name == "trial_params":
            copy["param_value"] = _drawn(row["distribution_json"], rng)
        elif table.name == "trial_values":
            copy["value"] = loss_of(number)
        elif table.name == "trial_intermediate_values":
            if _state(number) == TrialState.PRUNED and row["step"] > 100:
                continue
            copy["intermediate_value"] = row["intermediate_value"] * scale
        yield copy


def _drawn(distribution: str, rng: random.Random) -> float:
    found = optuna.distributions.json_to_distribution(distribution)
    if isinstance(found, optuna.distributions.CategoricalDistribution):
        return float(rng.randrange(len(found.choices)))
    if isinstance(found, optuna.distributions.IntDistribution):
        return float(rng.randint(found.low, found.high))
    if found.log:
        return math.exp(rng.uniform(math.log(found.low), math.log(found.high)))
    return rng.uniform(found.low, found.high)


def _lineage(number: int) -> dict[str, Any]:
    if not _continues(number):
        return {}
    return {RESUMES: number - 1, ORIGIN: number - 1, PARENT_RUN: run_id(number - 1)}


def _add_runs(store: Store, pattern: Pattern, numbers: range) -> None:
    rows = [vars(_run(pattern, number)) for number in numbers]
    findings = [
        {
            **pattern.finding,
            "run": run_id(number),
            "state": "learning" if number % 3 else "stalled",
            "validation_loss": loss_of(number),
        }
        for number in numbers
    ]
    with store.write() as connection:
        connection.execute(RUNS.insert(), rows)
        connection.execute(FINDINGS.insert(), findings)
        columns = [c for c in CURVES.c if c.name != "run"]
        for number in numbers:
            if number % _CURVES_OF == 0 or number < 2 * _CURVES_OF:
                copied = select(literal(run_id(number)), *columns).where(
                    CURVES.c.run == pattern.run.id
                )
                connection.execute(
                    CURVES.insert().from_select(["run", *(c.name for c in columns)], copied)
                )


def _run(pattern: Pattern, number: int) -> RunRow:
    optimizer = {**pattern.config["optimizer"], "lr": 1e-4 * (1 + number % 997 / 10 + number)}
    states = {TrialState.PRUNED: "pruned", TrialState.FAIL: "interrupted"}
    begun = _begun(number)
    return replace(
        pattern.run,
        id=run_id(number),
        trial=number,
        config=json.dumps({**pattern.config, "optimizer": optimizer}, separators=(",", ":")),
        state=states.get(_state(number), "completed"),
        validation_loss=loss_of(number),
        parent=run_id(number - 1) if _continues(number) else None,
        started=begun,
        updated=begun + timedelta(seconds=20),
        finished=begun + timedelta(seconds=20),
    )


def run_id(number: int) -> str:
    """Return the id of a copy's run."""
    # Spread over the whole range, as random ids are.
    return f"{random.Random(number).getrandbits(96):024x}{number:08x}"


def loss_of(number: int) -> float:
    """Return a trial's loss; the best two stay the same however many there are."""
    if number in _BEST:
        return 0.3 + 0.001 * number
    loss = 0.4 + random.Random(f"loss {number}").expovariate(4.0)
    return loss + 0.2 if _state(number) == TrialState.PRUNED else loss


def _state(number: int) -> TrialState:
    if _continues(number + 1):
        return TrialState.FAIL
    pruned = number >= 20 and random.Random(f"pruned {number}").random() < _PRUNED
    return TrialState.PRUNED if pruned else TrialState.COMPLETE


def _continues(number: int) -> bool:
    """Tell whether a trial goes on from the one before it."""
    return number > 20 and number % _RESUMED == 1


def _begun(number: int) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=30 * number)


def occupy(store: Store, spec: StudySpec, pattern: Pattern) -> None:
    """Let workers of another machine be at a trial each, and the final runs be under way."""
    study = optuna.load_study(study_name=spec.name, storage=open_storage(store))
    for _ in range(WORKERS):
        trial = study.ask()
        row = replace(
            pattern.run,
            id=run_id(-1 - trial.number),
            trial=trial.number,
            state="running",
            validation_loss=0.9,
            started=None,
            updated=None,
            finished=None,
        )
        create_run(store, row)
        now = datetime.now(UTC)
        lease = {
            "key": f"{spec.name}/trial/{trial.number}",
            "owner": "elsewhere:boot:1:1",
            "claimed": now,
            "expires": now + timedelta(days=1),
        }
        with store.write() as connection:
            connection.execute(LEASES.insert().values(**lease))


def finish_finals(store: Store, spec: StudySpec, pattern: Pattern) -> None:
    """Let most of the final runs be done."""
    finals = Finals(store, spec.name, spec.search.final_seeds, spec.search.seed)
    for candidate, seed in finals.pending()[:_FINALS_DONE]:
        config = candidate.config.edit("seed", seed)
        row = replace(
            pattern.run,
            id=f"{candidate.trial:016x}{seed:016x}"
            if candidate.role == "trial"
            else f"{seed:032x}",
            role="final",
            label=candidate.label,
            trial=candidate.trial,
            seed=seed,
            config=config.to_json(),
            started=None,
            updated=None,
            finished=None,
        )
        create_run(store, row)


def _settle(store: Store) -> None:
    """Let a server take stock, as it does by itself within minutes."""
    with store.engine.connect() as connection:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        match connection.dialect.name:
            case "postgresql":
                connection.execute(text("VACUUM ANALYZE"))
            case "mysql":
                for table in (RUNS, FINDINGS, CURVES, *(m.__table__ for m in _CHILDREN)):
                    connection.execute(text(f"ANALYZE TABLE {table.name}")).all()


def count_trials(store: Store) -> int:
    """Return how many runs of trials there are."""
    with store.read() as connection:
        query = select(func.count()).where(RUNS.c.study == NAME, RUNS.c.role == "trial")
        return int(connection.scalar(query) or 0)
