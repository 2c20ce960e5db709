"""No trial is lost and none is done twice, at whichever moment a worker dies."""

import multiprocessing
import os
import subprocess
import sys

import pytest
from optuna.trial import TrialState

from tsdiag.search.conduct import prepare
from tsdiag.search.queue import LEASE, PARENT_RUN, RESUMES
from tsdiag.search.registration import open_queue
from tsdiag.search.storage import open_storage
from tsdiag.store.leases import claim, leases, release
from tsdiag.store.owners import owner
from tsdiag.store.runs import RunRow, create_run, find_runs, update_run


@pytest.fixture
def queue(prepared, store):
    spec, _ = prepared()
    return open_queue(store, open_storage(store), spec, "trial", 0)


def dead_owner():
    """Return the owner name of a process that is no more."""
    code = "from tsdiag.store.owners import owner; print(owner())"
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return told.stdout.strip()


def bury(store, queue, number):
    """Make it so that the worker of a trial has died."""
    key = f"{queue.study.study_name}/trial/{number}"
    release(store, key, owner())
    claim(store, key, dead_owner(), LEASE)


def run_of(store, number, state="running", **columns):
    row = RunRow(study="tiny", role="trial", trial=number, config="{}", max_steps=10, **columns)
    row = create_run(store, row)
    if state != "running":
        update_run(store, row.id, state=state)
    return row


def asked(queue, n_heads=2):
    trial = queue.claim(3)
    trial.suggest_categorical("model.n_heads", [1, 2])
    trial.suggest_float("optimizer.lr", 1e-4, 1e-2, log=True)
    return trial


def states(queue):
    return [trial.state.name for trial in queue.study.get_trials(deepcopy=False)]


def test_what_was_cut_short_goes_on_before_what_was_never_begun(queue):
    queue.enqueue([({"optimizer.lr": lr}, {"optimizer.lr": lr}) for lr in (1e-3, 2e-3, 3e-3)])
    first = queue.claim(3)
    queue.hand_back(first.number)
    second = queue.claim(3)
    assert second.user_attrs[RESUMES] == first.number
    assert second.suggest_float("optimizer.lr", 1e-4, 1e-2, log=True) == 1e-3
    assert RESUMES not in queue.claim(3).user_attrs


def test_a_live_trial_is_left_alone(queue):
    trial = asked(queue)
    assert queue.running() == 1
    assert queue.claim(1) is None
    assert states(queue) == ["RUNNING"]
    assert queue.keep(trial.number)


def test_dead_between_ask_and_lease(queue):
    queue.study.ask()
    successor = queue.claim(1)
    assert states(queue) == ["FAIL", "RUNNING"]
    assert successor.user_attrs[RESUMES] == 0


def test_dead_before_its_run_began_keeps_the_parameters(queue, store):
    trial = asked(queue)
    bury(store, queue, trial.number)
    successor = queue.claim(1)
    frozen = queue.study.trials[successor.number]
    assert frozen.system_attrs["fixed_params"] == trial.params


def test_dead_in_the_middle_is_resumed_from_its_run(queue, store):
    trial = asked(queue)
    run = run_of(store, trial.number, step=5)
    bury(store, queue, trial.number)
    successor = queue.claim(1)
    assert successor.user_attrs["tsdiag:parent_run"] == run.id
    (row,) = find_runs(store, "tiny", trial=trial.number)
    assert (row.state, row.reason) == ("interrupted", "its worker died")


@pytest.mark.parametrize(
    ("state", "told"),
    [("completed", "COMPLETE"), ("pruned", "PRUNED"), ("timed_out", "PRUNED"), ("failed", "FAIL")],
)
def test_dead_between_the_end_of_the_run_and_tell(queue, store, state, told):
    trial = asked(queue)
    trial.report(0.7, 5)
    run_of(store, trial.number, state, validation_loss=0.5)
    bury(store, queue, trial.number)
    assert queue.claim(1) is None
    assert states(queue) == [told]
    assert queue.finished() == 1


