"""bfloat16 is for the model's products alone: all that lasts, and all that is told, is float32."""

from __future__ import annotations

import pytest
import torch

from tsdiag.training.checkpoint import unpack
from tsdiag.training.evaluation import evaluate, predict
from tsdiag.training.precision import in_precision, supports_bfloat16

KINDS = ["transformer", "lstm"]


@pytest.fixture(params=KINDS)
def mixed(request, config, lstm_config):
    chosen = {"transformer": config, "lstm": lstm_config}[request.param]
    return chosen.edit("training.precision", "bfloat16")


def test_it_trains_like_float32_but_not_to_the_bit(mixed, begin):
    losses = []
    for precision in ("float32", "bfloat16"):
        training = begin(mixed.edit("training.precision", precision))
        assert training.run().state == "completed"
        losses.append(training.progress.last_validation_loss)
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_everything_that_is_kept_is_float32(mixed, begin):
    training = begin(mixed)
    training.run()
    kept = [*training.model.state_dict().values(), *training.progress.best_weights.values()]
    kept += unpack(training.checkpoint())[0].values()
    kept += [p.grad for p in training.model.parameters()]
    floats = {tensor.dtype for tensor in kept if tensor.is_floating_point()}
    assert floats == {torch.float32}


def test_the_loss_is_that_of_predictions_as_they_are(mixed, begin, dataset):
    """Rounded products, but a loss in float32: its targets are not rounded."""
    training = begin(mixed)
    training.run()
    found = training.moment.evaluation
    assert found.predictions.dtype == found.targets.dtype == torch.float32
    windows = training.validation
    expected = windows.targets_at(torch.arange(len(windows)))
    assert torch.equal(found.targets, expected)
    again = float((found.predictions - expected).double().square().mean())
    assert found.loss == training.progress.last_validation_loss == pytest.approx(again, rel=1e-9)


def test_validation_is_measured_in_it_and_predictions_are_not(mixed, begin):
    training = begin(mixed)
    training.run()
    model, windows = training.model, training.validation
    measured = training.moment.evaluation.predictions
    assert torch.equal(measured, predict(model, windows, precision="bfloat16"))
    plain = predict(model, windows)
    assert torch.equal(plain, evaluate(model, windows).predictions)
    assert not torch.equal(plain, measured)
    torch.testing.assert_close(plain, measured, rtol=0.1, atol=0.1)


def test_equal_runs_are_equal_in_it_too(mixed, begin):
    states = []
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            training = begin(mixed)
            training.run()
            states.append(training.checkpoint())
    assert states[0] == states[1]


def test_float32_is_the_model_itself(config, new_model):
    model = new_model(config)
    assert in_precision(model, "float32") is model


@pytest.mark.parametrize(
    ("tiles", "dots", "expected"),
    [(False, False, False), (True, False, True), (False, True, True)],
)
def test_a_processor_is_asked_for_both_kinds_of_units(tiles, dots, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: dots)
    assert supports_bfloat16(torch.device("cpu")) is expected
