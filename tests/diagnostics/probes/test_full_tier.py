"""What every dear probe owes to the model that it is shown: to leave it as it was."""

import math

import pytest
import torch

from tsdiag.config import DataConfig, GeneratorConfig, ModelConfig, RunConfig
from tsdiag.data.dataset import load_dataset
from tsdiag.diagnostics.probes.input_gradient import INPUT_GRADIENT
from tsdiag.diagnostics.probes.overfit import OVERFIT
from tsdiag.diagnostics.probes.pool_rank import POOL_RANK
from tsdiag.diagnostics.probes.probe import Specimen
from tsdiag.diagnostics.probes.rate_meter import RATE_METER
from tsdiag.diagnostics.probes.readout import READOUT
from tsdiag.diagnostics.probes.sensitivity import SENSITIVITY
from tsdiag.models import Shapes, build, complete

PROBES = (SENSITIVITY, INPUT_GRADIENT, POOL_RANK, READOUT, OVERFIT, RATE_METER)
DATA = DataConfig(
    generate=GeneratorConfig(kind="lag", rows=300, channels=10),
    target=("level", "x00"),
    transform="difference",
    context_length=12,
    prediction_length=2,
)
MODELS = {
    "transformer": {"d_model": 8, "n_layers": 1, "patch_length": 4, "dropout": 0.2},
    "lstm": {"conv_channels": 8, "lstm_units": 4, "dense_units": 8, "batch_norm": True},
}


@pytest.fixture(scope="module")
def dataset():
    return load_dataset(DATA)


@pytest.fixture(params=sorted(MODELS))
def specimen(request, dataset):
    given = ModelConfig(kind=request.param, **MODELS[request.param])
    config = complete(RunConfig(data=DATA, model=given))
    model = build(config, Shapes(12, dataset.train.n_channels, 2, 2), torch.Generator())
    list(model.children())[1].eval()  # as if its owner had frozen a part
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    return Specimen(model, config, dataset.train, dataset.validation)


def condition(model):
    """Everything that a probe could have changed."""
    tensors = {name: value.clone() for name, value in model.state_dict().items()}
    tensors |= {f"{name}.grad": p.grad.clone() for name, p in model.named_parameters()}
    modes = {
        name: (m.training, len(m._forward_hooks), len(m._backward_hooks))
        for name, m in model.named_modules()
    }
    owners = {name: (id(p), id(p.grad), p.requires_grad) for name, p in model.named_parameters()}
    return tensors, modes, owners


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_the_model_and_the_generator_are_left_alone(probe, specimen):
    before, modes, owners = condition(specimen.model)
    generator = torch.get_rng_state()
    list(probe.measure(specimen))
    after, modes_after, owners_after = condition(specimen.model)
    assert (modes_after, owners_after) == (modes, owners)
    assert all(torch.equal(before[name], after[name]) for name in before | after)
    assert torch.equal(torch.get_rng_state(), generator)


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_readings_are_declared_and_the_same_each_time(probe, specimen):
    first = list(probe.measure(specimen))
    torch.rand(3, generator=torch.default_generator)
    assert list(probe.measure(specimen)) == first
    assert {reading.name for reading in first} <= {signal.name for signal in probe.signals}
    assert all(type(reading.value) is float and math.isfinite(reading.value) for reading in first)
    assert len({(reading.name, reading.where) for reading in first}) == len(first)


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_a_model_that_works_says_something(probe, specimen):
    spoken = {reading.name for reading in probe.measure(specimen)}
    declared = {signal.name for signal in probe.signals}
    if specimen.config.model.kind == "lstm":
        declared -= {"bypass_skill"}  # it has no pooling between a stream and a head
    if probe is POOL_RANK and specimen.config.model.kind == "lstm":
        assert spoken == set()
    else:
        assert spoken == declared
