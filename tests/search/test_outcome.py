"""However a trial ends, the sampler learns from it."""

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from tsdiag.search.outcome import BAD_VALUE, tell_outcome
from tsdiag.store.runs import RunRow


def row(state, **columns):
    return RunRow("s", "trial", "{}", max_steps=10, state=state, **columns)


@pytest.fixture
def study():
    return optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, multivariate=True))


def ended(study, ending, *reports):
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    for step, value in reports:
        trial.report(value, step)
    tell_outcome(study, trial.number, ending)
    return study.trials[trial.number]


def test_a_finished_trial_has_its_best_loss(study):
    trial = ended(study, row("completed", validation_loss=0.5), (5, 0.5), (10, 0.6))
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.5)
    trial = ended(study, row("early_stopped", validation_loss=0.4), (5, 0.4))
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.4)


@pytest.mark.parametrize("state", ["pruned", "timed_out"])
def test_a_stopped_trial_has_what_it_reached(study, state):
    trial = ended(study, row(state, validation_loss=0.5), (5, 0.5))
    assert (trial.state, trial.value) == (TrialState.PRUNED, 0.5)
    assert trial.constraints == {}


@pytest.mark.parametrize("state", ["diverged", "pruned", "timed_out", "infeasible"])
def test_a_trial_without_a_loss_is_bad_but_finite(study, state):
    trial = ended(study, row(state))
    assert (trial.state, trial.value) == (TrialState.PRUNED, BAD_VALUE)
    assert trial.constraints == {state: 1.0}


@pytest.mark.parametrize("last", [5, 10])
def test_a_diverged_trial_is_bad_although_it_had_been_good(study, last):
    trial = ended(study, row("diverged", validation_loss=0.1), (last, 0.1))
    assert trial.state == TrialState.PRUNED
    assert trial.constraints == {"diverged": 1.0}
    assert np.isfinite(trial.value)


def test_an_oversized_trial_says_by_how_much(study):
    refused = row("infeasible", metrics={"constraints": {"memory": 2.5}})
    assert ended(study, refused).constraints == {"memory": 2.5}


def test_a_failed_trial_fails(study):
    assert ended(study, row("failed")).state == TrialState.FAIL


def test_telling_twice_does_no_harm(study):
    for ending in (row("diverged"), row("completed", validation_loss=0.5), row("failed")):
        trial = ended(study, ending)
        for again in (row("diverged"), row("completed", validation_loss=0.1), row("failed")):
            tell_outcome(study, trial.number, again)
        after = study.trials[trial.number]
        assert (after.state, after.values) == (trial.state, trial.values)


def test_the_sampler_leaves_the_region_that_diverges(study):
    """With FAIL instead, TPE would go on drawing there (Optuna does not show it failed trials)."""
    drawn = []
    for _ in range(60):
        trial = study.ask()
        x = trial.suggest_float("x", 0, 1)
        drawn.append(x)
        # The loss falls towards the edge behind which everything diverges.
        ending = row("diverged") if x > 0.4 else row("completed", validation_loss=1 - x)
        tell_outcome(study, trial.number, ending)
    assert np.mean(np.array(drawn[20:]) > 0.4) < 0.5
