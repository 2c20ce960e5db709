"""One batch by heart: architectures that can, a run that cannot, and Adam written out."""

import numpy as np
import pytest
import torch

from tsdiag.config import DataConfig, GeneratorConfig, ModelConfig, OptimizerConfig, RunConfig
from tsdiag.data.dataset import load_dataset
from tsdiag.diagnostics.probes import overfit
from tsdiag.diagnostics.probes.overfit import OVERFIT, race, training_losses, unhindered
from tsdiag.diagnostics.probes.probe import Specimen
from tsdiag.diagnostics.probes.sample import spaced
from tsdiag.models import Shapes, build, complete

DATA = DataConfig(
    generate=GeneratorConfig(kind="lag", rows=300, channels=10),
    transform="difference",
    context_length=12,
)
TINY = {"d_model": 16, "n_layers": 1, "n_heads": 2, "head_dim": 8, "ff_dim": 32, "patch_length": 4}
HELD_BACK = {"dropout": 0.5, "attention_dropout": 0.5, "attention_dropout_kind": "key"}


@pytest.fixture(scope="module")
def dataset():
    return load_dataset(DATA)


def configure(kind="transformer", optimizer=None, **model):
    tiny = TINY if kind == "transformer" else {}
    return complete(
        RunConfig(
            data=DATA,
            model=ModelConfig(kind=kind, **{**tiny, **model}),
            optimizer=OptimizerConfig(**(optimizer or {})),
        )
    )


def new_model(config, dataset):
    shapes = Shapes(12, dataset.train.n_channels)
    return build(config, shapes, torch.Generator().manual_seed(config.seed))


def measure(config, dataset, train=None):
    specimen = Specimen(
        new_model(config, dataset), config, train or dataset.train, dataset.validation
    )
    return {reading.name: reading.value for reading in OVERFIT.measure(specimen)}


@pytest.mark.parametrize("config", [configure(**HELD_BACK), configure("lstm", dropout=0.4)])
def test_healthy_models_learn_a_batch(config, dataset):
    found = measure(config, dataset)
    assert 0 < found["one_batch_loss_share"] < 0.05
    assert 1 <= found["one_batch_steps"] <= 300


@pytest.mark.parametrize("rate", [1e-9, 10.0])
def test_the_configured_rate_is_not_what_is_judged(rate, dataset):
    found = measure(configure(optimizer={"lr": rate}), dataset)
    assert found["one_batch_loss_share"] < 0.05
    assert found["one_batch_rate"] in (1e-3, 3e-3)


def test_what_is_frozen_cannot_learn(dataset):
    kept = ("embedding", "positions", "blocks", "final_norm", "head.projection.weight")
    found = measure(configure(optimizer={"frozen": kept}), dataset)
    assert found["one_batch_loss_share"] > 0.5


def test_steps_are_bounded(dataset, monkeypatch):
    updates = []
    step = torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: (updates.append(1), step(self))[1])
    monkeypatch.setattr(overfit, "MOST_STEPS", 40)
    monkeypatch.setattr(overfit, "RACE_STEPS", 5)
    kept = ("embedding", "positions", "blocks", "final_norm", "head.projection.weight")
    measure(configure(optimizer={"frozen": kept, "lr": 1e-2}), dataset)
    assert len(updates) == 40


@pytest.mark.parametrize("share", [0.9, 0.05])  # reached within the race, and after it
def test_no_step_is_taken_once_the_batch_is_learned(share, dataset):
    inputs, targets = spaced(dataset.train, 64)
    enough = share * float(targets.var(correction=0))
    rate, losses = race(unhindered(configure(optimizer={"lr": 1e-3})), inputs, targets, enough)
    assert losses[-1] < enough <= min(losses[:-1])
    assert rate in (1e-3, 3e-3)


def test_a_constant_target_cannot_be_learned_by_heart(dataset):
    from dataclasses import replace

    level = torch.ones_like(dataset.train.levels)
    assert measure(configure(), dataset, replace(dataset.train, levels=level)) == {}


def test_nothing_holds_back():
    found = unhindered(configure(**HELD_BACK, optimizer={"name": "sgd", "weight_decay": 0.3}))
    assert found.get("model.dropout") == found.get("model.attention_dropout") == 0
    assert found.get("optimizer.weight_decay") == 0
    assert found.get("optimizer.name") == "adam"


def test_against_adam_written_out(dataset):
    config = unhindered(configure(optimizer={"lr": 3e-3}))
    inputs, targets = spaced(dataset.train, 64)
    losses = training_losses(config, inputs, targets)
    found = [next(losses) for _ in range(15)]
    model = new_model(config, dataset)
    first = [torch.zeros_like(p) for p in model.parameters()]
    second = [torch.zeros_like(p) for p in model.parameters()]
    expected = []
    for count in range(1, 16):
        loss = ((model(inputs) - targets) ** 2).mean()
        expected.append(loss.item())
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for p, g, m, v in zip(model.parameters(), gradients, first, second, strict=True):
                m.copy_(0.9 * m + 0.1 * g)
                v.copy_(0.999 * v + 0.001 * g**2)
                size = (v / (1 - 0.999**count)).sqrt() + 1e-8
                p -= 3e-3 * m / (1 - 0.9**count) / size
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    assert found[-1] < found[0]
