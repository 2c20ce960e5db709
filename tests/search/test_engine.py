"""How steps are computed is settled before a trial's run begins, and stays with it."""

import time
from contextlib import nullcontext

import pytest
import torch

from tsdiag.config import ENGINE, RunConfig
from tsdiag.errors import ConfigError
from tsdiag.runs import engine
from tsdiag.runs.outbox import TakenOver
from tsdiag.search import worker
from tsdiag.search.queue import LEASE
from tsdiag.search.space import open_engine
from tsdiag.search.spec import StudySpec, read_spec
from tsdiag.search.watch import _RENEW_EVERY, Watch
from tsdiag.store.runs import find_runs
from tsdiag.training.observer import Moment

ALL = set(ENGINE)


@pytest.fixture
def fast(monkeypatch):
    """Have a processor on which bfloat16 is fastest, and count who asked."""
    asked = []

    def clock(training):
        asked.append(training.engine.precision)
        return {"bfloat16": 0.1, "float32": 0.2}[training.engine.precision]

    chosen = engine.choose_engine
    monkeypatch.setattr(engine, "supports_bfloat16", lambda _: True)
    monkeypatch.setattr(
        worker, "choose_engine", lambda *given, **rest: chosen(*given, clock=clock, **rest)
    )
    return asked


def precisions(store, role):
    rows = find_runs(store, "tiny", role=role)
    return {RunConfig.from_json(row.config).training.precision for row in rows}


@pytest.mark.parametrize(
    ("training", "paths"),
    [
        ({}, ALL),
        ({"precision": "auto"}, ALL),
        ({"micro_batch": 8}, ALL - {"training.micro_batch"}),
        ({"precision": "float32"}, set()),
        ({"precision": "bfloat16", "micro_batch": 8}, set()),
    ],
)
def test_what_the_study_gives_is_not_chosen(training, paths):
    spec = StudySpec.model_validate({"training": training})
    assert open_engine(spec, None) == paths
    plain = spec.training.plain
    assert plain.precision == training.get("precision", "auto").replace("auto", "float32")
    assert plain.micro_batch == training.get("micro_batch", 0)


def test_what_space_and_queue_give_is_not_chosen():
    spec = StudySpec.model_validate({"space": {"training.micro_batch": [0, 8]}})
    assert open_engine(spec, None) == ALL - {"training.micro_batch"}
    assert open_engine(spec, {"training.precision": "bfloat16"}) == set()


def test_every_run_holds_what_was_chosen_for_it(prepared, store, work, fast):
    prepared(("trials = 3", "trials = 2"))
    work()
    for role in ("baseline", "trial", "final"):
        assert precisions(store, role) == {"bfloat16"}
    for row in find_runs(store, "tiny", role="trial"):
        assert row.environment["engine"]["chosen"] == "bfloat16"
        assert row.environment["engine"]["candidates"]["float32"] == 200
        # Its scores are those of the weights in the precision that it was trained in.
        mse = row.metrics["validation"]["mse"]
        assert mse == pytest.approx(row.validation_loss, rel=1e-5)


def test_a_given_precision_is_not_timed(prepared, store, work, fast):
    prepared(("trials = 3", "trials = 1"), ("batch_size", 'precision = "float32"\nbatch_size'))
    work()
    assert fast == []
    assert precisions(store, "trial") == {"float32"}


def test_a_trial_that_goes_on_computes_as_before(prepared, store, work, monkeypatch, fast):
    prepared(("trials = 3", "trials = 1"))
    stop = Stop(store)
    work(interruption=stop)
    (part,) = find_runs(store, "tiny", role="trial")
    assert part.state == "interrupted"
    # Another machine, without bfloat16, takes it on.
    monkeypatch.setattr(engine, "supports_bfloat16", lambda _: False)
    fast.clear()
    work()
    last = find_runs(store, "tiny", role="trial")[-1]
    assert (last.parent, last.reason) == (part.id, "all 10 steps")
    assert last.config == part.config
    assert last.environment["engine"] == part.environment["engine"]
    assert fast == []


class Stop:
    """Somebody who asks a worker to stop as soon as a transformer has begun."""

    def __init__(self, store):
        self.store = store

    def __bool__(self):
        return bool(find_runs(self.store, "tiny", role="trial"))


def test_a_worker_that_is_stopped_while_it_times_queues_its_trial_again(
    prepared, store, work, monkeypatch, optuna_study
):
    prepared(("trials = 3", "trials = 1"))
    monkeypatch.setattr(worker, "choose_engine", lambda *_, **__: None)
    stop = After(3)
    work(interruption=stop)
    assert find_runs(store, "tiny") == []
    states = [trial.state.name for trial in optuna_study("tiny/lstm").trials]
    assert states[-1] == "WAITING"
    assert set(states[:-1]) == {"FAIL"}


