"""Attention that is waking protects a trial for a time, and chance a few for good."""

import csv
import math
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from tsdiag.report.pruning import measure_pruning
from tsdiag.search import watch
from tsdiag.search.queue import RESUMES
from tsdiag.search.sparing import CONTROLS, LATEST, is_control, waking
from tsdiag.search.watch import SPARED
from tsdiag.store.curves import load_trace
from tsdiag.store.runs import find_runs, newest

TRACES = Path(__file__).parents[1] / "traces"
GRID = range(0, 401, 50)


def curve(*values):
    return dict(zip(GRID, values, strict=False))


def spared(entropy, steps=400):
    """Return the steps at which a trial would be spared, asked at each as if it were the latest."""
    known = [{at: entropy[at] for at in entropy if at <= step} for step in entropy]
    asked = [max(past) for past in known]
    return [step for past, step in zip(known, asked, strict=True) if waking(past, step, steps)]


def recorded(name, signal="attention_entropy"):
    """Return the mean of a recorded signal over its places, by step, and the number of steps."""
    with (TRACES / name / "signals.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["name"] == signal]
    if not rows:
        return {}, 0
    steps = [int(step) for step in rows[0]["steps"].split()]
    values = np.mean([[float(v) for v in row["values"].split()] for row in rows], axis=0)
    return dict(zip(steps, values.tolist(), strict=True)), steps[-1]


def test_falling_attention_is_waking_and_flat_is_not():
    assert spared(curve(1.0, 0.99, 0.97, 0.9)) == [50, 100, 150]
    assert spared(curve(1.0, 1.0, 1.0, 1.0)) == []
    assert spared(curve(0.9, 0.92, 0.94, 0.95)) == []


def test_attention_that_moved_and_stopped_is_not():
    assert spared(curve(1.0, 0.9, 0.8, 0.8, 0.805)) == [50, 100]


def test_a_bounce_back_to_an_old_low_is_nothing_new():
    assert spared(curve(0.9, 0.8, 0.85, 0.8, 0.799)) == [50]


def test_noise_is_a_share_of_how_far_patterns_are_from_uniform():
    assert spared(curve(1.0, 0.9995)) == [50]  # from uniform patterns half a thousandth is much
    assert spared(curve(0.5, 0.4995)) == []
    assert spared(curve(1.0, 0.99995)) == []  # within what rounding makes


def test_untrained_patterns_count_only_until_something_follows():
    assert spared(curve(0.86, 0.88, 0.87)) == [100]
    assert spared(curve(0.86, 0.85)) == [50]


def test_the_grid_does_not_decide():
    fine = {step: 1 - 0.0001 * step for step in range(0, 401, 5)}
    coarse = {step: fine[step] for step in GRID}
    assert set(spared(coarse)) <= set(spared(fine))
    # One evaluation that is no new low is not the end of a fall.
    fine[100] += 0.001
    assert 100 in spared(fine)


def test_nobody_is_spared_for_ever():
    drift = {step: 1 - 0.002 * step for step in GRID}
    assert spared(drift) == [step for step in GRID if 0 < step <= LATEST * 400]


def test_a_collapse_is_no_awakening():
    assert spared(curve(0.9, 0.15, 0.05, 0.04)) == [50]


@pytest.mark.parametrize(
    "entropy", [{}, {0: 1.0}, {50: 0.5}, curve(1.0, math.nan), {0: 1.0, 50: 1.0}]
)
def test_without_two_measurements_nothing_is_known(entropy):
    assert not waking(entropy, 50, 400)


def test_only_a_fresh_measurement_spares():
    assert not waking(curve(1.0, 0.9), 100, 400)
    assert not waking(curve(1.0, 0.9), 50, 0)  # the end is not known


# In these attention cannot learn, whatever else is wrong.
CANNOT_LEARN = ["frozen-parameters", "learning-rate-too-low", "poor-initialization"]
WAKES = ["healthy-founding", "healthy-wide", "healthy-deep", "healthy-rows", "healthy-late-bloomer"]


@pytest.mark.parametrize("name", CANNOT_LEARN)
def test_recorded_attention_that_cannot_learn_is_never_waking(name):
    entropy, steps = recorded(name)
    assert len(entropy) > 5
    assert spared(entropy, steps) == []


@pytest.mark.parametrize("name", WAKES)
def test_recorded_attention_that_wakes_is_seen(name):
    entropy, steps = recorded(name)
    assert 0 < min(spared(entropy, steps)) <= 0.4 * steps


def test_no_recorded_run_is_spared_for_more_than_half_of_its_steps():
    longest = []
    for folder in TRACES.glob("*/signals.csv"):
        entropy, steps = recorded(folder.parent.name)
        longest.append(max(spared(entropy, steps), default=0) / max(steps, 1))
    assert max(longest) == LATEST


def test_controls_are_one_in_twenty():
    drawn = sum(is_control(3, number) for number in range(10_000))
    spread = math.sqrt(10_000 * CONTROLS * (1 - CONTROLS))
    assert abs(drawn - 10_000 * CONTROLS) < 4 * spread


def test_the_draw_is_of_the_seed_and_the_number_alone():
    first = [is_control(7, number) for number in range(400)]
    assert first == [is_control(7, number) for number in reversed(range(400))][::-1]
    assert first != [is_control(8, number) for number in range(400)]
    assert not any(is_control(7, number, share=0.0) for number in range(100))
    assert all(is_control(7, number, share=1.0) for number in range(100))


@pytest.fixture
def strict(monkeypatch):
    """Let a study's pruner stop some trials, by their number, whenever it is asked."""

    def want(*numbers, controls=()):
        asked = []

        def prune(_, study, trial):
            asked.append((trial.number, trial.last_step))
            return trial.number in numbers

        monkeypatch.setattr(optuna.pruners.MedianPruner, "prune", prune)
        monkeypatch.setattr(watch, "is_control", lambda seed, number: number in controls)
        return asked

    return want


TWENTY = ("max_steps = 10", "max_steps = 20")
ONE_SEED = ("final_seeds = 2", "final_seeds = 1")
MEDIAN = ("trials = 3", 'trials = 4\npruner = "median"')


def test_in_a_study_one_is_stopped_one_spared_for_good_and_one_for_a_time(
    prepared, store, work, optuna_study, strict, monkeypatch
):
    prepared(TWENTY, ONE_SEED, MEDIAN)
    asked = strict(1, 2, 3, controls={2})
    heard = {}

    def wakes(entropy, step, max_steps):
        heard[len(heard)] = (dict(entropy), step, max_steps)
        return any(asked[-1] == (3, early) for early in (5, 10))

    monkeypatch.setattr(watch, "waking", wakes)
    work()
    rows = find_runs(store, "tiny", role="trial")
    assert [row.state for row in rows] == ["completed", "pruned", "completed", "pruned"]
    assert [row.step for row in rows] == [20, 5, 20, 15]
    assert rows[1].reason == "pruned at step 5 of 20 by median"
    assert rows[3].reason == "pruned at step 15 of 20 by median"
    assert [row.metrics.get("spared") for row in rows] == [
        None,
        None,
        {"step": 5, "why": "control"},
        None,
    ]
    assert "validation" in rows[2].metrics
    (baseline,) = find_runs(store, "tiny", role="baseline")
    assert "spared" not in baseline.metrics
    trials = optuna_study().trials
    assert [trial.user_attrs.get(SPARED) for trial in trials] == [None, None, 5, None]
    assert trials[2].state == TrialState.COMPLETE
    # Whatever later reports say: nobody asks any more.
    assert [step for number, step in asked if number == 2] == [5]
    # What the decision is shown is what the store has.
    entropy, step, max_steps = heard[0]
    assert (step, max_steps) == (5, 20)
    stored = [s for s in load_trace(store, rows[1].id).signals if s.name == "attention_entropy"]
    means = np.mean([signal.values for signal in stored], axis=0)
    assert entropy == pytest.approx(dict(zip(stored[0].steps.tolist(), means, strict=True)))
    found = measure_pruning(newest(rows))
    assert (found.stopped, found.controls, found.ended) == (2, 1, 1)


class AtStep:
    """Somebody who asks a worker to stop once a trial of this number has come so far."""

    def __init__(self, store, trial, step):
        self.store, self.trial, self.step = store, trial, step

    def __bool__(self):
        rows = find_runs(self.store, "tiny", role="trial", trial=self.trial)
        return any(row.step >= self.step for row in rows)


def test_a_control_stays_one_after_a_resume(prepared, store, work, optuna_study, strict):
    prepared(TWENTY, ONE_SEED, ("trials = 3", 'trials = 1\npruner = "median"'))
    asked = strict(0, 1, controls={0})
    work(interruption=AtStep(store, 0, 10))
    work()
    first, second = optuna_study().trials
    assert second.user_attrs[RESUMES] == 0
    assert first.user_attrs[SPARED] == second.user_attrs[SPARED] == 5
    assert asked == [(0, 5)]
    row = newest(find_runs(store, "tiny", role="trial"))[0]
    assert (row.state, row.step, row.metrics["spared"]["step"]) == ("completed", 20, 5)


def test_a_resumed_trial_knows_what_its_attention_did_before(
    prepared, store, work, strict, monkeypatch
):
    prepared(TWENTY, ONE_SEED, ("trials = 3", 'trials = 1\npruner = "median"'))
    strict(1)
    shown = []
    monkeypatch.setattr(watch, "waking", lambda entropy, *_: shown.append(dict(entropy)))
    work(interruption=AtStep(store, 0, 10))
    work()
    assert sorted(shown[0]) == [0, 1, 2, 4, 5, 10, 15]
    row = newest(find_runs(store, "tiny", role="trial"))[0]
    assert row.reason == "pruned at step 15 of 20 by median"
