"""What would tell: the numbers asked for do settle it, and one less does not."""

from __future__ import annotations

import pytest

from tsdiag.compare.needs import Spread, needed

BY_SEEDS = Spread(seed_variance=1.0, shared_variance=0.001, own_variance=0.0, window_degrees=50)
BY_WINDOWS = Spread(seed_variance=0.01, shared_variance=0.2, own_variance=0.0, window_degrees=20)
BY_OWN = Spread(seed_variance=0.1, shared_variance=0.0, own_variance=1.0, window_degrees=20)


@pytest.mark.parametrize("spread", [BY_SEEDS, BY_OWN])
def test_more_seeds_settle_what_seeds_blur(spread):
    found = needed(0.4, spread, 5, 0.95)
    enough = 5 + found.more_seeds
    assert found.times_test_rows is None
    assert spread.half_width(enough, 1, 0.95) < 0.4 <= spread.half_width(enough - 1, 1, 0.95)


def test_no_number_of_seeds_settles_what_windows_blur():
    found = needed(0.4, BY_WINDOWS, 5, 0.95)
    assert found.more_seeds is None
    assert found.with_seeds == 5
    times = found.times_test_rows
    assert BY_WINDOWS.half_width(5, times, 0.95) < 0.4
    assert BY_WINDOWS.half_width(5, times - 0.2, 0.95) > 0.4


def test_both_too_few():
    both = Spread(seed_variance=1.0, shared_variance=0.2, own_variance=0.0, window_degrees=20)
    found = needed(0.4, both, 5, 0.95)
    assert found.with_seeds > 5
    assert found.times_test_rows > 1
    assert both.half_width(found.with_seeds, found.times_test_rows, 0.95) < 0.4


@pytest.mark.parametrize("difference", [0.0, 1e-6])
def test_nothing_sensible_settles_no_difference(difference):
    found = needed(difference, BY_SEEDS, 5, 0.95)
    assert (found.more_seeds, found.times_test_rows, found.with_seeds) == (None, None, None)


def test_prediction_of_needs_agrees_with_more_seeds_being_drawn():
    """A pilot of 5 seeds asks for some more; with them most contests are settled."""
    import numpy as np

    rng = np.random.default_rng(0)
    settled = asked = 0
    for _ in range(300):
        pilot = rng.normal(-0.8, 1.0, 5)
        known = Spread(1.0, 0.001, 0.0, 50)  # the true spread, so that only seeds are drawn
        if known.half_width(5, 1, 0.95) < abs(pilot.mean()):
            continue
        total = 5 + (needed(-0.8, known, 5, 0.95).more_seeds or 0)
        asked += 1
        settled += abs(rng.normal(-0.8, 1.0, total).mean()) > known.half_width(total, 1, 0.95)
    assert settled / asked > 0.4  # at the threshold a repetition settles it about every other time