def test_a_successor_that_died_before_its_run_began_passes_the_lineage_on(queue, store):
    trial = asked(queue)
    row = run_of(store, trial.number)
    bury(store, queue, trial.number)
    successor = asked(queue)
    assert successor.user_attrs[PARENT_RUN] == row.id
    bury(store, queue, successor.number)
    third = asked(queue)
    assert third.user_attrs[PARENT_RUN] == row.id


def test_dead_while_drawing_what_it_inherited_keeps_the_rest(queue, store):
    trial = asked(queue)
    bury(store, queue, trial.number)
    successor = queue.claim(3)
    successor.suggest_categorical("model.n_heads", [1, 2])
    bury(store, queue, successor.number)
    assert asked(queue).params == trial.params


def test_dead_between_requeue_and_tell(queue, store):
    trial = asked(queue)
    run_of(store, trial.number, "interrupted")
    bury(store, queue, trial.number)
    lineage = {RESUMES: trial.number}
    queue.study.enqueue_trial(trial.params, user_attrs=lineage)
    successor = queue.claim(1)
    assert successor.number == 1
    assert states(queue) == ["FAIL", "RUNNING"]


def test_dead_between_tell_and_release(queue, store):
    trial = asked(queue)
    row = run_of(store, trial.number, "completed", validation_loss=0.5)
    queue.study.tell(trial.number, 0.5)
    bury(store, queue, trial.number)
    assert queue.claim(1) is None
    queue.finish(trial.number, row)
    assert states(queue) == ["COMPLETE"]


def test_a_worker_that_was_taken_for_dead_does_not_count_twice(queue, store):
    trial = asked(queue)
    row = run_of(store, trial.number)
    bury(store, queue, trial.number)
    successor = queue.claim(1)
    # It was only slow, and comes back with a result.
    update_run(store, row.id, state="completed", validation_loss=0.1)
    queue.finish(trial.number, row)
    assert not queue.keep(trial.number)
    assert [run.state for run in find_runs(store, "tiny", trial=0)] == ["interrupted"]
    queue.finish(successor.number, run_of(store, successor.number, "completed"))
    assert queue.finished() == 1


def test_a_trial_handed_back_runs_before_new_ones(queue):
    trial = asked(queue)
    queue.hand_back(trial.number)
    assert states(queue) == ["FAIL", "WAITING"]
    assert queue.finished() == 0
    again = queue.claim(3)
    assert again.suggest_categorical("model.n_heads", [1, 2]) == trial.params["model.n_heads"]


def test_a_trial_that_kills_its_workers_fails_in_the_end(queue, store):
    for _ in range(5):
        trial = queue.claim(1)
        run_of(store, trial.number, step=3)
        bury(store, queue, trial.number)
    assert queue.claim(1) is None
    assert states(queue) == ["FAIL"] * 5
    last = find_runs(store, "tiny")[-1]
    assert last.state == "failed"
    assert "died 5 times at step 3" in last.reason


def test_a_trial_that_gets_further_between_deaths_lives_on(queue, store):
    for step in range(7):
        trial = queue.claim(1)
        run_of(store, trial.number, step=step)
        bury(store, queue, trial.number)
    assert queue.claim(1) is not None


def _reap(url, barrier):
    from tsdiag.search.spec import StudySpec
    from tsdiag.store.database import open_store
    from tsdiag.store.studies import load_study

    store = open_store(url)
    spec = StudySpec.model_validate(load_study(store, "tiny").spec)
    queue = open_queue(store, open_storage(store), spec, "trial", os.getpid())
    barrier.wait(30)
    queue.running()


def test_two_processes_that_reap_at_once_queue_one_successor(queue, store):
    trials = [asked(queue) for _ in range(2)]
    run_of(store, trials[1].number, "completed", validation_loss=0.5)
    for trial in trials:
        bury(store, queue, trial.number)
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    reapers = [context.Process(target=_reap, args=(store.full_url, barrier)) for _ in range(2)]
    for reaper in reapers:
        reaper.start()
    for reaper in reapers:
        reaper.join(60)
        assert reaper.exitcode == 0
    assert states(queue) == ["FAIL", "COMPLETE", "WAITING"]
    assert [lease for lease in leases(store, "tiny/ask") if lease.live] == []


