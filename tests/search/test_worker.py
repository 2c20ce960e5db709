"""What a worker does with trials that fail, do not fit, or take too long."""

import json
import math
import time
from dataclasses import replace

import pytest
import torch
from optuna.trial import TrialState

from tsdiag.errors import TsdiagError
from tsdiag.search import budget, limits, worker
from tsdiag.search.registration import open_queue
from tsdiag.search.storage import open_storage
from tsdiag.search.watch import Watch
from tsdiag.store.patience import Patience
from tsdiag.store.runs import best_runs, find_runs
from tsdiag.store.studies import load_study
from tsdiag.training.observer import Moment
from tsdiag.uptime import uptime


def trial_rows(store):
    return find_runs(store, "tiny", role="trial")


def breaking(monkeypatch, error, breaks):
    """Make training raise in the trials whose order number is in ``breaks``."""
    began = iter(range(1000))
    carry_out = worker.Execution.carry_out

    def failing(execution, *arguments, **options):
        if execution.request.role == "trial" and next(began) in breaks:
            raise error
        return carry_out(execution, *arguments, **options)

    monkeypatch.setattr(worker.Execution, "carry_out", failing)


def test_an_exception_fails_one_trial_and_the_search_goes_on(
    prepared, store, work, optuna_study, monkeypatch, capsys
):
    prepared()
    breaking(monkeypatch, RuntimeError("the disk is full"), {1})
    work()
    states = [trial.state for trial in optuna_study().trials]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]
    failed = trial_rows(store)[1]
    assert failed.state == "failed"
    assert failed.reason == "RuntimeError: the disk is full"
    assert "trial 1 failed: RuntimeError: the disk is full" in capsys.readouterr().err


def test_what_became_of_each_run_is_shown_as_it_ends(prepared, store, work):
    prepared()
    shown = []
    work(show=shown.append)
    told = [(row.role, row.trial, row.state) for row in shown]
    assert told[:4] == [
        ("baseline", 0, "completed"),
        *(("trial", number, "completed") for number in range(3)),
    ]
    finals = find_runs(store, "tiny", role="final")
    assert {row.id for row in shown if row.role == "final"} == {row.id for row in finals} != set()


def test_an_exception_inside_training_is_stored_too(prepared, store, work, monkeypatch):
    prepared(("trials = 3", "trials = 1"))
    monkeypatch.setattr(worker.Watch, "__call__", lambda watch, _: 1 / (not watch.prune) and None)
    work()
    (row,) = trial_rows(store)
    assert (row.state, row.reason) == ("failed", "ZeroDivisionError: division by zero")


def test_five_failures_in_a_row_end_the_worker(prepared, store, work, optuna_study, monkeypatch):
    prepared(("trials = 3", "trials = 9"))
    breaking(monkeypatch, RuntimeError("a defect"), set(range(1, 9)))
    with pytest.raises(TsdiagError, match=r"5 trials in a row .*: a defect; .* again"):
        work()
    states = [trial.state for trial in optuna_study().trials]
    assert states == [TrialState.COMPLETE] + [TrialState.FAIL] * 5


def test_a_configuration_that_cannot_be_built_fails_alone(prepared, store, work, optuna_study):
    prepared(
        ('"model.patch_length" = 8', '"model.patch_length" = [8, 33]'),
        ("trials = 3", 'trials = 4\nsampler = "random"\nseed = 3'),
    )
    work()
    rows = trial_rows(store)
    impossible = ['"patch_length": 33' in row.config for row in rows]
    assert set(impossible) == {True, False}
    assert [row.state == "failed" for row in rows] == impossible
    assert all("patch_length = 33" in row.reason for row in rows if row.state == "failed")


def test_an_oversized_configuration_is_infeasible_and_says_by_how_much(
    prepared, store, work, optuna_study, monkeypatch
):
    space = ('"model.ff_dim" = 16', '"model.ff_dim" = [16, 1000, 100000]')
    prepared(
        space,
        ("trials = 3", 'trials = 12\nsampler = "random"'),
        ("max_steps = 10", "max_steps = 1"),
    )
    monkeypatch.setattr(limits, "available_bytes", lambda *_: 5_000_000)
    work()
    missed = {}
    for row in trial_rows(store):
        trial = optuna_study().trials[row.trial]
        if row.state == "infeasible":
            assert "GiB" in row.reason
            assert trial.state == TrialState.PRUNED
            missed.setdefault(trial.params["model.ff_dim"], set()).add(
                round(trial.constraints["memory"], 1)
            )
            assert trial.constraints["memory"] > 0
        else:
            assert trial.params["model.ff_dim"] == 16 or not trial.constraints
    assert max(missed[100000]) > 2  # log2 of how many times too much


@pytest.mark.parametrize("error", [MemoryError("out"), torch.OutOfMemoryError("out")])
def test_running_out_of_memory_is_infeasible(
    prepared, store, work, optuna_study, monkeypatch, error
):
    prepared()
    breaking(monkeypatch, error, {0, 1, 2})
    work()
    assert [row.state for row in trial_rows(store)] == ["infeasible"] * 3
    assert {trial.state for trial in optuna_study().trials} == {TrialState.PRUNED}
    assert optuna_study().trials[0].constraints == {"memory": 0.1}


