"""Transforms, their inverses and directions agree between numpy and torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tsdiag.data.targets import change, moves, restore, still_level

TRANSFORMS = ("none", "difference", "percent_change", "log_return")
LAST = np.array([2.0, 2.0, 2.0, 0.1])
FUTURE = np.array([3.0, 2.0, 1.0, 0.1])


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_restore_undoes_change(transform):
    target = change(FUTURE, LAST, transform)
    np.testing.assert_allclose(restore(target, LAST, transform), FUTURE, rtol=1e-14)


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_directions_are_those_of_the_levels_and_ties_are_exact(transform):
    target = change(FUTURE, LAST, transform)
    assert moves(target, LAST, transform).tolist() == [1, 0, -1, 0]
    still = still_level(transform, LAST)
    assert moves(still, LAST, transform).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_torch_and_numpy_agree(transform):
    future, last = torch.from_numpy(FUTURE), torch.from_numpy(LAST)
    target = change(future, last, transform)
    np.testing.assert_allclose(target, change(FUTURE, LAST, transform), rtol=1e-15)
    np.testing.assert_allclose(restore(target, last, transform), FUTURE, rtol=1e-14)
    assert moves(target, last, transform).tolist() == [1, 0, -1, 0]


def test_units():
    assert change(np.array(110.0), np.array(100.0), "percent_change") == pytest.approx(10)
    assert change(np.array(110.0), np.array(100.0), "log_return") == pytest.approx(0.0953, abs=1e-4)
