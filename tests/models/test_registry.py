"""From words to modules: completion, presets, implications and refusals."""

import pytest
import torch

from tsdiag.config import ModelConfig, RunConfig
from tsdiag.errors import ConfigError
from tsdiag.models import (
    MODELS,
    Penalised,
    Shapes,
    build,
    complete,
    count_parameters,
    imply,
    preset,
)

CONTRACT_PATHS = (
    *("kind", "d_model", "n_layers", "n_heads", "head_dim", "ff_dim", "activation", "dropout"),
    *("attention_dropout", "attention_dropout_kind", "norm", "final_norm", "positions"),
    *("embedding", "patch_length", "pooling", "head_units", "head_dropout", "qk_norm"),
    *("attention_scale", "init_scale", "residual_scale", "window_norm"),
)
FOUNDING = Shapes(context_length=240, channels=33)


def of(**model):
    return RunConfig(model=ModelConfig(**{"kind": "transformer", **model}))


def test_every_public_path_exists():
    paths = complete(RunConfig()).paths()
    assert {f"model.{name}" for name in CONTRACT_PATHS} <= set(paths)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"kind": "transfomer"}, 'did you mean "transformer"'),
        ({"n_head": 3}, 'did you mean "model.n_heads"'),
        ({"n_heads": 0}, "n_heads"),
        ({"d_model": "chanels"}, "d_model"),
        ({"d_model": "channels", "embedding": "patch"}, "go together"),
        ({"positions": "rotary", "head_dim": 7}, "even head_dim"),
    ],
)
def test_refuses_with_a_way_out(model, said):
    with pytest.raises(ConfigError, match=said):
        complete(of(**model))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (of(patch_length=99), "shorter patch"),
        (of(kind="lstm", conv_layers=9), "fewer layers"),
    ],
)
def test_refuses_windows_that_are_too_short(config, said):
    with pytest.raises(ConfigError, match=said):
        build(config, Shapes(12, 3), torch.Generator())


def test_unknown_preset_names_the_known():
    with pytest.raises(ConfigError, match="small, founding"):
        preset(RunConfig(), "lstm", "tiny")


def test_channels_alone_means_no_projection():
    partial = complete(of(d_model="channels", pooling="mean_channels"))
    assert partial.get("model.embedding") == "identity"
    assert partial.get("model.final_norm") is False
    edited = complete(RunConfig())
    changes = imply(edited, {"model.d_model": "channels", "model.pooling": "mean_channels"})
    assert edited.edits(changes) == partial
    back = imply(partial, {"model.d_model": 32})
    assert partial.edits(back).get("model.embedding") == "linear"


def test_explicit_values_win_over_implied_ones():
    changes = {"model.pooling": "mean_channels", "model.final_norm": True}
    assert imply(complete(RunConfig()), changes) == changes


def test_founding_transformer_by_its_numbers():
    config = preset(RunConfig(), "transformer", "founding")
    width, wide = 33, 6 * 512
    attention = 3 * (width * wide + wide) + wide * width + width
    feed_forward = width * 8 + 8 + 8 * width + width
    head = 240 * 256 + 256 + 256 + 1
    expected = 8 * (attention + feed_forward + 2 * 2 * width) + head
    assert count_parameters(config, FOUNDING) == expected == 3_385_585
    assert 8 * attention / expected > 0.98


def test_founding_baseline_by_its_numbers():
    config = preset(RunConfig(), "lstm", "founding")
    convolutions = (3 * 33 + 1) * 128 + (3 * 128 + 1) * 256 + 2 * 256
    lstms = sum(  # torch keeps two biases per gate, Keras one
        2 * 4 * units * (inputs + units + 2)
        for inputs, units in ((256, 256), (512, 128), (256, 64))
    )
    dense = (128 + 1) * 64 + 2 * 64 + 64 + 1
    assert count_parameters(config, FOUNDING) == convolutions + lstms + dense


def test_penalty_is_that_of_the_dense_kernel():
    config = preset(RunConfig(), "lstm", "founding")
    model = build(config, Shapes(12, 3), torch.Generator().manual_seed(0))
    assert isinstance(model, Penalised)
    values = model.dense.weight.flatten().tolist()
    expected = sum(1e-5 * abs(value) + 1e-4 * value**2 for value in values)
    assert model.penalty().item() == pytest.approx(expected, rel=1e-4)


def test_presets_are_edits_of_known_paths():
    for found in MODELS:
        for name in found.presets:
            assert preset(RunConfig(), found.kind, name).model.kind == found.kind
