"""Small models of four kinds, and one optimizer step of theirs, carried out the plain way."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tsdiag.config import ModelConfig, OptimizerConfig, RunConfig
from tsdiag.diagnostics.probes.probe import Update
from tsdiag.models import Shapes, build
from tsdiag.training.optimizer import build_optimizer

TIME, CHANNELS = 12, 5
SETTINGS = {
    "transformer": {
        "d_model": 8,
        "n_layers": 2,
        "n_heads": 2,
        "head_dim": 6,
        "ff_dim": 10,
        "patch_length": 3,
        "head_units": (7,),
        "dropout": 0.0,
    },
    "lstm": {
        "conv_channels": 6,
        "pool": 2,
        "lstm_units": 4,
        "lstm_layers": 2,
        "dense_units": 4,
        "batch_norm": True,
        "dropout": 0.0,
    },
}


class Encoder(nn.Module):
    """PyTorch's own encoder between two linear layers: a model that tsdiag did not build."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(CHANNELS, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(8, 1)

    def forward(self, window):
        return self.out(self.encoder(self.embed(window)).mean(1)).unsqueeze(1)


def new_model(kind):
    """Return a model whose every number was drawn, so that no gain is 1 and no bias 0."""
    generator = torch.Generator().manual_seed(3)
    if kind in SETTINGS:
        settings = ModelConfig(kind=kind, **SETTINGS[kind])
        model = build(RunConfig(model=settings), Shapes(TIME, CHANNELS), generator)
    elif kind == "encoder":
        model = Encoder()
    else:
        layers = [nn.Linear(TIME * CHANNELS, 6), nn.Tanh(), nn.Linear(6, 1)]
        model = nn.Sequential(nn.Flatten(), *layers, nn.Unflatten(1, (1, 1)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def new_batch(seed, windows=16):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(windows, TIME, CHANNELS, generator=generator)
    return inputs, torch.randn(windows, 1, 1, generator=generator)


def backward(model, seed):
    """Return the gradients of a batch by parameter, which are then in ``p.grad`` as well."""
    inputs, targets = new_batch(seed)
    model.zero_grad(set_to_none=True)
    ((model(inputs) - targets) ** 2).mean().backward()
    parameters = dict(model.named_parameters())
    return {n: None if p.grad is None else p.grad.clone() for n, p in parameters.items()}


@pytest.fixture(params=["transformer", "lstm", "encoder", "sequential"])
def kind(request):
    return request.param


@pytest.fixture
def model(kind):
    return new_model(kind)


@pytest.fixture
def batch():
    return new_batch


@pytest.fixture
def update_of():
    """Of a model, the second of two steps; ``clip`` 0 leaves gradients as they are."""

    def take(model, optimizer=None, clip=0.0, **settings):
        if optimizer is None:
            optimizer = build_optimizer(model, OptimizerConfig(**settings))
        previous = {n: g for n, g in backward(model, 1).items() if g is not None}
        optimizer.step()
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        gradients = backward(model, 2)
        squares = [float((g.double() ** 2).sum()) for g in gradients.values() if g is not None]
        share = min(1.0, clip / sum(squares) ** 0.5) if clip else 1.0
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad *= share
        optimizer.step()
        rate = optimizer.param_groups[0]["lr"]
        return Update(model, optimizer, rate, before, gradients, previous, share)

    return take
