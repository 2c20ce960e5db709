"""The memory that a run will take, against what the allocator says that it took."""

from __future__ import annotations

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from tsdiag.config import ModelConfig, RunConfig
from tsdiag.models import Shapes, build, complete, count_parameters, preset
from tsdiag.runs.memory import activation_bytes, parameter_bytes

SHAPES = Shapes(context_length=48, channels=6)
CASES = {
    "transformer": {},
    "a token a row": {"model.embedding": "linear"},
    "key dropout": {"model.attention_dropout": 0.2, "model.attention_dropout_kind": "key"},
    "probability dropout": {
        "model.embedding": "linear",
        "model.attention_dropout": 0.2,
        "model.attention_dropout_kind": "probability",
    },
    "wide heads": {"model.head_dim": 512},
    "lstm": None,
}


def seeded():
    return torch.Generator().manual_seed(0)


def case(name):
    changes = CASES[name]
    if changes is None:
        return preset(RunConfig(), "lstm", "small").edit("model.batch_norm", True)
    return complete(RunConfig(model=ModelConfig(kind="transformer"))).edits(changes)


def allocated(model, batch):
    """Return the most memory that a forward pass held at a time, its results still alive."""
    inputs = torch.randn(batch, SHAPES.context_length, SHAPES.channels, generator=seeded())
    cpu = [ProfilerActivity.CPU]
    with torch.random.fork_rng(devices=[]), profile(activities=cpu, profile_memory=True) as taken:
        output = model(inputs)
    del output
    events = taken.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    held = most = 0
    for _, change in changes:
        held += change
        most = max(most, held)
    return most


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_the_estimate_is_within_a_factor_of_two(name):
    config = case(name)
    estimate = activation_bytes(build(config, SHAPES, seeded()), SHAPES, 64)
    found = allocated(build(config, SHAPES, seeded()), 64)
    assert found / 2 < estimate < found * 2


@pytest.mark.parametrize("name", CASES)
def test_a_larger_batch_needs_more(name):
    model = build(case(name), SHAPES, seeded())
    sizes = [activation_bytes(model, SHAPES, batch) for batch in (1, 2, 64, 4096)]
    assert sizes == sorted(set(sizes))
    # In a line, with what does not grow with the batch at its beginning.
    assert (sizes[3] - sizes[2]) / (4096 - 64) == pytest.approx(
        (sizes[2] - sizes[1]) / 62, rel=0.01
    )


@pytest.mark.parametrize(
    "path", ["model.d_model", "model.ff_dim", "model.n_heads", "model.n_layers"]
)
def test_a_larger_model_needs_more(path):
    sizes = []
    for value in (1, 4, 16):
        config = case("transformer").edit(path, value)
        model = build(config, SHAPES, seeded())
        sizes.append((activation_bytes(model, SHAPES, 8), parameter_bytes(config, SHAPES)))
    assert sizes == sorted(set(sizes))


def test_parameters_are_counted_without_being_allocated():
    huge = case("transformer").edits({"model.d_model": 200_000, "model.ff_dim": 4_000_000})
    terabytes = parameter_bytes(huge, SHAPES) / 2**40
    assert terabytes > 10
    assert parameter_bytes(huge, SHAPES) == 20 * count_parameters(huge, SHAPES)


def test_the_estimate_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    activation_bytes(build(case("key dropout"), SHAPES, seeded()), SHAPES, 8)
    assert torch.equal(torch.get_rng_state(), before)
