"""The contract again, on transformers that nobody wrote down."""

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tsdiag.config import ModelConfig, RunConfig
from tsdiag.models import Shapes, build, complete, count_parameters

SHAPES = Shapes(context_length=13, channels=4, prediction_length=2, targets=1)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@st.composite
def transformers(draw):
    kind = draw(st.sampled_from(["identity", "linear", "conv", "patch", "inverted"]))
    pooling = draw(st.sampled_from(["mean_time", "last", "attention", "flatten", "mean_channels"]))
    norms = ["pre", "post", "post_sublayer"]
    if pooling == "mean_channels":
        norms.remove("post")  # the mean over a fresh LayerNorm's own axis is exactly zero
    return {
        "kind": "transformer",
        "embedding": kind,
        "d_model": "channels" if kind == "identity" else draw(st.sampled_from([7, 16])),
        "n_layers": draw(st.integers(1, 2)),
        "n_heads": draw(st.integers(1, 3)),
        "head_dim": draw(st.sampled_from([2, 8, 32])),
        "ff_dim": draw(st.sampled_from([4, 24])),
        "activation": draw(st.sampled_from(["gelu", "elu", "silu"])),
        "attention_dropout": draw(st.sampled_from([0.0, 0.2])),
        "attention_dropout_kind": draw(st.sampled_from(["none", "key", "probability"])),
        "norm": draw(st.sampled_from(norms)),
        "final_norm": pooling != "mean_channels" and draw(st.booleans()),
        "positions": draw(st.sampled_from(["none", "sinusoidal", "learned", "rotary"])),
        "patch_length": draw(st.sampled_from([1, 4, 13])),
        "pooling": pooling,
        "head_units": draw(st.sampled_from([(), (8,), (8, 4)])),
        "qk_norm": draw(st.booleans()),
        "attention_scale": draw(st.sampled_from([None, 0.5])),
        "residual_scale": draw(st.sampled_from([1.0, 0.5])),
        "window_norm": draw(st.sampled_from(["none", "revin"])),
    }


@settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(model=transformers())
def test_any_combination_keeps_the_contract(model):
    config = complete(RunConfig(model=ModelConfig(**model)))
    module = build(config, SHAPES, seeded())
    batch = torch.randn(3, 13, 4, generator=seeded(1))
    predicted = module(batch)
    assert predicted.shape == (3, 2, 1)
    assert sum(p.numel() for p in module.parameters()) == count_parameters(config, SHAPES)
    predicted.square().mean().backward()
    missing = [name for name, value in module.named_parameters() if value.grad is None]
    assert not missing
    module.eval()
    alone = torch.cat([module(window[None]) for window in batch])
    torch.testing.assert_close(module(batch), alone, rtol=1e-3, atol=1e-5)
    twin = build(config, SHAPES, seeded()).eval()
    torch.testing.assert_close(module(batch), twin(batch), rtol=0, atol=0)
