"""What a search finds out about its trials: before they are told, and where it is shown."""

from __future__ import annotations

import json
import urllib.request
from datetime import UTC, datetime
from threading import Thread
from wsgiref.simple_server import make_server

import pytest
import torch

from tsdiag.cli import dashboard
from tsdiag.data.dataset import load_dataset
from tsdiag.search import explaining
from tsdiag.search import worker as worker_module
from tsdiag.search.artifacts import artifact_store
from tsdiag.search.explaining import refresh, was_cut_short
from tsdiag.search.mirror import CAUSE, STATE, renew_notes
from tsdiag.search.spec import StudySpec
from tsdiag.store.curves import load_trace
from tsdiag.store.findings import save_diagnosis, stored_diagnosis, told_of
from tsdiag.store.runs import find_runs
from tsdiag.store.studies import load_study, set_attribute

CPU = torch.device("cpu")

# A rate so small that nothing moves within ten steps.
STALLED = (
    ("trials = 3", "trials = 2"),
    ('"model.d_model" = 8', '"model.d_model" = 8\n"optimizer.lr" = 1e-7'),
)


@pytest.fixture
def searched(prepared, work, store):
    prepared(*STALLED)
    work()
    return store


def trials(store):
    return find_runs(store, "tiny", role="trial")


def test_every_run_of_a_search_is_diagnosed(searched, optuna_study):
    told = told_of(searched, "tiny")
    runs = [*trials(searched), *find_runs(searched, "tiny", role="baseline")]
    assert set(told) == {run.id for run in runs}
    for trial in optuna_study().trials:
        (run,) = [run for run in runs if run.trial == trial.number and run.role == "trial"]
        assert trial.user_attrs[STATE] == told[run.id].state
        assert trial.user_attrs[CAUSE] == (told[run.id].cause or "")
        diagnosis = stored_diagnosis(searched, run.id)
        assert diagnosis.trial == trial.number
        assert diagnosis.scores.floors.keys() >= {"train_mean", "ridge"}


def test_what_looks_stalled_is_measured_further(searched):
    for run in trials(searched):
        assert stored_diagnosis(searched, run.id).state in ("stalled", "undecided")
        names = {signal.name for signal in load_trace(searched, run.id).signals}
        assert {"readout_skill", "rate_ratio", "time_shuffle_effect"} <= names
        # Ten steps of 16 windows are too few for learning a batch by heart, and it is said.
        assert "one_batch_loss_share" not in names
        unmeasured = {i.cause: i.why for i in stored_diagnosis(searched, run.id).not_measured}
        assert "overfit was not asked" in unmeasured["under-capacity"]
        assert "160" in unmeasured["under-capacity"]


def test_what_a_stopped_search_left_out_is_measured_by_the_next(prepared, work, store):
    spec, dataset = prepared(*STALLED)
    with pytest.MonkeyPatch.context() as patch:
        stopped = explaining.explain_run
        patch.setattr(
            worker_module, "explain_run", lambda *given: stopped(*given[:-1], lambda: True)
        )
        work()
    run = trials(store)[0]
    assert was_cut_short(run)
    assert load_trace(store, run.id).signal("rate_ratio") is None
    again = refresh(store, artifact_store(store), dataset, spec.name, CPU, lambda: False)
    assert {row.id for row, _ in again} >= {row.id for row in trials(store)}
    assert not was_cut_short(trials(store)[0])
    assert load_trace(store, run.id).signal("rate_ratio") is not None
    unmeasured = {i.cause: i.why for i in stored_diagnosis(store, run.id).not_measured}
    assert "learning-rate-too-low" not in unmeasured
    assert "overfit was not asked" in unmeasured["under-capacity"]  # that stays
    assert refresh(store, artifact_store(store), dataset, spec.name, CPU, lambda: False) == []


def test_floors_and_runs_have_the_same_blocks(searched):
    floors = load_study(searched, "tiny").floors["floors"]
    lengths = {len(floor["validation_blocks"]) for floor in floors.values() if not floor["reason"]}
    lengths |= {len(run.metrics["validation_blocks"]) for run in trials(searched)}
    assert len(lengths) == 1
    for run in trials(searched):
        blocks = run.metrics["validation_blocks"]
        assert sum(blocks) / len(blocks) == pytest.approx(run.validation_loss, rel=0.05)


def test_the_data_are_audited_once(prepared, work, store, monkeypatch):
    audits = []
    audit = worker_module.audit

    def counted(*given, **rest):
        audits.append(audit(*given, **rest))
        return audits[-1]

    monkeypatch.setattr(worker_module, "audit", counted)
    prepared(*STALLED)
    work()
    work()
    (found,) = audits
    assert load_study(store, "tiny").attributes["audit"] == found.model_dump(mode="json")
    assert found.leaks is not None