def test_configurations_are_queued_once(queue):
    queue.enqueue([({"model.n_heads": 1}, {"model.n_heads": 1})] * 2)
    queue.enqueue([({"model.n_heads": 1}, {"model.n_heads": 1})])
    assert states(queue) == [TrialState.WAITING.name]


OPEN = ('"model.embedding" = "patch"\n', "")


def test_presets_wait_once_behind_what_the_study_file_names(prepared, store):
    named = ("[search]", '[[enqueue]]\n"model.n_heads" = 2\n[search]')
    spec, _ = prepared(named, OPEN, ("trials = 3", "trials = 11"))
    prepare(store, spec)  # a second machine comes
    trials = open_queue(store, open_storage(store), spec, "trial", 0).study.trials
    assert [trial.user_attrs for trial in trials] == [
        {"tsdiag:enqueued": {"model.n_heads": 2}},
        {"tsdiag:preset": "default"},
        {"tsdiag:preset": "inverted"},
    ]
    assert trials[2].system_attrs["fixed_params"]["model.embedding"] == "inverted"


def test_presets_are_as_many_as_the_trials_that_are_left_hold(prepared, store):
    """More would wait in the dashboard for good; a study that goes on for longer gets them yet."""
    queue = open_queue(store, open_storage(store), prepared(OPEN)[0], "trial", 0)
    trial = asked(queue)
    run_of(store, trial.number, "completed", validation_loss=0.5)
    queue.finish(trial.number, queue.run(trial.number))
    assert states(queue) == ["COMPLETE"]
    for trials, waiting in ((5, 0), (6, 1), (7, 1), (11, 1), (12, 2), (50, 2)):
        prepared(OPEN, ("trials = 3", f"trials = {trials}"))
        assert states(queue)[1:] == ["WAITING"] * waiting
    queue.hand_back(queue.claim(12).number)
    prepared(OPEN, ("trials = 3", "trials = 50"))
    presets = [trial.user_attrs.get("tsdiag:preset") for trial in queue.study.trials]
    assert presets == [None, "default", "inverted", "default"]


def test_a_failed_baseline_is_tried_again(prepared, store):
    spec, _ = prepared()
    baselines = open_queue(store, open_storage(store), spec, "baseline", 0)
    trial = baselines.claim(1)
    row = create_run(store, RunRow("tiny", "baseline", "{}", trial=0, state="failed"))
    baselines.finish(trial.number, row)
    assert baselines.claim(1) is not None


def test_a_late_but_living_worker_is_told_that_its_trial_was_taken(queue, store):
    trial = asked(queue)
    row = run_of(store, trial.number)
    # Time passes: the lease runs out, while its holder, this process, is alive and well.
    claim(store, f"{queue.study.study_name}/trial/{trial.number}", owner(), -1)
    successor = queue.claim(3)
    assert successor.user_attrs[RESUMES] == trial.number
    assert not queue.keep(trial.number)
    queue.finish(trial.number, row)
    assert states(queue)[0] == "FAIL"
    assert find_runs(store, "tiny", trial=trial.number)[0].state == "interrupted"


def test_a_run_that_its_worker_gave_up_is_no_death(queue, store):
    for _ in range(7):
        trial = queue.claim(1)
        run_of(store, trial.number, "interrupted", step=3)
        bury(store, queue, trial.number)
    assert queue.claim(1) is not None


def test_who_must_end_now_waits_for_no_lock(queue, store):
    trial = asked(queue)
    row = run_of(store, trial.number)
    assert claim(store, "tiny/ask", "elsewhere:boot:1:1", 60.0)
    queue.abandon(trial.number)
    assert [lease.key for lease in leases(store)] == ["tiny/ask"]
    assert find_runs(store, "tiny", role="trial")[0].state == "interrupted"
    release(store, "tiny/ask", "elsewhere:boot:1:1")
    successor = asked(queue)
    assert successor.user_attrs[RESUMES] == trial.number
    assert successor.user_attrs[PARENT_RUN] == row.id
