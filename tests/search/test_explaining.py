"""What a search finds out about its trials: before they are told, and where it is shown."""

from __future__ import annotations

import json
import urllib.request
from threading import Thread
from wsgiref.simple_server import make_server

import pytest

from tsdiag.cli import dashboard
from tsdiag.search import worker as worker_module
from tsdiag.search.explaining import OVERFIT_SHARE, refresh
from tsdiag.search.interruption import Interruption
from tsdiag.search.mirror import CAUSE, STATE
from tsdiag.store.curves import load_trace
from tsdiag.store.findings import save_diagnosis, stored_diagnosis, told_of
from tsdiag.store.runs import find_runs, get_run
from tsdiag.store.studies import load_study

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
        assert "160" in run.metrics["unasked_probes"]["overfit"]
        unmeasured = {i.cause: i.why for i in stored_diagnosis(searched, run.id).not_measured}
        assert "overfit" in unmeasured["under-capacity"]


def test_floors_and_runs_have_the_same_blocks(searched):
    floors = load_study(searched, "tiny").floors["floors"]
    lengths = {len(floor["validation_blocks"]) for floor in floors.values() if not floor["reason"]}
    lengths |= {len(run.metrics["validation_blocks"]) for run in trials(searched)}
    assert len(lengths) == 1
    for run in trials(searched):
        blocks = run.metrics["validation_blocks"]
        assert sum(blocks) / len(blocks) == pytest.approx(run.validation_loss, rel=0.05)


def test_the_data_are_audited_once(searched):
    audit = load_study(searched, "tiny").attributes["audit"]
    assert audit["permutation"]["p"] <= 0.05 or audit["reasons"]
    assert audit["columns"]["constant"] == []


def test_a_diagnosis_that_fails_loses_no_trial(prepared, work, store, monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("no ink")

    monkeypatch.setattr(worker_module, "mirror", fail)
    prepared(*STALLED)
    work()
    assert [run.state for run in trials(store)] == ["completed", "completed"]
    assert "was not explained: RuntimeError: no ink" in capsys.readouterr().err


def test_whoever_is_asked_to_stop_measures_no_further(prepared, work, store, monkeypatch):
    prepared(*STALLED)
    interruption = Interruption()
    monkeypatch.setattr(worker_module, "is_over", lambda _: False)
    explain = worker_module.explain_run

    def interrupted(*given):
        *rest, _ = given
        return explain(*rest, lambda: True)

    monkeypatch.setattr(worker_module, "explain_run", interrupted)
    work(interruption=interruption)
    (run, _) = trials(store)
    assert set(run.metrics["unasked_probes"]) == {"readout", "rate_meter", "overfit"}


def test_trials_that_ended_before_the_baseline_are_asked_again(searched):
    run = trials(searched)[0]
    first = stored_diagnosis(searched, run.id)
    early = first.model_copy(update={"state": "learning", "findings": ()})
    save_diagnosis(searched, run, "transformer", early)
    baseline = find_runs(searched, "tiny", role="baseline")[0]
    from tsdiag.store.runs import update_run

    update_run(searched, baseline.id, finished=get_run(searched, trials(searched)[-1].id).finished)
    refresh(searched, "tiny")
    assert stored_diagnosis(searched, run.id) == first


def test_overfitting_may_take_half_of_a_run_at_most():
    assert 0 < OVERFIT_SHARE <= 0.5


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
