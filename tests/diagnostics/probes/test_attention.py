"""What heads look at, against patterns made one by one from the weights in float64."""

from __future__ import annotations

from itertools import combinations
from math import log

import pytest
import torch
from torch import nn

from tsdiag.config import ModelConfig, RunConfig
from tsdiag.diagnostics.probes.attention import ATTENTION, similarities
from tsdiag.diagnostics.probes.view import look
from tsdiag.models import Shapes, build

# Few enough windows and tokens that all of them are sampled.
WINDOWS, TOKENS, CHANNELS = 6, 20, 5
PLAIN = {"d_model": 12, "embedding": "linear", "n_layers": 2, "n_heads": 3, "head_dim": 4}
WIDE = PLAIN | {"head_dim": 32}  # heads wider than the stream are computed folded


def view_of(settings, scale=3.0, prepare=lambda model: None, windows=WINDOWS, tokens=TOKENS):
    config = RunConfig(model=ModelConfig(kind="transformer", **settings))
    generator = torch.Generator().manual_seed(1)
    model = build(config, Shapes(tokens, CHANNELS), generator)
    with torch.no_grad():
        for parameter in model.blocks.parameters():
            # Biases and norms that differ from their first values, and patterns that are not flat.
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        for block in model.blocks:
            block.attention.query.weight.mul_(scale)
        prepare(model)
    inputs = torch.randn(windows, tokens, CHANNELS, generator=generator)
    return look(model, inputs, torch.zeros(windows, 1, 1))


def measured(view):
    return {(reading.name, reading.where): reading.value for reading in ATTENTION.measure(view)}


