"""What every architecture and preset owes to the training loop."""

import pytest
import torch

from tsdiag.config import RunConfig
from tsdiag.models import MODELS, Shapes, build, complete, preset

SHAPES = Shapes(context_length=12, channels=5, prediction_length=3, targets=2)
NAMED = [(found.kind, name) for found in MODELS for name in found.presets]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def windows(batch=6, seed=1):
    return torch.randn(batch, SHAPES.context_length, SHAPES.channels, generator=seeded(seed))


@pytest.fixture(params=NAMED, ids=["-".join(pair) for pair in NAMED])
def config(request):
    return preset(RunConfig(), *request.param)


def test_predicts_every_horizon_and_target(config):
    predicted = build(config, SHAPES, seeded())(windows())
    assert predicted.shape == (6, 3, 2)
    assert predicted.isfinite().all()


def test_equal_generators_give_equal_weights_whatever_the_global_state(config):
    torch.manual_seed(1)
    first = build(config, SHAPES, seeded()).state_dict()
    torch.manual_seed(2)
    second = build(config, SHAPES, seeded()).state_dict()
    other = build(config, SHAPES, seeded(7)).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_building_and_evaluating_leave_the_global_generator_alone(config):
    before = torch.get_rng_state()
    model = build(config, SHAPES, seeded()).eval()
    once, again = model(windows()), model(windows())
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(once, again)


def test_windows_of_a_batch_do_not_influence_each_other(config):
    model = build(config, SHAPES, seeded()).eval()
    batch = windows()
    alone = torch.cat([model(window[None]) for window in batch])
    torch.testing.assert_close(model(batch), alone, rtol=1e-4, atol=1e-5)


def test_gradients_reach_every_parameter(config):
    model = build(config, SHAPES, seeded())
    model(windows()).square().mean().backward()
    silent = [name for name, value in model.named_parameters() if not value.grad.any()]
    # The softmax does not see what all scores of a query have in common.
    assert all(name.endswith("attention.key.bias") for name in silent)


def test_overfits_one_batch(config):
    model = build(config, SHAPES, seeded())
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout_kind"):
            module.dropout = 0.0
    batch = windows(8)
    targets = torch.randn(8, 3, 2, generator=seeded(3))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss = torch.tensor(1.0)
    for _ in range(400):
        loss = (model(batch) - targets).square().mean()
        if loss < 0.1:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1


def test_a_configuration_survives_storage(config):
    stored = RunConfig.from_json(config.to_json())
    assert complete(stored) == config
