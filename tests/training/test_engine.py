"""Micro-batches: the gradient and the loss are the whole batch's, in however many parts."""

from __future__ import annotations

import pytest
import torch

from tsdiag.config import TrainingConfig
from tsdiag.errors import ConfigError
from tsdiag.training.engine import build_engine, normalises_batches

STILL = {"model.dropout": 0.0}


@pytest.fixture(params=["transformer", "lstm"])
def still(request, config, lstm_config):
    """A configuration whose windows do not depend on each other, and whose weights cost."""
    lstm = lstm_config.edits({"model.batch_norm": False, "model.dense_l2": 0.5, **STILL})
    return {"transformer": config.edits(STILL), "lstm": lstm}[request.param]


def gradients(model, windows, targets, size):
    """Return loss and gradients in float64, where parts add up but for the last digits."""
    model.zero_grad()
    engine = build_engine(model, TrainingConfig(micro_batch=size), windows)
    loss = engine.backward(windows, targets, getattr(model, "penalty", None))
    return float(loss), [p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("size", [1, 3, 8, 15, 16, 99])
def test_parts_add_up_to_the_whole(size, still, new_model, dataset):
    model = new_model(still).double()
    inputs, targets = (part.double() for part in dataset.train.batch(torch.arange(16)))
    # The slow way: one graph of the whole batch.
    model.zero_grad()
    error = (model(inputs) - targets).square().mean()
    penalty = model.penalty() if hasattr(model, "penalty") else 0.0
    (error + penalty).backward()
    expected = [p.grad.clone() for p in model.parameters()]
    loss, found = gradients(model, inputs, targets, size)
    assert loss == pytest.approx(float(error.detach()), rel=1e-12)
    for name, a, b in zip(dict(model.named_parameters()), expected, found, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("name", ["adamw", "sam"])
def test_a_run_in_parts_is_a_run(name, still, begin):
    losses = []
    for size in (0, 5):
        training = begin(still.edits({"optimizer.name": name, "training.micro_batch": size}))
        assert training.run().state == "completed"
        losses.append((training.moment.train_loss, training.progress.last_validation_loss))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_the_precision_is_kept_in_parts(still, begin):
    changes = {"training.micro_batch": 5, "training.precision": "bfloat16"}
    assert begin(still.edits(changes)).run().state == "completed"


def test_batch_normalisation_refuses_parts(lstm_config, begin):
    parts = lstm_config.edit("training.micro_batch", 8)
    with pytest.raises(ConfigError, match=r"micro_batch = 8 .*batch of 16 .*micro_batch = 0"):
        begin(parts)
    # As large as the batch: there is one part, so nothing changes.
    assert begin(lstm_config.edit("training.micro_batch", 16)).run().state == "completed"


def test_what_depends_on_the_batch_is_known(config, lstm_config, new_model):
    assert normalises_batches(new_model(lstm_config))
    assert not normalises_batches(new_model(lstm_config.edit("model.batch_norm", False)))
    assert not normalises_batches(new_model(config))


def test_a_graph_of_parts_is_refused(config):
    with pytest.raises(ConfigError, match="set micro_batch = 0"):
        config.edits({"training.micro_batch": 4, "training.cuda_graph": True})
