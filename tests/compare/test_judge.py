"""The verdict on simulated contests: equal sides, better sides, and sides with something amiss."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from scipy.signal import lfilter

from tsdiag.compare.comparison import Comparison
from tsdiag.compare.judge import Floor, Side, judge
from tsdiag.compare.metrics import Scores
from tsdiag.errors import TsdiagError

WINDOWS = 600


def autoregressive(rng, memory, runs=1):
    noise = rng.standard_normal((runs, WINDOWS + 100))
    return (lfilter([1], [1, -memory], noise, axis=1) * math.sqrt(1 - memory**2))[:, 100:]


def hardness(rng):
    """Some stretches of a series are hard for every model: skewed, and alike for neighbours."""
    return 0.5 * np.exp(0.5 * autoregressive(rng, 0.7))


def losses_of(rng, common, seeds=5, gain=0.0):
    """Return losses "seed window": windows, seeds, and what a seed does on particular windows."""
    of_seed = 0.03 * rng.standard_normal((seeds, 1))
    return common - gain + of_seed + 0.2 * autoregressive(rng, 0.5, seeds)


def scores_of(losses):
    return Scores(
        mse=float(losses.mean()),
        mae=0.5,
        r2=0.3,
        directional_accuracy=0.6,
        moves=losses.size,
        ties=3,
        windows=losses.size,
    )


def side(losses, label="lstm", trial=None, seeds=None, failed=()):
    count = len(losses)
    return Side(
        label=label,
        trial=trial,
        seeds=tuple(seeds or range(count)),
        losses=losses,
        scores=tuple(scores_of(row) for row in losses),
        parameters=22_100,
        seconds=(12.0,) * count,
        cpu_seconds=(11.5,) * count,
        failed_seeds=tuple(failed),
    )


def contests(count, seeds, gain=0.0, models_differ=0.0, seed=0):
    """Judge many contests; ``models_differ`` makes one model better on some stretches."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        common, taste = hardness(rng), models_differ * autoregressive(rng, 0.6)
        ours = side(losses_of(rng, common + taste, seeds, gain), "trial 1", 1)
        yield judge(ours, side(losses_of(rng, common, seeds)))


def outcomes(found):
    return Counter(comparison.outcome for comparison in found)


@pytest.mark.parametrize("seeds", [3, 5])
def test_equal_sides_are_said_to_beat_each_other_in_at_most_5_percent(seeds):
    found = outcomes(contests(400, seeds))
    assert found["beats"] <= 20
    assert found["does not beat"] <= 20


def test_an_interval_over_windows_alone_would_say_it_far_more_often():
    found = list(contests(200, 5))
    naive = sum(comparison.difference.windows.high < 0 for comparison in found)
    assert naive > 20
    assert naive > 3 * outcomes(found)["beats"]


def test_an_interval_over_seeds_alone_would_say_it_far_more_often():
    """Two models equal over a long time, each better on some stretches: seeds cannot show that."""
    found = list(contests(200, 5, models_differ=0.4))
    naive = sum(comparison.difference.seeds.high < 0 for comparison in found)
    assert outcomes(found)["beats"] <= 10
    assert naive > 15


@pytest.mark.parametrize(("seeds", "differ"), [(3, 0.0), (5, 0.0), (5, 0.3)])
def test_combined_interval_covers_the_true_difference(seeds, differ):
    found = list(contests(250, seeds, gain=0.05, models_differ=differ, seed=1))
    hits = sum(c.difference.combined.low <= -0.05 <= c.difference.combined.high for c in found)
    assert hits / 250 >= 0.92


def test_a_better_candidate_beats_and_a_worse_one_does_not():
    better, worse = outcomes(contests(100, 5, gain=0.1)), outcomes(contests(100, 5, gain=-0.1))
    assert better["beats"] >= 80
    assert better["does not beat"] == 0
    assert worse["does not beat"] >= 80
    assert worse["beats"] == 0


def test_numbers_of_one_comparison():
    rng = np.random.default_rng(2)
    common = hardness(rng)
    ours, theirs = losses_of(rng, common, gain=0.1), losses_of(rng, common)
    found = judge(side(ours, "trial 4", 4), side(theirs), overlap=3, looks=2)
    assert found.difference.mean == pytest.approx(ours.mean() - theirs.mean())
    np.testing.assert_allclose(found.difference.per_seed, (ours - theirs).mean(axis=1))
    assert found.candidate.mean.mse == pytest.approx(ours.mean())
    assert (found.windows, found.overlap, found.looks, found.ties) == (WINDOWS, 3, 2, 3)
    assert found.superiority.value == np.mean(ours.mean(axis=1) < theirs.mean(axis=1))
    low, high = found.difference.combined.low, found.difference.combined.high
    assert (low + high) / 2 == pytest.approx(found.difference.mean)
    total = found.difference.seed_variance + found.difference.window_variance
    assert high - low > 2 * 1.96 * math.sqrt(total)


