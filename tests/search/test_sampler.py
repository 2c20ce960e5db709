"""Workers do not repeat each other nor themselves, and parameters are drawn jointly."""

import importlib.util

import optuna
import pytest

from tsdiag.errors import ConfigError
from tsdiag.search.registration import open_queue
from tsdiag.search.sampler import build_sampler
from tsdiag.search.space import resolve, resolve_baseline
from tsdiag.search.storage import open_storage
from tsdiag.store.runs import RunRow, create_run


def draws(seed, worker, there, count=5):
    study = optuna.create_study(sampler=build_sampler("tpe", seed, worker, there))
    return [study.ask().suggest_float("x", 0, 1) for _ in range(count)]


def test_workers_draw_differently():
    assert set(draws(0, 0, 0)).isdisjoint(draws(0, 1, 0))


def test_a_restarted_worker_does_not_repeat_itself():
    assert set(draws(0, 0, 0)).isdisjoint(draws(0, 0, 5))


def test_the_seed_decides():
    assert draws(3, 1, 2) == draws(3, 1, 2)
    assert draws(3, 1, 2) != draws(4, 1, 2)


@pytest.mark.parametrize("name", ["tpe", "random", "qmc", "cmaes", "gp"])
def test_every_sampler_of_a_study_file_is_there_or_says_what_it_needs(name):
    if name == "cmaes" and importlib.util.find_spec("cmaes") is None:
        with pytest.raises(ConfigError, match="install"):
            build_sampler(name, 0, 0, 0)
        return
    study = optuna.create_study(sampler=build_sampler(name, 0, 0, 0))
    drawn = set()
    for _ in range(12):
        trial = study.ask()
        drawn.add(trial.suggest_float("x", 0, 1))
        study.tell(trial, trial.params["x"])
    assert len(drawn) > 8  # the greedy ones settle at the edge


def test_tpe_stays_joint_after_enqueued_trials_and_beside_the_baseline(prepared, store):
    enqueue = '\n[[enqueue]]\n"model.ff_dim" = 999\n"optimizer.lr" = 0.9\n'
    spec, _ = prepared(("final_seeds = 2", "final_seeds = 2" + enqueue), ("[1, 2]", "[1, 4]"))
    storage = open_storage(store)
    baselines = open_queue(store, storage, spec, "baseline", 0)
    trials = open_queue(store, storage, spec, "trial", 0)
    resolve_baseline(spec, baselines.claim(1))
    for number in range(4):
        trial = trials.claim(10)
        resolve(spec, trial)
        row = RunRow("tiny", "trial", "{}", trial=number, state="completed", validation_loss=0.5)
        trials.finish(number, create_run(store, row))
    frozen = trials.study.trials[0]
    assert frozen.params["optimizer.weight_decay"] == 0.01  # the default
    assert "optimizer.lr" not in frozen.params  # out of range
    space = trials.study.sampler._group_decomposed_search_space.calculate(trials.study)
    largest = max(space.search_spaces, key=len)
    assert len(largest) >= 6
    assert {"model.n_heads", "model.dropout", "optimizer.weight_decay"} <= set(largest)
    assert baselines.study.study_name == "tiny/lstm"