def test_a_diverging_trial_is_told_as_such(prepared, store, work, optuna_study):
    diverging = '"optimizer.lr" = 1e30\n"optimizer.clip_norm" = 0\n"optimizer.name" = "sgd"'
    prepared(('"model.n_layers" = 1', '"model.n_layers" = 1\n' + diverging))
    work()
    assert {row.state for row in trial_rows(store)} == {"diverged"}
    for trial in optuna_study().trials:
        assert trial.state == TrialState.PRUNED
        assert trial.constraints == {"diverged": 1.0}
        assert trial.value == 100


def test_a_trial_has_its_own_time(prepared, store, work, optuna_study):
    long = '"model.n_layers" = 1\n"training.max_steps" = 1000000'
    prepared(('"model.n_layers" = 1', long), ("trials = 3", 'trials = 2\ntrial_timeout = "1s"'))
    began = time.monotonic()
    work()
    assert time.monotonic() - began < 20
    for row in trial_rows(store):
        assert row.state == "timed_out"
        assert 0 < row.step < 1000000
        assert row.validation_loss is not None
        assert row.weights is not None
        assert optuna_study().trials[row.trial].state == TrialState.PRUNED


def test_the_budget_is_kept_inside_a_trial(prepared, store, work):
    long = '"model.n_layers" = 1\n"training.max_steps" = 1000000'
    prepared(('"model.n_layers" = 1', long))
    deadline = uptime() + 15
    work(deadline=deadline)
    assert uptime() < deadline + 3
    rows = trial_rows(store)
    # Out of the search's time, not of its own: the next search resumes it.
    assert rows[-1].state == "interrupted"
    assert best_runs(store, "tiny", "baseline", 1)
    # Nothing went its whole way, so nothing goes to final runs.
    assert find_runs(store, "tiny", role="final") == []


@pytest.mark.parametrize(
    ("deadline", "limit", "state"),
    [(0.0, math.inf, "interrupted"), (math.inf, 0.0, "timed_out"), (math.inf, math.inf, None)],
)
def test_out_of_the_searchs_time_is_resumed_and_out_of_its_own_is_an_end(deadline, limit, state):
    class Queue:
        def keep(self, number):
            return True

    class Trial:
        number = 0

    watch = Watch(Trial(), Queue(), False, deadline, limit)
    assert watch(Moment(None, None, step=3)) == state


def test_after_the_deadline_no_final_run_begins(prepared, store, work):
    prepared(("trials = 3", "trials = 1"))
    work(deadline=uptime() - 1)
    assert find_runs(store, "tiny", role="final") == []


def test_out_of_time_nobody_waits_for_a_trial_elsewhere(prepared, store, work):
    spec, _ = prepared()
    work(deadline=uptime() - 1)  # the floors
    assert open_queue(store, open_storage(store), spec, "trial", 1).claim(3)
    began = uptime()
    work(deadline=uptime() - 1)
    assert uptime() - began < 10


def test_who_comes_late_begins_no_trial_in_the_time_of_the_final_runs(
    prepared, store, work, monkeypatch
):
    prepared(("trials = 3", 'trials = 3\ntimeout = "100s"'))
    monkeypatch.setattr(budget, "final_seconds", lambda *_: 40.0)
    work(deadline=uptime() + 50)
    assert trial_rows(store) == []
    assert best_runs(store, "tiny", "baseline", 1)


def test_a_study_may_have_any_name(prepared, store, work):
    name = 'it\'s 50 % "mine" (2)'
    prepared(('name = "tiny"', f"name = {json.dumps(name)}"), ("trials = 3", "trials = 1"))
    work(name)
    assert {row.state for row in find_runs(store, name)} == {"completed"}
    assert len(find_runs(store, name, role="final")) == 4


def test_two_workers_have_one_thread_each_and_other_places(store, monkeypatch):
    from tsdiag.search import crew

    started = []

    class Fake:
        def __init__(self, arguments, env, **_):
            started.append((arguments, env))

        def poll(self):
            return 0

    monkeypatch.setattr(crew.subprocess, "Popen", Fake)
    places = [worker.Place(index, 2, device="cpu") for index in range(2)]
    with crew.Crew(store, "tiny", places) as both:
        assert not both.is_working()
    assert [env["OMP_NUM_THREADS"] for _, env in started] == ["1", "1"]
    assert [arguments[arguments.index("--index") + 1] for arguments, _ in started] == ["0", "1"]


@pytest.mark.parametrize("patience", ["0s", "90.5s", "10m", "14d", "5000d"])
def test_workers_get_the_patience_that_was_asked_for(store, monkeypatch, patience):
    from tsdiag.cli.opening import seconds_of
    from tsdiag.search import crew

    started = []
    monkeypatch.setattr(crew.subprocess, "Popen", lambda arguments, **_: started.append(arguments))
    patient = replace(store, patience=Patience(seconds_of(patience)))
    crew.Crew(patient, "tiny", [])._hire(worker.Place(0, 1)).stderr.close()
    (arguments,) = started
    told = arguments[arguments.index("--patience") + 1]
    assert seconds_of(told) == seconds_of(patience)


def test_a_finished_study_is_left_alone(prepared, store, work):
    prepared()
    work()
    before = find_runs(store, "tiny")
    work()
    assert find_runs(store, "tiny") == before
    assert load_study(store, "tiny").floors is not None