class After:
    """Somebody who asks a worker to stop when it looks for the so-manieth time."""

    def __init__(self, times):
        self.times = times

    def __bool__(self):
        self.times -= 1
        return self.times < 0


def test_another_way_to_compute_is_no_other_study(prepared, store):
    prepared()
    prepared(("batch_size", 'precision = "float32"\nmicro_batch = 8\nbatch_size'))


def test_only_a_study_knows_auto(write_study):
    with pytest.raises(ConfigError, match="precision"):
        RunConfig().edit("training.precision", "auto")
    with pytest.raises(
        ConfigError, match=r"training\.precision: Input should be 'auto', 'float32'"
    ):
        read_spec(write_study(("batch_size", 'precision = "half"\nbatch_size')))
    with pytest.raises(ConfigError, match=r"training\.micro_batch: true is no value for it"):
        read_spec(write_study(("batch_size", "micro_batch = true\nbatch_size")))


def test_the_dry_run_costs_what_a_worker_would_choose(prepared, monkeypatch):
    from tsdiag.search import estimate

    spec, _ = prepared()
    seen = []
    real = estimate.choose_engine

    def choose(config, dataset, device, free):
        seen.append(set(free))
        return real(config, dataset, device, free)

    monkeypatch.setattr(estimate, "choose_engine", choose)
    assert "whole run" in estimate.dry_run_text(spec, 1, "cpu")
    assert seen == [ALL] * 7  # the baseline and six draws


def test_the_dry_run_lists_what_is_tried_first(prepared):
    from tsdiag.search import estimate

    named = '[[enqueue]]\n"model.n_heads" = 2\n[search]'
    spec, _ = prepared(("[search]", named), ("trials = 3", "trials = 6"))
    told = estimate.dry_run_text(spec, 1, "cpu")
    assert told.index("enqueued 0") < told.index("preset default") < told.index("about ")
    assert "preset inverted" not in told  # the space has patches alone


class Queue:
    """A queue that counts renewals and at some time says that the trial was taken."""

    def __init__(self, times=99):
        self.times = times

    def keep(self, number):
        self.times -= 1
        return self.times >= 0


class Trial:
    number = 0
    user_attrs = {"tsdiag:max_steps": 10}  # noqa: RUF012

    def report(self, value, step):
        raise AssertionError("nothing was evaluated")


def watching(queue, **more):
    return Watch(Trial(), queue, False, more.pop("deadline", float("inf")), **more)


def within(step):
    return Moment(torch.nn.Linear(1, 1), None, step=step, evaluated_step=0, evaluating=True)


def test_leases_are_renewed_within_an_evaluation(monkeypatch):
    queue = Queue(2)
    watch = watching(queue)
    now = time.monotonic()
    for late in range(3):
        monkeypatch.setattr(time, "monotonic", lambda late=late: now + late * (_RENEW_EVERY + 1))
        with pytest.raises(TakenOver) if late == 2 else nullcontext():
            assert watch(within(5)) is None
    assert watch.lost
    assert 5 * _RENEW_EVERY < LEASE


def test_budgets_are_kept_within_an_evaluation():
    assert watching(Queue(), deadline=0.0)(within(5)) == "interrupted"
    assert watching(Queue(), limit=0.0)(within(5)) == "timed_out"
    # All steps are done: their evaluation is not thrown away for the trial's own time.
    assert watching(Queue(), limit=0.0)(within(10)) is None
    assert watching(Queue(), deadline=0.0)(within(10)) == "interrupted"


def test_what_cannot_be_cut_in_parts_is_told_before_anything_is_trained(prepared):
    parts = ("batch_size", "micro_batch = 2\nbatch_size")
    with pytest.raises(ConfigError, match="statistics are of the whole batch"):
        prepared(parts, ("[search]", '[baseline]\npreset = "founding"\n[search]'))


def test_the_dry_run_times_steps_and_no_evaluations(prepared, monkeypatch):
    """By a clock that goes on by 1 s a training step and by 100 s a batch of an evaluation."""
    from tsdiag.search import estimate
    from tsdiag.training import evaluation, loop

    now = 0.0

    def advance(by, work):
        def slow(*given, **named):
            nonlocal now
            now += by
            return work(*given, **named)

        return slow

    spec, dataset = prepared()
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: now)
    monkeypatch.setattr(loop.Training, "_step", advance(1.0, loop.Training._step))
    for user in (loop, estimate):
        monkeypatch.setattr(user, "evaluate", advance(100.0, evaluation.evaluate))
    config = estimate.default_config(spec)
    cost = estimate.measure_cost("", config, dataset, torch.device("cpu"))
    steps, every = config.training.max_steps, config.training.evaluate_every
    assert cost.step_seconds == 1.0
    assert cost.seconds == steps + 100.0 * (steps // every + 1)