def test_the_same_losses_give_the_same_comparison_and_json_keeps_it():
    rng = np.random.default_rng(3)
    common = hardness(rng)
    ours, theirs = side(losses_of(rng, common)), side(losses_of(rng, common))
    found = judge(ours, theirs, [Floor("ridge", scores_of(common[0]), common[0])])
    assert judge(ours, theirs, [Floor("ridge", scores_of(common[0]), common[0])]) == found
    assert Comparison.from_json(found.to_json()) == found
    assert found.to_json().startswith('{"schema":1,')


def test_runs_are_paired_by_seed_number_not_by_order():
    rng = np.random.default_rng(4)
    common = hardness(rng)
    ours, theirs = losses_of(rng, common), losses_of(rng, common)
    straight = judge(side(ours), side(theirs))
    turned = judge(side(ours), side(theirs[::-1], seeds=[4, 3, 2, 1, 0]))
    assert turned.difference == straight.difference
    partly = judge(side(ours), side(theirs[1:], seeds=[1, 2, 3, 4], failed=[0]))
    assert partly.seeds == (1, 2, 3, 4)


def test_identical_losses_do_not_beat():
    losses = losses_of(np.random.default_rng(5), hardness(np.random.default_rng(5)))
    found = judge(side(losses, "trial 1", 1), side(losses))
    assert found.outcome == "does not beat"
    assert "same loss" in found.reason
    assert found.diebold_mariano is None
    assert found.superiority.value == 0.5


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_cannot_tell_and_say_how_many_would(seeds):
    rng = np.random.default_rng(6)
    common = hardness(rng)
    found = judge(
        side(losses_of(rng, common, seeds, gain=0.3)), side(losses_of(rng, common, seeds))
    )
    assert found.outcome == "cannot tell yet"
    assert found.difference.combined is None
    assert found.needs.more_seeds == 3 - seeds


def test_windows_that_all_overlap_cannot_tell():
    rng = np.random.default_rng(7)
    common = hardness(rng)
    found = judge(side(losses_of(rng, common, gain=0.3)), side(losses_of(rng, common)), overlap=300)
    assert found.outcome == "cannot tell yet"
    assert found.needs.times_test_rows == 2


def test_one_test_window_is_no_crash():
    found = judge(side(np.full((5, 1), 0.3)), side(np.full((5, 1), 0.4)))
    assert found.outcome == "cannot tell yet"
    Comparison.from_json(found.to_json())


def test_a_side_whose_other_seeds_diverged_wins_nothing():
    rng = np.random.default_rng(8)
    common = hardness(rng)
    better, plain = losses_of(rng, common, gain=0.3), losses_of(rng, common)
    assert judge(side(better), side(plain)).outcome == "beats"
    assert judge(side(better), side(plain, failed=[9])).outcome == "beats"
    found = judge(side(better, "trial 1", 1, failed=[9]), side(plain))
    assert found.outcome == "cannot tell yet"
    assert "1 of 6 final runs of trial 1" in found.reason
    assert judge(side(plain), side(better, failed=[9])).outcome == "cannot tell yet"


def test_no_common_seed_is_an_error_in_three_parts():
    losses = np.ones((2, 50))
    with pytest.raises(TsdiagError, match=r"no seed finished on both sides .*finished seeds 0, 1"):
        judge(side(losses), side(losses, seeds=[5, 6]))


def test_floors_tell_skill_and_whether_a_model_beats_them():
    rng = np.random.default_rng(9)
    common = hardness(rng)
    ours, theirs = losses_of(rng, common, gain=0.1), losses_of(rng, common, gain=-0.1)
    floors = [Floor("ridge", scores_of(common[0]), common[0]), Floor("mean", scores_of(2 * common))]
    found = judge(side(ours), side(theirs), floors)
    ridge, mean = found.floors
    assert found.best_floor == "ridge"
    assert ridge.candidate_skill == pytest.approx(1 - ours.mean() / common.mean())
    assert (ridge.candidate_outcome, ridge.baseline_outcome) == ("beats", "does not beat")
    assert mean.candidate_outcome is None  # its losses were not given
    assert mean.baseline_skill > 0
