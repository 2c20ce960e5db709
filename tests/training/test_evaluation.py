"""The metric that everything is judged by: of all windows alike, however they are batched."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tsdiag.training.evaluation import evaluate, evaluating, predict

SIZES = [1, 7, 64, 10_000]


@pytest.fixture(params=["transformer", "lstm"])
def model(request, config, lstm_config, new_model):
    model = new_model({"transformer": config, "lstm": lstm_config}[request.param])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model.train()(torch.randn(32, 12, 10))  # running statistics that are not the first ones
    return model


def slow_loss(model, windows):
    model.eval()
    errors = []
    for index in range(len(windows)):
        inputs, targets = windows.batch(torch.tensor([index]))
        errors += ((model(inputs) - targets).detach().double() ** 2).flatten().tolist()
    return sum(errors) / len(errors)


def test_the_loss_does_not_change_with_the_batch_size(model, dataset):
    windows = dataset.validation  # not a multiple of 7 or 64, so the last batch is partial
    assert len(windows) % 7
    assert len(windows) % 64
    expected = slow_loss(model, windows)
    found = [evaluate(model, windows, size).loss for size in SIZES]
    assert found == pytest.approx([expected] * len(SIZES), rel=1e-6)


def test_predictions_do_not_change_with_the_batch_size(model, dataset):
    found = [predict(model, dataset.validation, size) for size in SIZES]
    assert found[0].shape == (len(dataset.validation), 2, 2)
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-5, atol=1e-6)


def test_the_loss_is_that_of_the_predictions(model, dataset):
    index = torch.arange(len(dataset.validation))
    errors = predict(model, dataset.validation) - dataset.validation.targets_at(index)
    expected = float(errors.double().square().mean())
    assert evaluate(model, dataset.validation).loss == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_leaves_the_model_as_it_was(model, dataset, training):
    model.train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rng = torch.get_rng_state()
    evaluate(model, dataset.validation)
    predict(model, dataset.validation)
    assert all(module.training == training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), rng)


def test_evaluation_keeps_no_gradient_and_recovers_from_an_error(model, dataset):
    assert not predict(model, dataset.validation).requires_grad
    with evaluating(model):
        assert not model.training
    with pytest.raises(ZeroDivisionError), evaluating(model):
        raise ZeroDivisionError
    assert model.training


def test_the_last_windows_need_no_future_to_be_predicted(model, dataset):
    last = torch.tensor([len(dataset.train.inputs) - 1])
    assert predict(model, replace(dataset.test, ends=last)).isfinite().all()