def projected(linear, stream, head, n_heads):
    """Return what one head gets from a projection, in float64."""
    rows = slice(head * linear.out_features // n_heads, (head + 1) * linear.out_features // n_heads)
    return stream.double() @ linear.weight[rows].double().T + linear.bias[rows].double()


def slow_scores(attention, stream):
    """Return the logits of each head: a list of tensors (window, query, key)."""
    heads = []
    for head in range(attention.n_heads):
        query = projected(attention.query, stream, head, attention.n_heads)
        key = projected(attention.key, stream, head, attention.n_heads)
        heads.append(query @ key.transpose(1, 2) / query.shape[-1] ** 0.5)
    return heads


def slow_head(scores, tokens):
    pattern = scores.softmax(dim=-1)
    return {
        "attention_entropy": (-(pattern * pattern.log()).sum(-1).mean() / log(tokens)).item(),
        "largest_probability": pattern.max(dim=-1).values.mean().item(),
        "logit_scale": scores.numpy().std(axis=-1).mean(),
        "largest_logit": (scores.max(dim=-1).values - scores.mean(dim=-1)).max().item(),
    }


def slow_cosines(patterns):
    deviations = [(pattern - 1 / pattern.shape[-1]).flatten() for pattern in patterns]
    return [((a @ b) / (a.norm() * b.norm())).item() for a, b in combinations(deviations, 2)]


@pytest.mark.parametrize("settings", [PLAIN, WIDE], ids=["plain", "wide"])
@pytest.mark.parametrize("norm", ["pre", "post", "post_sublayer"])
def test_every_head_is_told_as_its_patterns_are(settings, norm):
    view = view_of(settings | {"norm": norm})
    found = measured(view)
    for index, block in enumerate(view.model.blocks):
        path = f"blocks.{index}.attention"
        heads = slow_scores(block.attention, view.entered[path])
        for head, scores in enumerate(heads):
            told = {
                name: value for (name, where), value in found.items() if where == f"{path}[{head}]"
            }
            del told["query_key_norm"]
            assert told == pytest.approx(slow_head(scores.detach(), TOKENS), rel=1e-4)
        cosines = slow_cosines([scores.softmax(-1) for scores in heads])
        assert found["head_similarity", path] == pytest.approx(sum(cosines) / 3, abs=1e-4)
        assert found["head_similarity_max", path] == pytest.approx(max(cosines), abs=1e-4)
    assert len(found) == 2 * (5 * 3 + 2)


@pytest.mark.parametrize("settings", [PLAIN, WIDE], ids=["plain", "wide"])
def test_the_norm_of_the_product_is_that_of_the_product(settings):
    view = view_of(settings)
    found = measured(view)
    attention = view.model.blocks[1].attention
    for head in range(3):
        rows = slice(head * settings["head_dim"], (head + 1) * settings["head_dim"])
        product = attention.query.weight[rows].double().T @ attention.key.weight[rows].double()
        expected = product.square().sum().sqrt().item()
        told = found["query_key_norm", f"blocks.1.attention[{head}]"]
        assert told == pytest.approx(expected, rel=1e-5)


def test_of_long_and_many_windows_a_sample_tells_nearly_the_same():
    view = view_of(PLAIN, windows=32, tokens=120)
    found = measured(view)
    scores = slow_scores(view.model.blocks[0].attention, view.entered["blocks.0.attention"])[2]
    expected = slow_head(scores.detach(), 120)
    place = "blocks.0.attention[2]"
    # Entropy is of all queries; the others of 256 of 3840.
    assert found["attention_entropy", place] == pytest.approx(
        expected["attention_entropy"], rel=1e-4
    )
    assert found["logit_scale", place] == pytest.approx(expected["logit_scale"], rel=0.1)
    assert found["largest_probability", place] == pytest.approx(
        expected["largest_probability"], rel=0.1
    )


def blind(model):
    for block in model.blocks:
        block.attention.query.weight.zero_()
        block.attention.query.bias.zero_()


def test_heads_that_see_nothing_are_uniform_and_like_no_other():
    found = measured(view_of(PLAIN, prepare=blind))
    place = "blocks.0.attention"
    assert found["attention_entropy", f"{place}[0]"] == pytest.approx(1, abs=1e-6)
    assert found["largest_probability", f"{place}[0]"] == pytest.approx(1 / TOKENS)
    assert found["logit_scale", f"{place}[0]"] == 0
    assert found["query_key_norm", f"{place}[0]"] == 0
    assert found["head_similarity_max", place] == 0


def test_huge_logits_are_one_hot():
    found = measured(view_of(PLAIN, scale=1e5))
    assert found["attention_entropy", "blocks.0.attention[1]"] == pytest.approx(0, abs=1e-2)
    assert found["largest_probability", "blocks.0.attention[1]"] == pytest.approx(1, abs=1e-2)
    assert found["largest_logit", "blocks.0.attention[1]"] > 1e3


def twins(model):
    for name in ("query", "key"):
        linear = getattr(model.blocks[0].attention, name)
        linear.weight[4:8] = linear.weight[:4]
        linear.bias[4:8] = linear.bias[:4]


def test_equal_heads_are_found_among_others():
    found = measured(view_of(PLAIN, prepare=twins))
    assert found["head_similarity_max", "blocks.0.attention"] == pytest.approx(1, abs=1e-5)
    assert found["head_similarity", "blocks.0.attention"] < 0.9
    assert found["head_similarity_max", "blocks.1.attention"] < 0.9


def test_flat_patterns_are_not_alike_for_being_flat():
    generator = torch.Generator().manual_seed(0)
    nearly_uniform = (0.01 * torch.randn(4, 2, 30, 50, generator=generator)).softmax(dim=-1)
    assert similarities(nearly_uniform).abs().max() < 0.05


def test_one_head_has_no_other_and_one_token_no_choice():
    single = measured(view_of(PLAIN | {"n_heads": 1}))
    assert not [place for name, place in single if name.startswith("head_similarity")]
    assert measured(view_of(PLAIN, tokens=1)) == {}


def test_a_layer_that_is_not_a_number_is_left_out():
    view = view_of(PLAIN)
    view.entered["blocks.1.attention"].fill_(torch.nan)
    places = {where for name, where in measured(view) if name != "query_key_norm"}
    assert {place.partition(".attention")[0] for place in places} == {"blocks.0"}


class Borrowed(nn.Module):
    """A model around PyTorch's own attention."""

    def __init__(self, masked, batch_first):
        super().__init__()
        self.layer = nn.MultiheadAttention(12, 3, dropout=0.5, batch_first=batch_first)
        self.masked = masked

    def forward(self, window):
        stream = window if self.layer.batch_first else window.transpose(0, 1)
        mask = torch.ones(TOKENS, TOKENS).triu(1).bool() if self.masked else None
        gathered, _ = self.layer(stream, stream, stream, attn_mask=mask, need_weights=False)
        return gathered


def view_of_borrowed(masked, batch_first):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Borrowed(masked, batch_first)
        window = torch.randn(WINDOWS, TOKENS, 12)
    return look(model, window, torch.zeros(WINDOWS, 1, 1))


@pytest.mark.parametrize("batch_first", [True, False])
def test_the_layer_of_pytorch_is_told_as_its_patterns_are(batch_first):
    view = view_of_borrowed(False, batch_first)
    found = measured(view)
    assert view.model.layer.training  # as it was, although it was asked without dropout
    _, patterns = view.model.layer.eval()(
        *(3 * [view.entered["layer"]]), average_attn_weights=False
    )
    for head in range(3):
        pattern = patterns[:, head].double()
        entropy = -(pattern * pattern.log()).sum(-1).mean() / log(TOKENS)
        told = found["attention_entropy", f"layer[{head}]"]
        assert told == pytest.approx(entropy.item(), rel=1e-4)
    expected = max(slow_cosines(list(patterns.double().transpose(0, 1))))
    assert found["head_similarity_max", "layer"] == pytest.approx(expected, abs=1e-4)


def test_where_a_mask_cannot_be_seen_nothing_is_claimed():
    assert measured(view_of_borrowed(True, True)) == {}


def test_every_reading_is_declared_and_a_plain_number():
    readings = list(ATTENTION.measure(view_of(PLAIN)))
    assert {reading.name for reading in readings} == {signal.name for signal in ATTENTION.signals}
    assert {type(reading.value) for reading in readings} == {float}
