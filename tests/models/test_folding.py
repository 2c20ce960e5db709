"""Folded heads against the same heads as they are written: one function, one set of gradients."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tsdiag.config import RunConfig
from tsdiag.diagnostics.probes.entropy import attention_entropy
from tsdiag.models import Shapes, attention, build, preset
from tsdiag.models.attention import Attention

PROJECTIONS = ("query", "key", "value", "output")


@st.composite
def cases(draw):
    """A folded module with any biases, as drawn by torch, and windows for it."""
    torch.manual_seed(draw(st.integers(0, 10_000)))
    width = draw(st.integers(1, 7))
    module = Attention(
        width,
        draw(st.integers(1, 4)),
        draw(st.integers(width + 2, width + 9)),
        scale=draw(st.sampled_from([None, 0.0, 0.7, 3.0])),
        dropout=draw(st.sampled_from([0.1, 0.5])),
        dropout_kind=draw(st.sampled_from(["none", "key", "probability"])),
    )
    stream = torch.randn(draw(st.integers(1, 3)), draw(st.integers(1, 9)), width)
    return module.double(), stream.double()


def with_mask(kept):
    """Return dropout by a mask "batch head query key"; folded heads ask for it as one head."""

    def attend_all(query, key, value, rate, scale):
        mask = kept if query.shape[1] == kept.shape[1] else kept.transpose(1, 2).flatten(1, 2)
        pattern = torch.softmax(scale * query @ key.mT, dim=-1) / (1 - rate)
        return (pattern * mask.view(*query.shape[:3], -1)) @ value

    return attend_all


def outputs_and_gradients(module, stream, weights):
    stream = stream.clone().requires_grad_()
    torch.manual_seed(0)  # of the hidden keys
    given = module(stream)
    (given * weights).sum().backward()
    gradients = {name: value.grad for name, value in module.named_parameters()}
    return {"output": given.detach(), "stream": stream.grad, **gradients}


@given(cases())
def test_folded_heads_are_the_same_function_with_the_same_gradients(case):
    folded, stream = case
    plain = copy.deepcopy(folded)
    plain.folded = False
    batch, tokens, _ = stream.shape
    torch.manual_seed(1)  # an example that fails must fail again
    kept = (torch.rand(batch, folded.n_heads, tokens, tokens) > folded.dropout).double()
    weights = torch.randn_like(stream)
    with pytest.MonkeyPatch.context() as patch:
        if folded.dropout_kind == "probability":
            patch.setattr(attention, "attend_all", with_mask(kept))
        found = outputs_and_gradients(folded, stream, weights)
        expected = outputs_and_gradients(plain, stream, weights)
    assert folded.folded
    # The key's bias has no effect: its gradient is rounding of others, so errors count by those.
    size = max(value.abs().max() for value in expected.values()).item()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-11 * size, msg=name)


@given(cases())
def test_folded_heads_have_the_same_entropy(case):
    folded, stream = case
    query, key = (
        projection(stream).unflatten(2, (folded.n_heads, -1)).transpose(1, 2)
        for projection in (folded.query, folded.key)
    )
    pattern = torch.softmax(folded.scale * query @ key.mT, dim=-1)
    expected = torch.special.entr(pattern).sum(dim=-1)
    found = attention_entropy(*folded.queries_and_keys(stream), folded.scale)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("head_dim", "settings", "folded"),
    [
        (8, {}, True),
        (7, {}, False),  # as wide as the stream and its ones: nothing to gain
        (8, {"qk_norm": True}, False),
        (8, {"rotary_tokens": 5}, False),
    ],
)
def test_only_wide_heads_without_anything_between_the_products_are_folded(
    head_dim, settings, folded
):
    module = Attention(6, 2, head_dim, **settings)
    called = []
    module.query.register_forward_hook(lambda *_: called.append("query"))
    module(torch.randn(2, 5, 6))
    assert module.folded == folded
    assert called == ([] if folded else ["query"])


def test_folded_and_plain_blocks_start_with_equal_parameters():
    def started(**changes):
        config = preset(RunConfig(), "transformer", "founding")
        model = config.model.model_copy(update={"n_layers": 2, **changes})
        generator = torch.Generator().manual_seed(0)
        return build(config.model_copy(update={"model": model}), Shapes(12, 5), generator)

    folded, plain = started(), started(qk_norm=True)
    assert [block.attention.folded for block in folded.blocks] == [True, True]
    assert [block.attention.folded for block in plain.blocks] == [False, False]
    values = plain.state_dict()
    for name, value in folded.state_dict().items():
        assert torch.equal(value, values.pop(name))
    assert all("norm.weight" in name for name in values)  # those of queries and keys are left


def test_decay_and_checkpoints_see_the_projections():
    names = {name for name, _ in Attention(3, 2, 16).named_parameters()}
    assert names == {f"{name}.{part}" for name in PROJECTIONS for part in ("weight", "bias")}
