"""The pruner judges late, protects the good, spares who is on the way, and kills the hopeless."""

import math
import warnings

import numpy as np
import optuna
import pytest
from optuna.pruners import BasePruner
from optuna.trial import TrialState, create_trial

from tsdiag.errors import ConfigError
from tsdiag.search.pruner import (
    MAX_STEPS,
    WARMUP_STEPS,
    WarmupAwarePruner,
    build_pruner,
    why_pruned,
)

STEPS = range(10, 101, 10)
GOOD = [1.0 - 0.05 * i for i in range(1, 11)]


def peer(values, state=TrialState.PRUNED):
    reports = dict(zip(STEPS, values, strict=False))
    value = values[-1] if state == TrialState.COMPLETE else None
    return create_trial(state=state, value=value, intermediate_values=reports)


def study_of(*curves, direction="minimize", pruner=None):
    study = optuna.create_study(direction=direction, pruner=pruner or WarmupAwarePruner())
    for curve in curves:
        study.add_trial(peer(curve))
    return study


def judged(study, values, warmup=0, steps=100):
    """Return the steps at which a trial would be stopped."""
    trial = study.ask()
    trial.set_user_attr(WARMUP_STEPS, warmup)
    trial.set_user_attr(MAX_STEPS, steps)
    stops = []
    for step, value in zip(STEPS, values, strict=False):
        trial.report(value, step)
        if trial.should_prune():
            stops.append(step)
    return stops


FLAT = [1.0] * 10
PEERS = [[value + 0.01 * i for value in GOOD] for i in range(8)]


def test_a_hopeless_flat_trial_is_stopped_after_the_margin():
    assert judged(study_of(*PEERS), FLAT)[0] == 20


@pytest.mark.parametrize("warmup", [0, 10, 30])
def test_nobody_is_judged_before_the_own_warmup_and_the_margin(warmup):
    stops = judged(study_of(*PEERS), FLAT, warmup=warmup)
    assert stops[0] == 20 + warmup


def test_the_margin_is_a_share_of_all_steps():
    study = study_of(*PEERS, pruner=WarmupAwarePruner(margin=0.5))
    assert judged(study, FLAT)[0] == 50


def test_with_few_peers_nobody_is_stopped():
    assert judged(study_of(*PEERS[:4]), FLAT) == []
    assert judged(study_of(*PEERS[:5]), FLAT) != []


def test_running_peers_do_not_count():
    study = study_of(*PEERS[:4])
    for _ in range(4):
        other = study.ask()
        for step, value in zip(STEPS, GOOD, strict=True):
            other.report(value, step)
    assert judged(study, FLAT) == []


def test_peers_that_ended_earlier_count_with_what_they_had():
    short = [curve[:2] for curve in PEERS]
    assert 50 in judged(study_of(*short), FLAT)


def test_a_peer_that_finished_with_fewer_steps_was_not_measured_here():
    study = study_of()
    for curve in PEERS:
        study.add_trial(peer(curve[:3], TrialState.COMPLETE))
    assert judged(study, FLAT) == [20, 30]


def test_the_best_tenth_is_never_stopped():
    # Better at its best than nearly all others, and getting worse since.
    bounced = [0.2, 0.3, 0.5, 0.7, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4]
    assert judged(study_of(*PEERS), bounced) == []


def test_a_trial_better_than_the_median_is_never_stopped():
    assert judged(study_of(*PEERS), [value + 0.03 for value in GOOD]) == []


def test_a_late_bloomer_is_spared_while_its_pace_would_carry_it_there():
    late = [1.0, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.45, 0.42, 0.4]
    stops = judged(study_of(*PEERS), late, warmup=10)
    assert stops == []


def test_a_trial_too_slow_to_arrive_is_stopped():
    slow = [1.0 - 0.001 * i for i in range(10)]
    assert judged(study_of(*PEERS), slow)[0] == 20


def test_maximising_is_the_mirror_image():
    mirrored = [[-value for value in curve] for curve in PEERS]
    curves = [FLAT, GOOD, [1.0, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.45, 0.42, 0.4]]
    for curve in curves:
        negative = [-value for value in curve]
        maximised = judged(study_of(*mirrored, direction="maximize"), negative)
        assert maximised == judged(study_of(*PEERS), curve)


def test_nan_is_stopped_and_does_not_count_as_a_peer():
    assert judged(study_of(*PEERS), [math.nan] * 10)[0] == 20
    assert judged(study_of(*[[math.nan] * 10] * 8), FLAT) == []
    assert judged(study_of(*PEERS, *[[math.nan] * 10] * 20), GOOD) == []


def test_a_good_trial_survives_one_nan():
    assert judged(study_of(*PEERS), [*GOOD[:4], math.nan, *GOOD[5:]]) == []


def test_steps_off_the_grid_are_judged_too():
    study = study_of(*PEERS)
    trial = study.ask()
    trial.set_user_attr(MAX_STEPS, 100)
    trial.report(1.0, 7)
    assert not trial.should_prune()
    trial.report(1.0, 47)
    assert trial.should_prune()


