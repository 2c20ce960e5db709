"""Which windows a step sees: a function of seed and step alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tsdiag.training.feed import _ORDER_STREAM, Feed


@pytest.fixture
def windows(dataset):
    return lambda count: replace(dataset.train, ends=dataset.train.ends[:count])


def slow_indices(count, batch_size, seed, step):
    """Lay whole epochs end to end, then cut."""
    batch_size = min(batch_size, count)
    order = []
    epoch = 0
    while len(order) < (step + 1) * batch_size:
        order += list(np.random.default_rng([_ORDER_STREAM, seed, epoch]).permutation(count))
        epoch += 1
    return order[step * batch_size : (step + 1) * batch_size]


@pytest.mark.parametrize(("count", "batch_size"), [(10, 4), (7, 7), (5, 64), (9, 1), (3, 2)])
def test_batches_are_cut_from_epochs_laid_end_to_end(windows, count, batch_size):
    feed = Feed(windows(count), batch_size, seed=3)
    for step in [*range(12), 100, 5]:
        assert feed.indices(step).tolist() == slow_indices(count, batch_size, 3, step)


def test_every_window_comes_once_per_epoch(windows):
    feed = Feed(windows(10), batch_size=4, seed=0)
    seen = torch.cat([feed.indices(step) for step in range(10)]).view(4, 10)
    assert seen.sort(dim=1).values.tolist() == [list(range(10))] * 4
    assert len({tuple(epoch.tolist()) for epoch in seen}) == 4


def test_another_seed_is_another_order(windows):
    first, second, again = (Feed(windows(50), 50, seed).indices(0).tolist() for seed in (0, 1, 0))
    assert first != second
    assert first == again


def test_the_batch_is_that_of_its_indices(windows):
    feed = Feed(windows(10), batch_size=4, seed=0)
    inputs, targets = feed.batch(2)
    for row, index in enumerate(feed.indices(2)):
        end = int(feed.windows.ends[index])
        assert torch.equal(inputs[row], feed.windows.inputs[end - 11 : end + 1])
        assert torch.equal(targets[row], feed.windows.targets[end])


def test_the_order_leaves_global_generators_alone(windows):
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    Feed(windows(10), batch_size=4, seed=0).indices(7)
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002
