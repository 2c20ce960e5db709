"""Which way to compute is chosen: the fastest by far, else the plain one; nothing else moves."""

from __future__ import annotations

import pytest
import torch

from tsdiag.config import ENGINE
from tsdiag.runs import engine
from tsdiag.runs.engine import choose_engine, engine_name

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def supported(monkeypatch):
    """Have a processor with bfloat16, whatever this one is."""
    monkeypatch.setattr(engine, "supports_bfloat16", lambda _: True)


@pytest.fixture
def large(config):
    return config.edits({"training.batch_size": 40, "training.max_steps": 2000})


def clock_of(seconds, log=None):
    """Tell times by name, and write down who was asked."""

    def clock(training):
        part = training.engine.part
        name = training.engine.precision + (f"/{part}" if part < training.feed.batch_size else "")
        if log is not None:
            log.append(name)
        return seconds[name]

    return clock


EVEN = {"float32": 0.5, "bfloat16": 0.5, "float32/16": 0.5, "bfloat16/16": 0.5}


@pytest.mark.parametrize(
    ("times", "chosen"),
    [
        ({}, "float32"),
        ({"bfloat16": 0.2}, "bfloat16"),
        ({"bfloat16": 0.2, "bfloat16/16": 0.1}, "bfloat16/16"),
        ({"float32/16": 0.3}, "float32/16"),
        ({"bfloat16": 0.46}, "float32"),
        ({"bfloat16": 0.45}, "bfloat16"),
        ({"bfloat16": 30.0, "bfloat16/16": 0.9}, "float32"),
    ],
)
def test_the_fastest_is_taken_if_it_is_worth_it(times, chosen, large, dataset):
    seconds = EVEN | times
    choice = choose_engine(large, dataset, CPU, ENGINE, clock_of(seconds))
    assert choice.record["chosen"] == chosen == engine_name(choice.config.training)
    assert choice.record["candidates"] == {name: 1000 * took for name, took in seconds.items()}
    precision, _, part = chosen.partition("/")
    expected = {"training.precision": precision, "training.micro_batch": int(part or 0)}
    assert choice.config == large.edits(expected)


def test_without_bfloat16_it_stays_in_float32(large, dataset, monkeypatch):
    monkeypatch.setattr(engine, "supports_bfloat16", lambda _: False)
    seconds = EVEN | {"bfloat16": 0.1, "bfloat16/16": 0.1}
    choice = choose_engine(large, dataset, CPU, ENGINE, clock_of(seconds))
    assert choice.record["chosen"] == "float32"
    assert set(choice.record["candidates"]) == {"float32", "float32/16"}


@pytest.mark.parametrize("free", [(), ENGINE[:1], ENGINE[1:2]])
def test_what_is_given_is_left_alone(free, large, dataset):
    seconds = EVEN | {"bfloat16/16": 0.1, "bfloat16": 0.2, "float32/16": 0.2}
    choice = choose_engine(large, dataset, CPU, free, clock_of(seconds))
    changed = [path for path in ENGINE if choice.config.get(path) != large.get(path)]
    assert changed == list(free)
    assert (choice.record["candidates"] == {}) == (not free)


def test_a_precision_that_was_given_can_be_cut_in_parts(large, dataset):
    given = large.edit("training.precision", "bfloat16")
    seconds = EVEN | {"bfloat16/16": 0.1}
    choice = choose_engine(given, dataset, CPU, ENGINE[1:], clock_of(seconds))
    assert choice.record["chosen"] == "bfloat16/16"
    assert "float32" not in choice.record["candidates"]


def test_a_cpu_has_no_graphs_and_is_timed_all_the_same(large, dataset):
    given = large.edit("training.cuda_graph", True)
    choice = choose_engine(given, dataset, CPU, ENGINE, clock_of(EVEN | {"bfloat16": 0.1}))
    assert choice.record["chosen"] == "bfloat16"
    assert choice.config == large.edit("training.precision", "bfloat16")


@pytest.mark.parametrize("broken", ["bfloat16", "float32/16"])
def test_a_way_that_fails_is_not_taken_and_ends_nothing(broken, large, dataset):
    clock = clock_of(EVEN | {broken: 0.01})

    def failing(training):
        took = clock(training)
        if took == 0.01:
            raise torch.OutOfMemoryError("not enough")
        return took

    choice = choose_engine(large, dataset, CPU, ENGINE, failing)
    assert choice.record["chosen"] == "float32"
    assert broken not in choice.record["candidates"]


def test_parts_are_no_candidate_for_batch_norm_or_small_batches(lstm_config, config, dataset):
    for chosen in (lstm_config.edit("training.batch_size", 40), config):
        record = choose_engine(chosen, dataset, CPU, ENGINE, clock_of(EVEN)).record
        assert set(record["candidates"]) == {"float32", "bfloat16"}


def test_dear_steps_are_timed_once_and_hopeless_ones_not_again(large, dataset):
    log = []
    choose_engine(large, dataset, CPU, ENGINE, clock_of(dict.fromkeys(EVEN, 2.0), log))
    assert log == ["float32", "bfloat16", "float32/16", "bfloat16/16"]
    log.clear()
    choose_engine(large, dataset, CPU, ENGINE, clock_of(EVEN | {"bfloat16/16": 0.9}, log))
    assert log.count("bfloat16/16") == 1
    assert log.count("bfloat16") > 2


def test_the_longer_the_run_the_more_it_may_cost(large, dataset):
    asked = []
    for steps in (10, 600, 10**6):
        log = []
        config = large.edit("training.max_steps", steps)
        choose_engine(config, dataset, CPU, ENGINE, clock_of(EVEN, log))
        asked.append(len(log))
    assert asked == [5, 9, 17]


def test_nothing_outside_is_disturbed(large, lstm_config, dataset):
    """Real steps, with dropout, of both architectures."""
    for config in (large, lstm_config):
        before = torch.get_rng_state()
        choice = choose_engine(config, dataset, CPU, ENGINE)
        assert torch.equal(torch.get_rng_state(), before)
        assert all(took > 0 for took in choice.record["candidates"].values())


def test_whoever_is_asked_to_stop_makes_no_choice(large, dataset):
    answers = iter([True, True, False])
    log = []
    clock = clock_of(EVEN, log)
    assert choose_engine(large, dataset, CPU, ENGINE, clock, lambda: next(answers)) is None
    assert log == ["float32", "float32", "bfloat16"]


def test_a_run_keeps_what_was_timed(config, execute):
    record = {"candidates": {"float32": 2.5}, "chosen": "float32"}
    assert execute(config, engine=record).row.environment["engine"] == record
    assert "engine" not in execute(config).row.environment


@pytest.mark.parametrize(
    "changes", [{"training.precision": "bfloat16"}, {"training.micro_batch": 5}]
)
def test_a_run_that_was_interrupted_goes_on_as_it_was_computed(changes, config, execute, at):
    chosen = config.edits(changes)
    whole = execute(chosen)
    part = execute(chosen, at(7))
    resumed = execute(chosen, parent=part.row.id)
    assert resumed.row.reason == "all 12 steps"
    assert resumed.row.validation_loss == whole.row.validation_loss
    assert resumed.row.validation_loss != execute(config).row.validation_loss
