"""What a worker, a search and a person ask of a study takes no more rows when it has more trials.

Counted, not timed. Optuna's own first reading of all trials is left out: it comes once a process.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

import optuna
import pytest
from optuna.storages._rdb import models
from optuna_dashboard import get_note
from sqlalchemy import insert

from tests.fetched import fetched
from tsdiag.cli import dashboard
from tsdiag.cli.progress import search_lines
from tsdiag.compare.finals import FINALISTS
from tsdiag.diagnostics.audit import DataAudit
from tsdiag.explanation import explain
from tsdiag.search.artifacts import artifact_store
from tsdiag.search.conduct import Snapshot, _standing
from tsdiag.search.explaining import explain_case, refresh
from tsdiag.search.interruption import Interruption
from tsdiag.search.mirror import MOST_NOTES, mirror
from tsdiag.search.registration import open_queue
from tsdiag.search.space import baseline_config, default_config
from tsdiag.search.storage import open_storage
from tsdiag.search.worker import Place, Worker
from tsdiag.store.cases import AUDIT, AUDITED, load_case
from tsdiag.store.runs import RunRow, create_run
from tsdiag.store.schema import FINDINGS, RUNS
from tsdiag.store.studies import set_attribute, set_study
from tsdiag.uptime import uptime

# Below the first, finalists and the best siblings are not complete yet.
FEW, MANY = 200, 2000
LATE = datetime(2100, 1, 1, tzinfo=UTC)


def fill(store, spec, first, last):
    """Add trials that have ended, in Optuna's tables and in ours, each with a note."""
    config = default_config(spec)
    numbers = range(first, last)
    study = optuna.load_study(study_name=spec.name, storage=store.full_url)
    runs = [
        RunRow(
            spec.name,
            "trial",
            config.edit("optimizer.lr", 1e-6 * (number + 1)).to_json(),
            trial=number,
            state="completed",
            validation_loss=0.3 + 0.001 * number,
            seconds=2.0,
            step=10,
            max_steps=10,
            id=f"{number:032x}",
            started=LATE,
            updated=LATE,
            finished=LATE,
        )
        for number in numbers
    ]
    told = {"study": spec.name, "role": "trial", "kind": "transformer", "state": "learning"}
    findings = [
        {
            **told,
            "run": run.id,
            "validation_loss": run.validation_loss,
            "diagnosis": "{}",
            "written": LATE,
        }
        for run in runs
    ]
    trials = [
        {"number": number, "study_id": study._study_id, "state": "COMPLETE"} for number in numbers
    ]
    notes = [
        {
            "study_id": study._study_id,
            "key": f"dashboard:{number}:note_str:0",
            "value_json": json.dumps("a note"),
        }
        for number in numbers
    ]
    with store.write() as connection:
        connection.execute(RUNS.insert(), [vars(run) for run in runs])
        connection.execute(FINDINGS.insert(), findings)
        connection.execute(insert(models.TrialModel), trials)
        connection.execute(insert(models.StudySystemAttributeModel), notes)


@pytest.fixture
def searched(prepared, store):
    """A study whose baseline is done and whose floors and data are known."""
    spec, dataset = prepared(("final_seeds = 2", 'final_seeds = 2\ntimeout = "1h"'))
    queue = open_queue(store, open_storage(store), spec, "baseline", 0)
    trial = queue.claim(1)
    config = baseline_config(spec).to_json()
    row = RunRow(
        spec.name, "baseline", config, trial=0, state="completed", validation_loss=0.5, max_steps=10
    )
    queue.finish(trial.number, create_run(store, row))
    set_study(store, spec.name, floors={"floors": {"ridge": {"validation_loss": 0.6}}})
    set_attribute(store, spec.name, AUDIT, DataAudit().model_dump(mode="json"))
    set_attribute(store, spec.name, AUDITED, datetime.now(UTC).isoformat())
    fill(store, spec, 0, FEW)
    return spec, dataset


