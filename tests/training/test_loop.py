"""How a training goes from step to step, what it shows, and how it ends."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tsdiag.training.evaluation import evaluate
from tsdiag.training.schedule import learning_rate


class Diary:
    """Writes down every hook with what it was shown."""

    def __init__(self):
        self.entries = []

    def after_backward(self, moment):
        batch = (moment.inputs.clone(), moment.targets.clone())
        self._note("backward", moment, batch=batch, grad=has_gradient(moment.model))

    def after_update(self, moment):
        self._note("update", moment)

    def after_evaluation(self, moment):
        self._note("evaluation", moment)

    def _note(self, hook, moment, **more):
        values = {k: v for k, v in vars(moment).items() if isinstance(v, int | float)}
        mode = moment.model.training
        weights = {k: v.clone() for k, v in moment.model.state_dict().items()}
        self.entries.append({"hook": hook, "training": mode, "weights": weights, **values, **more})

    def of(self, hook):
        return [entry for entry in self.entries if entry["hook"] == hook]


def has_gradient(model):
    return all(p.grad is not None for p in model.parameters())


def at(step, state="interrupted"):
    return lambda moment: state if moment.step == step else None


@pytest.fixture
def diary():
    return Diary()


def test_hooks_come_in_the_promised_order(config, begin, diary):
    begin(config, [diary]).run()
    steps = [(entry["hook"], entry["step"]) for entry in diary.entries]
    expected = [("evaluation", 0)]
    for step in range(12):
        expected += [("backward", step), ("update", step + 1)]
        expected += [("evaluation", step + 1)] * (step + 1 in (5, 10, 12))
    assert steps == expected
    assert all(entry["training"] for entry in diary.entries)


def test_hooks_see_the_promised_values(config, begin, diary):
    training = begin(config, [diary])
    training.run()
    for backward, update in zip(diary.of("backward"), diary.of("update"), strict=True):
        step = backward["step"]
        inputs, targets = training.feed.batch(step)
        assert torch.equal(backward["batch"][0], inputs)
        assert torch.equal(backward["batch"][1], targets)
        assert backward["grad"]
        assert backward["learning_rate"] == learning_rate(config.optimizer, step, 12)
        assert backward["train_loss"] == update["train_loss"]
        assert any(
            not torch.equal(backward["weights"][name], value)
            for name, value in update["weights"].items()
        )
    seen = [entry["evaluated_step"] for entry in diary.entries]
    assert seen == sorted(seen)


def test_evaluations_are_those_of_the_model_then(config, begin, dataset, diary, new_model):
    begin(config, [diary]).run()
    windows, best = dataset.validation.every(20), math.inf
    for entry in diary.of("evaluation"):
        model = new_model(config)
        model.load_state_dict(entry["weights"])
        best = min(best, entry["validation_loss"])
        assert entry["validation_loss"] == evaluate(model, windows).loss
        assert entry["evaluated_step"] == entry["step"]
        assert entry["best_validation_loss"] == best


def test_only_the_chosen_validation_windows_count(config, begin, dataset, diary):
    begin(config.edit("training.validation_windows", 0), [diary]).run(at(1))
    all_of_them = diary.of("evaluation")[0]["validation_loss"]
    begin(config, [diary]).run(at(1))
    assert diary.of("evaluation")[1]["validation_loss"] != all_of_them
    assert len(dataset.validation) > 20


def test_the_train_loss_is_that_of_the_batch_without_penalty(lstm_config, begin, diary, new_model):
    plain = lstm_config.edits({"model.dropout": 0.0, "model.dense_l1": 1.0})
    begin(plain, [diary]).run(at(1))
    entry = diary.of("backward")[0]
    inputs, targets = entry["batch"]
    error = (new_model(plain)(inputs) - targets).square().mean().item()
    assert entry["train_loss"] == pytest.approx(error, rel=1e-5)


def test_the_best_weights_are_kept_and_not_the_last(config, begin, diary):
    jumpy = {"name": "sgd", "lr": 0.6, "schedule": "constant", "warmup_fraction": 0.0}
    changes = {f"optimizer.{name}": value for name, value in jumpy.items()}
    ending = begin(config.edits({**changes, "model.dropout": 0.0}), [diary]).run()
    evaluations = diary.of("evaluation")
    best = min(evaluations, key=lambda entry: entry["validation_loss"])
    progress = ending.progress
    assert (progress.best_step, progress.best_validation_loss) == (
        best["step"],
        best["validation_loss"],
    )
    assert progress.last_validation_loss == evaluations[-1]["validation_loss"]
    assert 0 < progress.best_step < progress.step
    assert all(torch.equal(progress.best_weights[k], v) for k, v in best["weights"].items())


def test_batch_norm_statistics_belong_to_the_best_weights(lstm_config, begin):
    progress = begin(lstm_config).run().progress
    kept = progress.best_weights["norm.num_batches_tracked"]
    assert int(kept) == progress.best_step


def test_a_stop_ends_the_run_with_its_state(config, begin, diary):
    training = begin(config, [diary])
    ending = training.run(at(3, "timed_out"))
    assert (ending.state, ending.reason) == ("timed_out", "timed_out at step 3")
    assert training.progress.step == 3
    assert diary.entries[-1]["hook"] == "update"
    assert training.run().state == "completed"


def test_a_stop_is_asked_after_every_step_and_after_its_evaluation(config, begin):
    asked = []
    begin(config).run(lambda moment: asked.append((moment.step, moment.evaluated_step)))
    grid = {5: 5, 10: 10, 12: 12}
    last = 0
    for step, evaluated in asked:
        last = grid.get(step, last)
        assert evaluated == last
    assert [step for step, _ in asked] == list(range(1, 13))


def test_lost_patience_ends_the_run(config, begin, diary):
    hopeless = config.edits({"optimizer.lr": 1e-30, "optimizer.warmup_fraction": 0.0})
    hopeless = hopeless.edits({"training.evaluate_every": 2, "training.patience": 3})
    ending = begin(hopeless, [diary]).run()
    assert (ending.state, ending.reason) == ("early_stopped", "no gain in 3 evaluations")
    assert ending.progress.step == 6
    assert begin(hopeless.edit("training.patience", 0)).run().state == "completed"


def test_a_gain_renews_the_patience(config, begin, diary):
    ending = begin(config.edits({"training.patience": 1, "optimizer.lr": 1e-3}), [diary]).run()
    losses = [entry["validation_loss"] for entry in diary.of("evaluation")]
    assert losses == sorted(losses, reverse=True)
    assert ending.state == "completed"


class Broken(nn.Module):
    """A model whose output, or whose gradient alone, is not finite from some step on."""

    def __init__(self, step, output=math.nan, only_evaluation=False):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 2))
        self.calls, self.step, self.output = 0, step, output
        self.only_evaluation = only_evaluation

    def forward(self, window):
        given = window[:, -2:, :2] * self.weight
        if self.training:
            self.calls += 1
        if self.training == self.only_evaluation or self.calls <= self.step:
            return given
        return given * self.output


@pytest.mark.parametrize("output", [math.nan, math.inf, 1e30])
@pytest.mark.parametrize("step", [0, 3])
def test_a_loss_that_is_not_finite_ends_the_run(config, begin, diary, step, output):
    ending = begin(config, [diary], Broken(step, output)).run()
    assert ending.state == "diverged"
    assert ending.reason.startswith(f"non-finite at step {step}: train loss ")
    assert ending.progress.step == step
    last = diary.entries[-1]
    assert last["hook"] == "backward"
    assert not math.isfinite(last["train_loss"] + last["gradient_norm"])
    assert math.isfinite(ending.progress.best_validation_loss)
    assert all(value.isfinite().all() for value in last["weights"].values())


class Steep(nn.Module):
    """A finite loss with an infinite gradient: the square root at zero."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 2))

    def forward(self, window):
        return window[:, -2:, :2] + self.weight.sqrt()


def test_a_gradient_that_is_not_finite_ends_the_run(config, begin):
    ending = begin(config, model=Steep()).run()
    assert ending.state == "diverged"
    assert "gradient norm inf" in ending.reason or "gradient norm nan" in ending.reason


@pytest.mark.parametrize(("step", "told"), [(1, 5), (7, 10), (11, 12)])
def test_validation_alone_can_diverge(config, begin, diary, step, told):
    ending = begin(config, [diary], Broken(step, only_evaluation=True)).run()
    assert ending.state == "diverged"
    assert ending.reason.startswith(f"non-finite at step {told}: ")
    assert ending.reason.endswith("validation loss nan")
    assert math.isnan(diary.of("evaluation")[-1]["validation_loss"])
    assert math.isfinite(ending.progress.best_validation_loss)


def test_a_model_that_begins_non_finite_trains_no_step(config, begin, diary):
    ending = begin(config, [diary], Broken(-1, only_evaluation=True)).run()
    assert (ending.state, ending.progress.step) == ("diverged", 0)
    assert [entry["hook"] for entry in diary.entries] == ["evaluation"]
    assert ending.progress.best_weights == {}
