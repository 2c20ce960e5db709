"""How often a pruner stops the eventual best of a study, replayed over synthetic learning curves.

Four families, as seen in small transformers: fast ones; slow starters, whose longer warmup is
followed by a late bloom to the lowest losses; flat ones that never learn; and ones that diverge.
"""

import dataclasses
import math

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from tsdiag.search.outcome import BAD_VALUE
from tsdiag.search.pruner import MAX_STEPS, WARMUP_STEPS, WarmupAwarePruner

STEPS, EVERY, TRIALS, ORDERS = 1000, 50, 36, 40
GRID = np.arange(EVERY, STEPS + 1, EVERY)


@dataclasses.dataclass(frozen=True)
class Curve:
    warmup: int
    losses: np.ndarray


def curve(family, rng):
    """Return one learning curve; the loss of a model that knows nothing is 1."""
    noise = 0.01 * rng.standard_normal(len(GRID))
    if family == "fast":
        warmup, end, scale = 0.05 * STEPS, rng.uniform(0.45, 0.8), rng.uniform(80, 250)
        shape = np.exp(-np.maximum(0, GRID - warmup) / scale)
    elif family == "slow":
        warmup, end = rng.uniform(0.2, 0.3) * STEPS, rng.uniform(0.3, 0.6)
        wakes, width = warmup + rng.uniform(0.0, 0.15) * STEPS, rng.uniform(60, 120)
        shape = 1 / (1 + np.exp((GRID - wakes - 2 * width) / width))
    elif family == "flat":
        warmup, end, shape = 0.1 * STEPS, rng.uniform(0.95, 1.0), np.exp(-GRID / 200)
    else:
        warmup, end, shape = 0.02 * STEPS, 0.9, np.exp(-GRID / 200)
        noise = noise + 0.002 * np.exp(GRID / rng.uniform(60, 150))
    losses = end + (1 - end) * shape + noise
    return Curve(int(warmup), np.where(losses > 5, math.inf, losses))


def curves(seed):
    rng = np.random.default_rng(seed)
    families = rng.choice(["fast", "slow", "flat", "diverging"], TRIALS, p=[0.4, 0.25, 0.2, 0.15])
    return [curve(family, rng) for family in families]


def replay(pruner, study_curves):
    """Run a study over recorded curves; return which were stopped and the share of steps spent."""
    study = optuna.create_study(pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=0))
    stopped, spent = [], 0
    for number, found in enumerate(study_curves):
        trial = study.ask()
        trial.set_user_attr(WARMUP_STEPS, found.warmup)
        trial.set_user_attr(MAX_STEPS, STEPS)
        steps = run(trial, found)
        spent += steps
        if steps < STEPS:
            stopped.append(number)
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, float(min(found.losses)))
    return stopped, spent / (STEPS * len(study_curves))


def run(trial, found):
    for step, loss in zip(GRID.tolist(), found.losses.tolist(), strict=True):
        if not math.isfinite(loss):
            trial.report(BAD_VALUE, STEPS)
            return step
        trial.report(loss, step)
        if step < STEPS and trial.should_prune():
            return step
    return STEPS


def figures(make):
    """Return how often the eventual best was stopped, of the best tenth too, and steps spent."""
    best_lost, tenth_lost, spent = [], [], []
    for seed in range(ORDERS):
        recorded = curves(seed)
        order = np.argsort([min(found.losses) for found in recorded])
        stopped, share = replay(make(), recorded)
        best_lost.append(order[0] in stopped)
        tenth_lost.append(np.mean([number in stopped for number in order[: TRIALS // 10]]))
        spent.append(share)
    return [float(np.mean(values)) for values in (best_lost, tenth_lost, spent)]


@pytest.fixture(scope="module")
def measured():
    pruners = {
        "warmup-aware": WarmupAwarePruner,
        "median": optuna.pruners.MedianPruner,
        "none": optuna.pruners.NopPruner,
    }
    found = {name: figures(make) for name, make in pruners.items()}
    for name, values in found.items():
        print(f"{name}: best lost %.2f, best tenth lost %.2f, steps spent %.2f" % tuple(values))
    return found


def test_the_eventual_best_survives(measured):
    ours, median = measured["warmup-aware"], measured["median"]
    assert ours[0] <= 0.1 * median[0]
    assert ours[1] <= 0.25 * median[1]


def test_the_median_pruner_is_a_fair_opponent(measured):
    assert measured["median"][0] > 0.3
    assert measured["none"][:2] == [0, 0]


def test_compute_is_saved(measured):
    assert measured["warmup-aware"][2] < 0.85 * measured["none"][2]