def test_without_attributes_or_reports():
    study = study_of(*PEERS)
    trial = study.ask()
    assert not trial.should_prune()
    for step in STEPS:
        trial.report(2.0, step)
    assert trial.should_prune()


def test_the_contract_of_a_pruner():
    """Judging changes neither trial nor study, and the trial may be a frozen copy."""
    study = study_of(*PEERS)
    trial = study.ask()
    trial.set_user_attr(MAX_STEPS, 100)
    for step in STEPS:
        trial.report(1.0, step)
    frozen = study.trials[trial.number]
    before = [(t.state, dict(t.intermediate_values)) for t in study.trials]
    first, second = (study.pruner.prune(study, frozen) for _ in range(2))
    assert isinstance(first, bool)
    assert first is second is True
    assert before == [(t.state, dict(t.intermediate_values)) for t in study.trials]


def stopped(study, values):
    """Return a trial that has just been stopped, at the second of its reports."""
    trial = study.ask()
    trial.set_user_attr(MAX_STEPS, 100)
    for step, value in zip(STEPS, values, strict=False):
        trial.report(value, step)
    return trial


@pytest.mark.parametrize(("direction", "sign"), [("minimize", 1), ("maximize", -1)])
def test_why_a_trial_was_stopped_in_words(direction, sign):
    study = study_of(*[[sign * v for v in curve] for curve in PEERS], direction=direction)
    minus = "-" if sign < 0 else ""
    assert why_pruned(stopped(study, [sign * 1.0] * 2), "warmup-aware") == (
        f"pruned at step 20 of 100: its best loss {minus}1 is worse than the median {minus}0.935 "
        "of 8 trials at that step, and at its pace would still be"
    )
    without = why_pruned(stopped(study, [math.nan] * 2), "warmup-aware")
    assert without == "pruned at step 20 of 100: it has had no finite loss"


def test_other_pruners_and_changed_minds_are_told_by_name():
    study = study_of(*PEERS, pruner=build_pruner("median"))
    assert why_pruned(stopped(study, FLAT[:2]), "median") == "pruned at step 20 of 100 by median"
    better = stopped(study_of(*PEERS), GOOD[:2])
    assert why_pruned(better, "warmup-aware") == "pruned at step 20 of 100 by warmup-aware"


@pytest.mark.parametrize(
    "arguments",
    [{"n_startup_trials": 0}, {"margin": 1.0}, {"margin": -0.1}, {"protected": 1}, {"pace": 0}],
)
def test_arguments_that_mean_nothing_are_refused(arguments):
    with pytest.raises(ConfigError, match="WarmupAwarePruner"):
        WarmupAwarePruner(**arguments)


OPTUNA = {
    "none": "NopPruner",
    "median": "MedianPruner",
    "percentile": "PercentilePruner",
    "successive-halving": "SuccessiveHalvingPruner",
    "hyperband": "HyperbandPruner",
    "wilcoxon": "WilcoxonPruner",
    "patient": "PatientPruner",
    "warmup-aware": "WarmupAwarePruner",
}


@pytest.mark.parametrize("name", OPTUNA)
def test_pruners_by_name(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pruner = build_pruner(name)
    assert isinstance(pruner, BasePruner)
    assert type(pruner).__name__ == OPTUNA[name]
    study = study_of(*PEERS, pruner=pruner)
    trial = study.ask()
    for step in STEPS:
        trial.report(0.5, step)
        assert trial.should_prune() in (True, False)


def test_all_of_optunas_pruners_have_a_name():
    # A threshold means nothing without a loss to name.
    there = set(optuna.pruners.__all__) - {"BasePruner", "ThresholdPruner"}
    assert there <= set(OPTUNA.values())


def test_an_unknown_pruner_is_refused_with_the_closest():
    with pytest.raises(ConfigError, match='did you mean "median"'):
        build_pruner("medain")


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_what_is_remembered_of_peers_is_what_their_reports_say(direction):
    rng = np.random.default_rng(0)
    study = study_of(direction=direction)
    sign = 1 if direction == "minimize" else -1
    for number in range(60):
        values = rng.choice([*rng.normal(size=8), math.nan, math.inf], rng.integers(0, 11))
        complete = number % 3 == 0 and len(values) > 0 and math.isfinite(values[-1])
        study.add_trial(peer(list(values), *([TrialState.COMPLETE] if complete else [])))
        for step in (0, 15, 50, 100):  # anew after each, since trials end one by one
            found = study.pruner._peer_values(study, 7, step, sign)
            assert sorted(found) == sorted(told_anew(study.trials, 7, step, sign))


def told_anew(trials, number, step, sign):
    """Return the best values of peers by going through all reports."""
    best = []
    for trial in trials:
        reports = trial.intermediate_values
        if trial.number == number or not reports:
            continue
        if trial.state == TrialState.COMPLETE and max(reports) < step:
            continue
        best += [
            min(
                (sign * v for s, v in reports.items() if s <= step and math.isfinite(v)),
                default=math.inf,
            )
        ]
    return [value for value in best if math.isfinite(value)]