def asked(store, spec, dataset):
    """Return what is asked, by name, as one that has been at it for a while asks it."""
    deadline = uptime() + 3600
    worker = Worker(store, spec.name, Place(deadline=deadline, device="cpu"), Interruption())
    worker._next()
    spent = Worker(store, spec.name, Place(deadline=deadline, device="cpu"), Interruption())
    spent.spec = spec.with_search(trials=1)
    spent._trials.running = lambda: 0  # so that nothing keeps it from the final runs
    worker.spec = spec.with_search(trials=10**6)

    def show():
        return search_lines(Snapshot(spec, *_standing(store, spec), 0.0, deadline, 2))

    def again():
        artifacts = artifact_store(store)
        return refresh(store, artifacts, dataset, spec.name, worker.device, lambda: False)

    return {
        "a worker takes its next trial": worker._next,
        "a worker takes its next final run": spent._next,
        "what final runs are left": spent._finals.pending,
        "a search shows how it is getting on": show,
        "what was told too early": again,
        "why a trial stalled": lambda: explain(17, spec.name, store.full_url),
    }


def brought(store, spec, dataset):
    counts = {}
    for name, ask in asked(store, spec, dataset).items():
        with fetched() as found:
            ask()
        counts[name] = found.rows
    return counts


def test_what_is_asked_over_and_over_takes_as_many_rows_of_any_study(searched, store):
    few = brought(store, *searched)
    fill(store, searched[0], FEW + 20, MANY)
    many = brought(store, *searched)
    for name, rows in few.items():
        # Trials and leases that were taken while counting the first time.
        assert many[name] <= rows + 20, name
    assert max(many.values()) < FEW


def test_a_note_is_written_without_reading_the_others(searched, store):
    spec, _ = searched
    queue = open_queue(store, open_storage(store), spec, "trial", 0)
    trial = queue.claim(10**6)
    row = RunRow(spec.name, "trial", default_config(spec).to_json(), trial=trial.number)
    case = load_case(store, create_run(store, row))
    diagnosis = explain_case(store, case, row)
    with fetched() as found:
        mirror(trial, case, diagnosis, artifact_store(store))
    assert found.rows < FEW / 2
    assert get_note(trial).startswith(f"**{diagnosis.state}**")


def test_beyond_many_trials_there_are_no_more_notes(searched, store):
    spec, _ = searched
    fill(store, spec, FEW, MOST_NOTES)
    queue = open_queue(store, open_storage(store), spec, "trial", 0)
    trial = queue.claim(10**6)
    assert trial.number == MOST_NOTES
    row = RunRow(spec.name, "trial", default_config(spec).to_json(), trial=trial.number)
    case = load_case(store, create_run(store, row))
    mirror(trial, case, explain_case(store, case, row), artifact_store(store))
    assert get_note(trial) == ""
    assert trial.user_attrs["tsdiag:state"]


def test_the_finalists_are_found_behind_many_of_one_configuration(searched, store):
    spec, _ = searched
    same = default_config(spec).to_json()
    with store.write() as connection:
        connection.execute(
            RUNS.update().where(RUNS.c.trial < 100, RUNS.c.role == "trial").values(config=same)
        )
    worker = Worker(store, spec.name, Place(device="cpu"), Interruption())
    found = [candidate.trial for candidate in worker._finals.candidates()]
    assert found == [0, 0, 100]
    assert len(found) == 1 + FINALISTS


def test_the_dashboard_reads_trials_that_have_ended_once(searched, store, monkeypatch):
    given = []
    monkeypatch.setattr("optuna_dashboard.wsgi", lambda storage, _: given.append(storage))
    dashboard._application(store.full_url)
    (storage,) = given
    study = storage.get_study_id_from_name("tiny")
    assert len(storage.get_all_trials(study, deepcopy=False)) == FEW
    with fetched() as found:
        assert len(storage.get_all_trials(study, deepcopy=False)) == FEW
    assert found.rows < FEW / 10
