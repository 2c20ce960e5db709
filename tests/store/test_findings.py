"""Diagnoses are kept beside the runs, on every database."""

from __future__ import annotations

from tsdiag.diagnostics.findings import Diagnosis, Evidence, Finding, RunScores
from tsdiag.store.findings import (
    healthy_runs,
    save_diagnosis,
    stored_diagnosis,
    told_of,
)
from tsdiag.store.runs import RunRow, create_run, get_run


def diagnosis(state="stalled", cause="order-blind"):
    evidence = Evidence(signal="time_shuffle_effect", observed=float("1e-7"), unit="relative")
    finding = Finding(cause=cause, score=0.9, summary="blind, «ö» <b>", evidence=(evidence,))
    return Diagnosis(
        study="wind",
        trial=3,
        state=state,
        state_reason="below 50 %",
        scores=RunScores(validation_loss=0.9),
        findings=(finding,) if state == "stalled" else (),
    )


def run(store, loss, **columns):
    words = {"state": "completed", "validation_loss": loss, "trial": 3, **columns}
    return create_run(store, RunRow("wind", "trial", "{}", **words))


def test_what_is_saved_comes_back_whole(store):
    row = run(store, 0.9)
    assert stored_diagnosis(store, row.id) is None
    save_diagnosis(store, row, "transformer", diagnosis())
    assert stored_diagnosis(store, row.id) == diagnosis()
    (told,) = told_of(store, "wind").values()
    assert (told.run, told.state, told.cause) == (row.id, "stalled", "order-blind")
    assert told.written >= row.started
    assert told_of(store, "other") == {}


def test_the_newest_diagnosis_of_a_run_counts(store):
    row = run(store, 0.9)
    save_diagnosis(store, row, "transformer", diagnosis())
    save_diagnosis(store, row, "transformer", diagnosis("learning"))
    (told,) = told_of(store, "wind").values()
    assert (told.state, told.cause) == ("learning", None)


def test_two_processes_that_diagnose_the_same_runs_do_not_trip_over_each_other(store, url, start):
    runs = [run(store, 0.9).id for _ in range(20)]
    processes = [start("diagnose", url, ",".join(runs), name) for name in ("one", "two")]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.stdout.readline() for process in processes] == ["diagnosed\n"] * 2
    assert {stored_diagnosis(store, id).state_reason for id in runs} <= {"one", "two"}


def test_healthy_siblings_are_the_best_of_one_kind(store):
    losses = {run(store, loss).id: loss for loss in (0.5, 0.3, 0.4, 0.2)}
    rows = {id: get_run(store, id) for id in losses}
    for id, row in rows.items():
        kind = "lstm" if losses[id] == 0.2 else "transformer"
        save_diagnosis(store, row, kind, diagnosis("learning"))
    ill = run(store, 0.1)
    save_diagnosis(store, ill, "transformer", diagnosis())
    found = healthy_runs(store, "wind", "transformer", 2, but=ill.id)
    assert [losses[id] for id in found] == [0.3, 0.4]
    but_the_best = healthy_runs(store, "wind", "transformer", 2, but=found[0])
    assert [losses[id] for id in but_the_best] == [0.4, 0.5]
