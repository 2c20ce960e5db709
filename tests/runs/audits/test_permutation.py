"""What can be learned is found, what cannot is not, and a loop of fits says the same."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tsdiag.config import DataConfig, GeneratorConfig
from tsdiag.data.dataset import load_dataset
from tsdiag.diagnostics.leaks import leak
from tsdiag.models.floors import measure_floors
from tsdiag.runs.audit import audit
from tsdiag.runs.audits.permutation import block_of, measure_permutation, shuffles
from tsdiag.runs.audits.problem import pose
from tsdiag.runs.audits.regression import WIDE, regress
from tsdiag.runs.levels import overlap_of

sys.path.insert(0, str(Path(__file__).parent))
from noise import ROWS, independent, noise


def test_a_series_that_can_be_learned(measured):
    _, found = measured
    assert found.permutation.p == 0.05
    assert found.permutation.skill > 0.7 > 0.2 > found.permutation.detectable
    assert len(found.permutation.shuffled) == 19
    assert found.order.skill - found.order.shuffled_skill > 0.5
    assert found.lag_scan.best == 0
    assert leak(found) is None
    assert found.reasons == {}


@pytest.mark.parametrize("kind", ["macd", "latch"])
def test_generated_series_are_neither_leaking_nor_misaligned(kind):
    series = GeneratorConfig(kind=kind, rows=ROWS, channels=10)
    settings = {"target": "level", "transform": "difference", "context_length": 48}
    found = audit(load_dataset(DataConfig(generate=series, **settings)), None, 500)
    assert leak(found) is None
    assert found.lag_scan.best == 0
    assert (found.permutation.p == 0.05) == (kind == "macd")  # a latch is not linear


def walk(seed):
    frame, rng = noise(seed)
    return frame.cumsum().assign(level=100 + np.cumsum(rng.standard_normal(len(frame))))


def slow(seed):
    """Targets and inputs that are alike for twenty rows each, and independent of each other."""
    frame, rng = noise(seed)
    frame["level"] = rng.standard_normal(len(frame))
    return frame.ewm(alpha=0.05).mean()


@pytest.mark.parametrize("make", [independent, walk, slow])
def test_false_alarms_are_rare(make, read):
    """One in twenty is meant to be found by chance; five of twenty would be one in 400."""
    found = []
    for seed in range(20):
        features = ("a", "b", "c") if make is slow else "all"
        data = read(make(seed), transform="none", context_length=8, features=features)
        found.append(audit(data, None, 300, seed))
    assert sum(one.permutation.p <= 0.05 for one in found) <= 4
    assert np.mean([one.permutation.p for one in found]) > 0.3
    assert [leak(one) for one in found] == [None] * 20
    assert {one.lag_scan.best for one in found} == {0}


def test_what_is_said_to_be_detectable_is_detected(read):
    """In 4 of 5 data sets at least; fewer than 14 of 20 would be one in 50."""
    found = []
    for seed in range(20):
        frame, rng = noise(seed)
        weights = rng.standard_normal((8, 3))
        known = sum(frame.shift(row, fill_value=0) @ weights[row - 1] for row in range(1, 9))
        share = 0.05  # below what 1,391 windows of 24 inputs are said to tell
        level = share**0.5 * known / known.std() + (1 - share) ** 0.5 * rng.standard_normal(ROWS)
        settings = {"transform": "none", "context_length": 8, "features": ("a", "b", "c")}
        found.append(audit(read(frame.assign(level=level), **settings), None, 300).permutation)
    assert np.mean([one.detectable for one in found]) == pytest.approx(share, abs=0.01)
    assert sum(one.p <= 0.05 for one in found) >= 14


def test_a_random_walk_is_held_against_its_last_value(read):
    found = audit(read(walk(0), transform="none"), None, 500)
    assert found.permutation.against == "last_value"
    assert found.permutation.detectable < 0.1


def test_a_faint_signal_above_the_detectable_is_found(read):
    frame, rng = noise(3)
    moves = 0.4 * frame["a"].shift(1, fill_value=0) + rng.standard_normal(ROWS)
    found = audit(read(frame.assign(level=moves.cumsum())), None, 500).permutation
    assert found.p == 0.05
    assert found.detectable < found.skill < 0.25


def test_permutation_matches_a_loop_of_ridge_fits(read, lagged):
    data = read(lagged.iloc[:400], context_length=6, prediction_length=2, transform="none")
    problem = pose(data, measure_floors(data), 100)
    found = measure_permutation(problem, seed=7)
    own, other = problem.targets
    train, validation = problem.train, problem.validation
    inputs = [w.inputs_at(torch.arange(len(w))).double().numpy() for w in (train, validation)]
    flat = [part.reshape(len(part), -1) for part in inputs]
    centred = flat[0] - flat[0].mean(axis=0)
    unit = np.square(centred).sum(axis=0).mean()

    def skill(targets):
        best = np.full(targets.shape[1], np.inf)
        for penalty in WIDE:
            extra = np.sqrt(penalty * unit) * np.eye(centred.shape[1])
            padded = np.vstack([targets - targets.mean(axis=0), np.zeros((len(extra), 2))])
            weights, *_ = np.linalg.lstsq(np.vstack([centred, extra]), padded)
            guess = (flat[1] - flat[0].mean(axis=0)) @ weights + targets.mean(axis=0)
            best = np.minimum(best, np.square(guess - other).mean(axis=0))
        return 1 - best.mean() / problem.squares.mean()

    length = block_of(own, overlap_of(train))
    assert found.block_length == length
    assert found.skill == pytest.approx(skill(own), abs=1e-8)
    expected = [skill(some) for some in shuffles(own, length, np.random.default_rng(7))]
    np.testing.assert_allclose(found.shuffled, expected, atol=1e-8)
    assert found.p == (1 + sum(one >= found.skill for one in expected)) / 20


def test_shuffles_keep_neighbours_and_every_value():
    values = np.arange(100.0)[:, None]
    for some in shuffles(values, 10, np.random.default_rng(0)):
        np.testing.assert_array_equal(np.sort(some, axis=0), values)
        steps = np.diff(some[:, 0])
        assert (np.isin(steps, (1, -99))).sum() >= 89  # all but the nine borders of blocks
        assert (steps != 1).sum() >= 2


def test_a_part_of_the_inputs_is_fitted_as_if_alone():
    rng = np.random.default_rng(0)
    rows, ends = rng.standard_normal((80, 3)), (np.arange(5, 50), np.arange(50, 79))
    outputs = (rows[ends[0] + 1, :1], rows[ends[1] - 1, :1])
    whole = regress(rows, 4, ends, outputs)
    alone = regress(np.ascontiguousarray(rows[:, [2]]), 2, ends, outputs)
    # The penalty is relative to the inputs' variance, so it is the same for the part by itself.
    np.testing.assert_allclose(whole.errors(whole.places([2], 2)), alone.errors(), atol=1e-10)


def test_shuffled_rows_explain_what_their_means_do(read, lagged):
    """The order part fits means; ridge on rows that really are shuffled tends to the same."""
    frame = lagged.copy()
    slow_part = frame["x00"].rolling(8, min_periods=1).mean().shift(1, fill_value=0)
    frame["level"] = (2 * slow_part + 0.1 * frame["x01"]).cumsum()
    data = read(frame, context_length=8)
    found = audit(data, None, 500).order
    rng = np.random.default_rng(0)
    spans = []
    for windows in (data.train, data.validation.every(500)):
        every = torch.arange(len(windows))
        inputs = windows.inputs_at(every).double().numpy()
        mixed = np.stack([one[rng.permutation(8)] for one in inputs]).reshape(len(inputs), -1)
        spans.append((mixed, windows.targets_at(every).double().numpy().reshape(-1, 1)))
    (mixed, own), (others, truth) = spans
    many = np.column_stack([mixed, np.ones(len(mixed))])
    penalty = 10 * len(mixed) ** 0.5 * np.eye(many.shape[1])
    weights = np.linalg.solve(many.T @ many + penalty, many.T @ own)
    guess = np.column_stack([others, np.ones(len(others))]) @ weights
    shuffled = 1 - np.square(guess - truth).mean() / np.square(truth - own.mean()).mean()
    assert found.shuffled_skill == pytest.approx(shuffled, abs=0.05)
    assert found.skill > found.shuffled_skill - 0.05
