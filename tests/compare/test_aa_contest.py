"""Real LSTMs against the same LSTM, the short form of benchmarks/aa_contest.py."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "aa_contest.py"


@pytest.fixture(scope="module")
def contest():
    specification = importlib.util.spec_from_file_location("aa_contest", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pool(contest):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    config = contest.base_config(rows=1800, context_length=24, steps=30)
    tiny = ("model.conv_channels", "model.lstm_units", "model.dense_units")
    config = config.edits({**dict.fromkeys(tiny, 8), "training.batch_size": 32})
    losses = contest.train_pool(config, 20)
    torch.set_num_threads(threads)
    return losses


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("seeds", [3, 5])
def test_200_contests_of_equal_lstms_say_beats_in_at_most_5_percent(contest, pool, seeds):
    assert pool.mean(axis=1).std() > 0  # seeds do matter, or there were nothing to test
    judged = contest.contests(pool, 200, seeds, np.random.default_rng(0))
    assert Counter(found.outcome for found in judged)["beats"] <= 10


def test_a_better_pool_of_lstms_beats(contest, pool):
    rng = np.random.default_rng(1)
    better = pool * 0.5  # the same runs with half the error
    outcomes = Counter()
    for _ in range(50):
        drawn = rng.permutation(len(pool))
        ours, theirs = better[drawn[:5]], pool[drawn[5:10]]
        outcomes[contest.judge(contest.side("A", ours), contest.side("B", theirs)).outcome] += 1
    assert outcomes["beats"] >= 40
