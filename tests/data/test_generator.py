"""The generated series keeps its promise: ceilings, determinism, nothing leaked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tsdiag.config import DataConfig, GeneratorConfig
from tsdiag.data.dataset import load_dataset
from tsdiag.data.generator import MEMORY, full_ceiling, generate, macd_kernel, oracle, solve_shares
from tsdiag.errors import ConfigError

KINDS = ("macd", "lag", "latch")


def test_shares_are_those_of_the_formula():
    shares = solve_shares(GeneratorConfig())
    assert shares.fast == pytest.approx(0.8400, abs=1e-4)
    assert shares.slow == pytest.approx(0.0245, abs=1e-4)
    assert shares.noise == pytest.approx(0.1355, abs=1e-4)
    assert full_ceiling(shares.fast + shares.slow) == pytest.approx(0.88)
    assert full_ceiling(shares.slow) == pytest.approx(0.55)


@pytest.mark.parametrize("kind", KINDS)
def test_oracles_reach_their_ceilings_over_a_long_series(kind):
    config = GeneratorConfig(kind=kind, rows=200_000, channels=10)
    frame = generate(config)
    change = np.diff(frame["level"])[MEMORY:]
    for order_blind, ceiling in ((False, 0.88), (True, 0.55)):
        best = oracle(config, frame, order_blind=order_blind)[MEMORY:-1]
        assert np.mean(np.sign(best) == np.sign(change)) == pytest.approx(ceiling, abs=0.01)
    explained = 1 - np.var(change - oracle(config, frame)[MEMORY:-1]) / np.var(change)
    assert explained == pytest.approx(0.8645, abs=0.005)
    assert np.var(change) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_averages_over_time_or_features_see_nothing_of_the_fast_part(kind):
    config = GeneratorConfig(kind=kind, rows=60_000)
    frame = generate(config)
    columns = frame.drop(columns="level").to_numpy()
    fast = oracle(config, frame) - oracle(config, frame, order_blind=True)
    sums = np.cumsum(columns, axis=0)
    over_time = (sums[MEMORY:] - sums[:-MEMORY]) / MEMORY
    squares = np.cumsum(columns**2, axis=0)
    summaries = np.column_stack(
        [over_time, squares[MEMORY:] - squares[:-MEMORY], columns[MEMORY:].mean(axis=1)]
    )
    fit, *_ = np.linalg.lstsq(summaries, fast[MEMORY:], rcond=None)
    assert 1 - np.var(fast[MEMORY:] - summaries @ fit) / np.var(fast[MEMORY:]) < 0.02


def test_the_same_seed_gives_the_same_series_and_another_another_task():
    first, again = generate(GeneratorConfig(rows=300)), generate(GeneratorConfig(rows=300))
    assert first.equals(again)
    assert generate(GeneratorConfig(rows=200)).equals(first.head(200))
    assert not generate(GeneratorConfig(rows=300, seed=1)).equals(first)


def test_the_oracle_uses_no_row_outside_its_window():
    config = GeneratorConfig(rows=600)
    frame = generate(config)
    full = oracle(config, frame)
    part = oracle(config, frame.iloc[200 : 200 + MEMORY])
    assert part[-1] == pytest.approx(full[200 + MEMORY - 1])
    assert np.isnan(part[:-1]).all()


def test_the_kernel_sums_to_zero():
    assert macd_kernel().sum() == pytest.approx(0, abs=1e-15)
    assert len(macd_kernel()) == MEMORY <= 240


@pytest.mark.parametrize("kind", KINDS)
def test_windows_of_a_generated_series_lead_to_the_oracle(kind):
    generator = GeneratorConfig(kind=kind, rows=6000)
    found = load_dataset(DataConfig(generate=generator, transform="difference"))
    assert found.series.targets == ("level",)
    assert len(found.series.channels) == 33
    assert "level" not in found.series.channels
    index = torch.arange(len(found.test))
    truth = found.test.restore(found.test.targets_at(index)).flatten().numpy()
    change = np.diff(found.series.target_values[:, 0])
    np.testing.assert_allclose(truth, change[found.test.ends], rtol=1e-6, atol=1e-6)
    best = oracle(generator, generate(generator))[found.test.ends]
    # 900 windows: a standard error of one point.
    assert np.mean(np.sign(best) == np.sign(truth)) == pytest.approx(0.88, abs=0.04)
    assert found.summary.notes == ()


def test_uses_without_a_known_ceiling_are_reported():
    config = DataConfig(generate=GeneratorConfig(rows=1000), context_length=50)
    notes = load_dataset(config).summary.notes
    assert any("shorter than 128" in note for note in notes)
    assert any("difference to the next row" in note for note in notes)


def test_contradicting_ceilings_are_refused():
    with pytest.raises(ConfigError, match=r"order_blind_ceiling 0\.9 is not below"):
        generate(GeneratorConfig(ceiling=0.8, order_blind_ceiling=0.9))
