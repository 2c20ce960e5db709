"""A long evaluation can be left: nothing of it counts, and it is done again, to the same bits."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from tsdiag.training import loop
from tsdiag.training.evaluation import evaluate


class Diary:
    def __init__(self):
        self.evaluated = []

    def after_backward(self, moment):
        pass

    after_update = after_backward

    def after_evaluation(self, moment):
        self.evaluated.append((moment.step, moment.validation_loss, moment.train_loss))


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    """Three batches for the twenty windows of an evaluation, so two pauses."""
    monkeypatch.setattr(loop, "evaluate", partial(evaluate, batch_size=7))


def within(step, state="interrupted", pause=1):
    """Stop at a pause of the evaluation at a step."""
    pauses = []

    def stop(moment):
        if moment.evaluating and moment.step == step:
            pauses.append(moment.evaluated_step)
            return state if len(pauses) >= pause else None
        return None

    return stop


def test_it_is_asked_between_batches_and_not_after_the_last(config, begin):
    asked = []
    begin(config).run(lambda moment: asked.append((moment.step, moment.evaluating)))
    of_evaluations = [step for step, evaluating in asked if evaluating]
    assert of_evaluations == [0, 0, 5, 5, 10, 10, 12, 12]
    assert [step for step, evaluating in asked if not evaluating] == list(range(1, 13))


@pytest.mark.parametrize("pause", [1, 2])
@pytest.mark.parametrize("step", [0, 5, 12])
def test_nothing_of_it_counts_and_it_is_done_again(step, pause, config, begin):
    whole = begin(config, [diary := Diary()])
    before = torch.get_rng_state()
    whole.run()
    torch.set_rng_state(before)
    broken = begin(config, [first := Diary()])
    ending = broken.run(within(step, pause=pause))
    assert (ending.state, ending.progress.step) == ("interrupted", step)
    assert ending.reason == f"interrupted in the evaluation at step {step}"
    assert broken.progress.evaluated_step == broken.moment.evaluated_step < step or step == 0
    assert not broken.moment.evaluating
    assert broken.model.training

    resumed = begin(config, [second := Diary()])
    resumed.resume(broken.checkpoint())
    assert resumed.run().state == "completed"
    # As text: the train loss before the first step is NaN, which equals nothing.
    assert str(first.evaluated + second.evaluated) == str(diary.evaluated)
    assert resumed.checkpoint() == whole.checkpoint()
    # The same process may go on as well.
    if step == 12:
        assert broken.run().state == "completed"
        assert broken.progress.evaluated_step == 12


@pytest.mark.parametrize("step", [5, 12])
def test_the_evaluation_that_is_done_again_is_reported_like_any_other(step, config, begin):
    broken = begin(config)
    broken.run(within(step))
    resumed = begin(config)
    resumed.resume(broken.checkpoint())
    reported = []

    def report(moment):
        if moment.evaluated_step == moment.step and not moment.evaluating:
            reported.append((moment.step, moment.validation_loss))

    resumed.run(report)
    assert [at for at, _ in reported] == [at for at in (5, 10, 12) if at >= step]


def test_a_state_that_ends_the_run_ends_it_there(config, begin):
    ending = begin(config).run(within(10, "timed_out"))
    assert (ending.state, ending.progress.step) == ("timed_out", 10)
    assert ending.progress.best_step <= 5
    assert ending.progress.best_weights
