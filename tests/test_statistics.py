"""Intervals keep their coverage on autocorrelated losses; fast code equals its slow twin."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

from tsdiag.statistics import (
    automatic_block_length,
    block_length,
    block_mean,
    block_variance,
    combined_degrees,
    diebold_mariano,
    even_blocks,
    moving_block_bootstrap,
    probability_of_superiority,
    ratio_of_means,
    sign_flip,
    student_quantile,
    t_interval,
)


def autoregressive(rng, count, memory, overlap=1):
    """Return losses with mean 0 whose neighbours are alike, and share `overlap` target rows."""
    from scipy.signal import lfilter

    noise = rng.standard_normal(count + overlap + 200)
    series = lfilter([1], [1, -memory], noise) * math.sqrt(1 - memory**2)
    return np.convolve(series, np.ones(overlap) / overlap, "valid")[200 : 200 + count]


@pytest.mark.parametrize(
    ("count", "memory", "overlap"),
    [(1500, 0.0, 1), (1000, 0.5, 1), (1000, 0.8, 1), (4000, 0.9, 1), (2500, 0.3, 24)],
)
def test_95_percent_interval_covers_92_to_97_percent(count, memory, overlap):
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(500):
        found = block_mean(
            autoregressive(rng, count, memory, overlap), rng, overlap=overlap, draws=600
        )
        hits += found.low < 0 < found.high
    assert 0.92 <= hits / 500 <= 0.97


def test_blocks_of_one_would_not_cover():
    rng = np.random.default_rng(8)
    hits = 0
    for _ in range(200):
        values = autoregressive(rng, 1000, 0.8)
        means = moving_block_bootstrap(values, 1, 400, rng)
        low, high = np.quantile(means, [0.025, 0.975])
        hits += low < 0 < high
    assert hits / 200 < 0.7


def test_bootstrap_equals_its_slow_twin():
    values = np.random.default_rng(0).standard_normal(50)
    fast = moving_block_bootstrap(values, 7, 20, np.random.default_rng(1))
    starts = np.random.default_rng(1).integers(0, 50 - 7 + 1, size=(20, 8))
    slow = [np.concatenate([values[s : s + 7] for s in row])[:50].mean() for row in starts]
    np.testing.assert_allclose(fast, slow, rtol=0, atol=1e-12)


def test_variance_without_drawing_is_that_of_many_draws():
    rng = np.random.default_rng(2)
    values = autoregressive(rng, 600, 0.6)
    drawn = moving_block_bootstrap(values, 20, 40_000, rng).var() / (1 - 20 / 600)
    assert block_variance(values, 20) == pytest.approx(drawn, rel=0.03)


def test_blocks_grow_with_memory_and_overlap():
    rng = np.random.default_rng(3)
    independent, alike = autoregressive(rng, 2000, 0.0), autoregressive(rng, 2000, 0.9)
    assert automatic_block_length(independent) < 8 < 30 < automatic_block_length(alike)
    # Politis and White's optimum for AR(1): (6 (rho / (1 - rho^2))^2 n)^(1/3)
    assert automatic_block_length(alike) == pytest.approx(
        (6 * (0.9 / 0.19) ** 2 * 2000) ** (1 / 3), 0.4
    )
    assert block_length(independent, overlap=96) == 192
    assert block_length(independent[:100], overlap=96) == 25  # a quarter at most
    assert block_length(np.ones(100)) == math.ceil(2 * 100 ** (1 / 3))
    assert block_length(independent[:3]) == 1


def test_mean_of_constant_and_of_few_values():
    rng = np.random.default_rng(4)
    constant = block_mean(np.full(100, 0.25), rng)
    assert (constant.value, constant.low, constant.high) == (0.25, 0.25, 0.25)
    alone = block_mean(np.array([0.25]), rng)
    assert alone.value == 0.25


def slow_diebold_mariano(d, horizon):
    """The formulas of Harvey, Leybourne and Newbold (1997), sections 1 and 2, term by term."""
    from scipy.stats import t

    n, mean = len(d), sum(d) / len(d)

    def gamma(k):
        return sum((d[i] - mean) * (d[i - k] - mean) for i in range(k, n)) / n

    variance = (gamma(0) + 2 * sum(gamma(k) for k in range(1, horizon))) / n
    factor = (n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n
    statistic = math.sqrt(factor) * mean / math.sqrt(variance)
    return statistic, 2 * t.sf(abs(statistic), n - 1)


@pytest.mark.parametrize("horizon", [1, 2, 4])
def test_diebold_mariano_equals_the_papers_formulas(horizon):
    d = autoregressive(np.random.default_rng(5), 120, 0.4) + 0.1
    assert diebold_mariano(d, horizon) == pytest.approx(slow_diebold_mariano(d, horizon))


def test_diebold_mariano_rejects_equal_accuracy_as_often_as_it_says():
    rng = np.random.default_rng(6)
    with_lag = without = 0
    for _ in range(400):
        d = autoregressive(rng, 1000, 0.6)
        with_lag += diebold_mariano(d, 1, block_length(d) - 1)[1] < 0.05
        without += diebold_mariano(d, 1)[1] < 0.05
    assert with_lag / 400 < 0.08
    assert without / 400 > 0.25  # lags of the overlap alone are not enough


def test_diebold_mariano_stays_positive_and_knows_equal_losses():
    seesaw = np.tile([1.0, -1.0], 30) + 0.1  # rectangular weights would make a negative variance
    statistic, p = diebold_mariano(seesaw, 2)
    assert statistic > 0
    assert 0 <= p <= 1
    assert diebold_mariano(np.zeros(30)) is None


def test_sign_flip_counts_every_pattern():
    differences = np.array([0.3, -0.1, 0.4, 0.2, 0.05])
    patterns = itertools.product([1, -1], repeat=5)
    extreme = [abs(np.dot(p, differences)) >= abs(differences.sum()) - 1e-12 for p in patterns]
    assert sign_flip(differences) == pytest.approx(np.mean(extreme))
    assert sign_flip(np.abs(differences)) == 2 / 32
    assert sign_flip(np.zeros(4)) == 1


def slow_sign_flip(differences, alternative="two-sided"):
    """Count sign patterns one by one, in exact arithmetic."""
    exact = [Fraction(float(difference)) for difference in differences]
    patterns = list(itertools.product([1, -1], repeat=len(exact)))
    sums = [sum(s * d for s, d in zip(signs, exact, strict=True)) for signs in patterns]
    observed = sum(exact)
    if alternative == "less":
        return sum(total <= observed for total in sums) / len(sums)
    return sum(abs(total) >= abs(observed) for total in sums) / len(sums)


@pytest.mark.parametrize("alternative", ["two-sided", "less"])
@pytest.mark.parametrize("count", range(1, 10))
def test_sign_flip_equals_its_slow_twin(count, alternative):
    rng = np.random.default_rng(count)
    for shift in (-1.0, 0.0, 1.0):
        # Whole numbers make ties, of whatever size, and they count; the others make none.
        whole = rng.integers(-3, 4, count) + shift
        uneven = rng.standard_normal(count) + shift
        for differences in (uneven, whole, whole * 2.0**-40, whole * 2.0**40):
            expected = slow_sign_flip(differences, alternative)
            assert sign_flip(differences, alternative=alternative) == expected


def test_sign_flip_of_an_effect_whose_sign_was_said_beforehand():
    gains = np.array([-0.3, -0.1, -0.4, -0.2, -0.05])
    assert sign_flip(gains, alternative="less") == 1 / 32
    assert sign_flip(gains) == 2 / 32
    # Losses are no gains, however sure; with four pairs nothing can be.
    assert sign_flip(-gains, alternative="less") == 1
    assert sign_flip(gains[:4], alternative="less") == 1 / 16
    # One small loss among five: as far below 0 are only the patterns with or without it.
    assert sign_flip(np.array([-0.3, -0.1, -0.4, -0.2, 0.05]), alternative="less") == 2 / 32


@pytest.mark.parametrize("alternative", ["two-sided", "less"])
@pytest.mark.parametrize("count", [1, 5, 16, 17, 40])
def test_differences_of_nothing_and_unknown_ones_prove_nothing(count, alternative):
    assert sign_flip(np.zeros(count), alternative=alternative) == 1
    unknown = np.full(count, -1.0)
    unknown[0] = np.nan
    assert sign_flip(unknown, alternative=alternative) == 1


def test_sums_that_differ_by_rounding_alone_are_ties():
    thirds = -np.array([0.1, 0.2, 0.3, 0.7, 1.1, 1 / 3])
    for order in itertools.permutations(range(6)):
        assert sign_flip(thirds[list(order)], alternative="less") == 1 / 64
        assert sign_flip(thirds[list(order)]) == 2 / 64


@pytest.mark.parametrize("alternative", ["two-sided", "less"])
def test_sixteen_pairs_are_counted_and_seventeen_drawn(alternative):
    sixteen = -np.linspace(0.5, 1.5, 16)
    sides = 2 if alternative == "two-sided" else 1
    assert sign_flip(sixteen, alternative=alternative) == sides / 2**16
    # Drawn, the observed pattern is one of those possible.
    assert sign_flip(np.append(sixteen, -1.0), alternative=alternative) >= 1 / 2**16


def test_sign_flip_says_5_percent_as_often_as_that():
    rng = np.random.default_rng(17)
    p = np.array([sign_flip(rng.standard_normal(8), alternative="less") for _ in range(2000)])
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.012)
    assert np.mean(p <= 0.5) == pytest.approx(0.5, abs=0.03)


def test_sign_flip_of_many_pairs_is_drawn():
    differences = np.random.default_rng(9).standard_normal(30)
    exact_enough = math.erfc(abs(differences.sum()) / math.sqrt(2 * np.sum(differences**2)))
    drawn = sign_flip(differences, np.random.default_rng(0))
    assert drawn == pytest.approx(exact_enough, abs=0.03)
    half = exact_enough / 2 if differences.sum() < 0 else 1 - exact_enough / 2
    one_sided = sign_flip(differences, np.random.default_rng(0), alternative="less")
    assert one_sided == pytest.approx(half, abs=0.03)


def test_superiority_over_pairs():
    rng = np.random.default_rng(10)
    a, b = np.array([3.0, 2.0, 5.0, 1.0]), np.array([1.0, 2.0, 4.0, 2.0])
    found = probability_of_superiority(a, b, rng)
    assert found.value == (1 + 0.5 + 1 + 0) / 4
    assert found.low < found.value < found.high


def test_a_few_wins_out_of_a_few_prove_little():
    rng = np.random.default_rng(11)
    found = probability_of_superiority(np.ones(5), np.zeros(5), rng)
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(0.478, abs=0.001)  # Clopper and Pearson for 5 of 5
    lost = probability_of_superiority(np.zeros(5), np.ones(5), rng)
    assert (lost.value, lost.low, lost.high) == (0, 0, pytest.approx(0.522, abs=0.001))
    tied = probability_of_superiority(np.zeros(5), np.zeros(5), rng)
    assert (tied.value, tied.low, tied.high) == (0.5, 0, 1)


def test_superiority_interval_covers():
    rng = np.random.default_rng(12)
    hits = 0
    for _ in range(300):
        found = probability_of_superiority(
            rng.standard_normal(20) + 0.5, rng.standard_normal(20), rng, draws=400
        )
        hits += found.low <= 0.638 <= found.high  # Phi(0.5 / sqrt 2)
    assert 0.9 <= hits / 300 <= 0.99


def test_t_interval_is_students():
    from scipy import stats

    values = np.random.default_rng(13).standard_normal(6)
    found = t_interval(values)
    low, high = stats.t.interval(0.95, 5, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert t_interval(values[:1]) is None


def test_degrees_of_freedom_of_a_sum():
    assert combined_degrees([(1.0, 4), (0.0, 30)]) == 4
    assert combined_degrees([(1.0, 4), (1.0, 4)]) == 8
    assert combined_degrees([(0.0, 4), (0.0, 30)]) == math.inf
    assert student_quantile(0.975, math.inf) == pytest.approx(1.959964)


def test_even_blocks_by_hand():
    values = np.arange(1000.0)  # the cube root is 10, so blocks are of 20 values at least
    blocks = even_blocks(values)
    assert len(blocks) == 40  # 50 would fit, and 40 are enough
    assert blocks[:2] == pytest.approx([12.0, 37.0])  # means of 0..24 and 25..49
    assert blocks.mean() == pytest.approx(values.mean())
    assert len(even_blocks(values, most=10)) == 10
    assert len(even_blocks(values, overlap=24)) == 20  # blocks of twice 24
    assert len(even_blocks(values[:100])) == 10  # the cube root is 4.6, so blocks are of 10
    assert even_blocks(values[:7]) == pytest.approx([3.0])  # too few for two blocks
    uneven = even_blocks(values[:21])  # 21 in blocks of at least 6
    assert uneven == pytest.approx([3.0, 10.0, 17.0])


def test_ratio_of_means_by_hand():
    # residuals -.1, .3, -.3, .1: s.d. .2582, r = -.15 / .2, which is below 0 and widens nothing
    top, bottom = np.array([0.4, 0.8, 0.2, 0.6]), np.ones(4)
    found = ratio_of_means(top, bottom)
    half = 3.1824 * 0.2582 / 2  # t(3)
    assert found.value == pytest.approx(0.5)
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-4)
    # eight in a row, r = .625, freed of its bias (8 r + 1) / 5 = 1.2, cut at .9: 8 count as .42
    alike = ratio_of_means(np.linspace(0.1, 0.9, 8), np.ones(8))
    spread = np.linspace(0.1, 0.9, 8).std(ddof=1)
    wide = 12.7062 * spread / math.sqrt(8 * 0.1 / 1.9)  # t(1), the least
    assert alike.high - alike.value == pytest.approx(wide, rel=1e-4)
    doubled = ratio_of_means(2 * top, 4 * bottom)
    assert (doubled.value, doubled.high) == pytest.approx((0.25, found.high / 2))


def test_ratio_of_means_at_its_ends():
    alone = ratio_of_means(np.array([1.0]), np.array([2.0]))
    assert (alone.value, alone.low, alone.high) == (0.5, -math.inf, math.inf)
    bottom = np.array([1.0, 2.0, 3.0, 5.0])
    exact = ratio_of_means(0.5 * bottom, bottom)  # no interval where every block has the ratio
    assert (exact.low, exact.high) == pytest.approx((0.5, 0.5))


def test_what_is_hard_for_both_cancels_in_a_ratio():
    rng = np.random.default_rng(14)
    hard, noise = rng.standard_normal(40), 0.05 * rng.standard_normal(40)
    bottom = 3 + hard
    paired = ratio_of_means(0.5 * bottom + noise, bottom)
    unpaired = ratio_of_means(0.5 * rng.permutation(bottom) + noise, bottom)
    assert (unpaired.high - unpaired.low) > 5 * (paired.high - paired.low)


def ratio_covers(draw, draws=400):
    hits = 0
    for _ in range(draws):
        found = ratio_of_means(0.5 + 0.5 * draw(), 1 + 0.5 * draw())
        hits += found.low <= 0.5 <= found.high
    return hits / draws


@pytest.mark.parametrize(
    ("count", "memory", "overlap"),
    [(1000, 0.0, 1), (1000, 0.8, 1), (4000, 0.9, 1), (2500, 0.3, 24), (300, 0.8, 1)],
)
def test_95_percent_interval_of_a_ratio_covers_91_to_98_percent(count, memory, overlap):
    rng = np.random.default_rng(15)
    coverage = ratio_covers(
        lambda: even_blocks(autoregressive(rng, count, memory, overlap), overlap)
    )
    assert 0.91 <= coverage <= 0.98


@pytest.mark.parametrize(("memory", "least"), [(0.0, 0.93), (0.3, 0.92), (0.6, 0.9)])
def test_blocks_that_are_still_alike_cost_little_coverage(memory, least):
    rng = np.random.default_rng(16)
    assert least <= ratio_covers(lambda: 0.3 * autoregressive(rng, 40, memory)) <= 0.985


def test_importing_statistics_loads_neither_torch_nor_scipy():
    code = "import sys, tsdiag.statistics; print(any(m in sys.modules for m in ('torch', 'scipy')))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