def test_an_audit_that_a_worker_did_not_finish_is_done_by_the_next(
    prepared, work, store, monkeypatch
):
    def die(*_, **__):
        raise KeyboardInterrupt

    prepared(*STALLED)
    with monkeypatch.context() as patch:
        patch.setattr(worker_module, "audit", die)
        with pytest.raises(KeyboardInterrupt):
            work()
    assert "audit" not in load_study(store, "tiny").attributes
    work()
    assert "audit" in load_study(store, "tiny").attributes


def test_a_diagnosis_that_fails_loses_no_trial(prepared, work, store, monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("no ink")

    monkeypatch.setattr(worker_module, "mirror", fail)
    prepared(*STALLED)
    work()
    assert [run.state for run in trials(store)] == ["completed", "completed"]
    assert "was not explained: RuntimeError: no ink" in capsys.readouterr().err


def test_whoever_is_asked_to_stop_measures_no_further(prepared, work, store, monkeypatch):
    monkeypatch.setattr(explaining, "OVERFIT_SHARE", 1e9)
    prepared(*STALLED)
    explain = worker_module.explain_run

    def interrupted(*given):
        *rest, _ = given
        asked = iter(range(10**6))
        # Before the first probe, before the second, then within learning a batch by heart.
        return explain(*rest, lambda: next(asked) > 12)

    monkeypatch.setattr(worker_module, "explain_run", interrupted)
    work()
    for run in trials(store):
        assert "failed_probes" not in run.metrics
        assert "the search was stopped" in run.metrics["unmeasured"]["one_batch_loss_share"]
        names = {signal.name for signal in load_trace(store, run.id).signals}
        assert "readout_skill" in names
        assert "one_batch_loss_share" not in names


def test_what_ended_before_the_baseline_is_explained_again(searched, dataset_of, artifacts):
    def again():
        found = refresh(searched, artifacts, dataset_of, "tiny", CPU, lambda: False)
        return {row.id for row, _ in found}

    # The baseline came before the floors; the trials after both.
    baseline = find_runs(searched, "tiny", role="baseline")[0]
    assert stored_diagnosis(searched, baseline.id).state == "undecided"
    assert again() == {baseline.id}
    assert stored_diagnosis(searched, baseline.id).state != "undecided"
    assert again() == set()
    run = trials(searched)[0]
    first = stored_diagnosis(searched, run.id)
    save_diagnosis(searched, run, "transformer", first.model_copy(update={"findings": ()}))
    set_attribute(searched, "tiny", "audited", datetime.now(UTC).isoformat())
    assert again() == {baseline.id, *(row.id for row in trials(searched))}
    assert stored_diagnosis(searched, run.id) == first


def test_notes_follow(searched, optuna_study):
    from optuna_dashboard._note import get_note_from_system_attrs

    run = trials(searched)[0]
    found = stored_diagnosis(searched, run.id).model_copy(update={"state": "learning"})
    study = optuna_study()
    renew_notes(study._storage, read_again(searched), [(run, found)])
    attrs = study._storage.get_study_system_attrs(study._study_id)
    trial = study.get_trials()[run.trial]
    assert get_note_from_system_attrs(attrs, trial._trial_id)["body"].startswith("**learning**")


def read_again(store):
    return StudySpec.model_validate(load_study(store, "tiny").spec)


@pytest.fixture
def dataset_of(searched):
    return load_dataset(read_again(searched).data)


@pytest.fixture
def artifacts(searched):
    return artifact_store(searched)


@pytest.fixture
def served(searched):
    application = dashboard._application(searched.full_url)
    server = make_server("127.0.0.1", 0, application)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def ask(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.headers, answer.read()


def test_the_dashboard_shows_note_columns_and_figures(served, searched):
    studies = json.loads(ask(f"{served}/api/studies")[1])["study_summaries"]
    (study,) = [s["study_id"] for s in studies if s["study_name"] == "tiny"]
    detail = json.loads(ask(f"{served}/api/studies/{study}?after=0")[1])
    assert {STATE, CAUSE} <= {attr["key"] for attr in detail["union_user_attrs"]}
    for trial in detail["trials"]:
        (run,) = [run for run in trials(searched) if run.trial == trial["number"]]
        diagnosis = stored_diagnosis(searched, run.id)
        assert trial["note"]["body"].startswith(f"**{diagnosis.state}**")
        pictures = {a["filename"]: a for a in trial["artifacts"]}
        assert {"loss.svg", "gradients.svg", "entropy.svg", "readout.svg"} == set(pictures)
        for picture in pictures.values():
            place = f"{served}/artifacts/{study}/{trial['trial_id']}/{picture['artifact_id']}"
            headers, body = ask(place)
            assert headers["Content-Type"] == "image/svg+xml"
            assert body.lstrip().startswith(b"<svg")
