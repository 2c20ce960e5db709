"""What knows the future, repeats itself or lives next to the train span, and what only looks so."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tsdiag.diagnostics.leaks import find_leak, leak
from tsdiag.runs.audit import audit
from tsdiag.runs.audits.leaks import repeats
from tsdiag.runs.audits.problem import pose

sys.path.insert(0, str(Path(__file__).parent))
from noise import ROWS, noise


@pytest.mark.parametrize(("ahead", "horizon"), [(1, 1), (3, 3), (5, 1)])
def test_a_column_that_knows_the_next_level(ahead, horizon, read, lagged):
    frame = lagged.assign(x05=lagged["level"].shift(-ahead)).iloc[:-ahead]
    found = audit(read(frame, prediction_length=horizon), None, 500)
    told = find_leak(found)
    assert told.evidence.signal == 'skill of "x05" alone'
    assert told.evidence.observed > 0.99
    assert "future" in told.reason


def test_a_smooth_curve_foresees_nothing(read):
    turns = np.arange(ROWS) / 20
    frame = pd.DataFrame({"a": np.cos(turns), "level": np.sin(turns)})
    found = audit(read(frame), None, 500)
    assert found.leaks.foreseeing.skill > 0.9
    assert leak(found) is None


def test_the_targets_own_past_is_no_leak_under_another_name(read):
    frame, rng = noise(1)
    level = np.cumsum(np.convolve(rng.standard_normal(ROWS + 19), np.ones(20), "valid"))
    data = read(frame.assign(level=level, copy=level), context_length=40)
    found = audit(data, None, 500)
    assert found.leaks.dominating.is_target
    assert found.leaks.dominating.skill > 0.2
    assert leak(found) is None


def test_an_interpolated_target(read, lagged):
    known = lagged["level"].where(np.arange(ROWS) % 2 == 0).interpolate()
    found = audit(read(lagged.assign(level=known)), None, 500)
    assert found.leaks.interpolated_share == pytest.approx(0.5, abs=0.01)
    assert found.leaks.repeated_by_chance < 0.01
    assert "repeat the move before" in leak(found)


def test_a_forward_filled_target_is_not_interpolated(read, lagged):
    known = lagged["level"].where(np.arange(ROWS) % 3 != 0)
    data = read(lagged.assign(level=known))
    assert repeats(data) == (None, None)  # no three neighbouring rows were observed


def test_steps_of_one_tick_repeat_by_chance(read):
    frame, rng = noise(2)
    data = read(frame.assign(level=rng.choice([-1.0, 1.0], ROWS).cumsum()))
    share, chance = repeats(data)
    assert share == pytest.approx(0.5, abs=0.05)
    assert chance == pytest.approx(0.5, abs=0.01)
    assert leak(audit(data, None, 500)) is None


def test_purged_windows_share_no_row_with_the_train_span(measured):
    data, found = measured
    assert found.leaks.purged_skill == pytest.approx(found.leaks.full_skill, abs=0.05)
    problem = pose(data, None, 500)
    errors, border = problem.main.errors(), data.split.train.stop
    first_rows = problem.validation.ends.numpy() - data.config.context_length + 1
    beyond = first_rows >= border + data.config.prediction_length
    expected = 1 - errors[beyond].mean() / problem.squares[beyond].mean()
    assert found.leaks.purged_skill == pytest.approx(expected, abs=1e-12)


def test_without_windows_beyond_the_gap_nothing_is_purged(read, lagged):
    spans = {"train": 0.9, "validation": 0.03, "test": 0.07}
    found = audit(read(lagged, context_length=60, split=spans), None, 500)
    assert found.leaks.purged_skill is None
    assert found.leaks.full_skill > 0.5
