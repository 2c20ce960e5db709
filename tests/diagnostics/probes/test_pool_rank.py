"""What gets through each pooling, against the whole Jacobian."""

import numpy as np
import pytest
import torch
from torch import nn

from tsdiag.config import ModelConfig, RunConfig
from tsdiag.data.windows import Windows
from tsdiag.diagnostics.probes.pool_rank import POOL_RANK, jacobian_products
from tsdiag.diagnostics.probes.probe import Specimen
from tsdiag.models import Shapes, build, complete
from tsdiag.models.pooling import pooling

ROWS, CONTEXT, CHANNELS, WIDTH = 100, 7, 3, 10


def windows(context=CONTEXT, count=ROWS):
    rows = np.random.default_rng(0).standard_normal((count, CHANNELS))
    return Windows(
        inputs=torch.from_numpy(rows).float(),
        levels=torch.from_numpy(rows[:, :1].copy()),
        ends=torch.arange(context - 1, count - 1),
        context_length=context,
        prediction_length=1,
        transform="none",
        target_mean=torch.zeros(1, dtype=torch.float64),
        target_std=torch.ones(1, dtype=torch.float64),
    )


def measure(model, data=None):
    data = data or windows()
    return {
        (reading.name, reading.where): reading.value
        for reading in POOL_RANK.measure(Specimen(model, RunConfig(), data, data))
    }


def new_model(kind="transformer", context=CONTEXT, **settings):
    config = complete(RunConfig(model=ModelConfig(kind=kind, **settings)))
    return build(config, Shapes(context, CHANNELS), torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("kind", "channel_rank", "token_rank", "token_share"),
    [
        ("mean_channels", 1, CONTEXT, 1),
        ("mean_time", WIDTH, 1, 1),
        ("last", WIDTH, 1, 1 / CONTEXT),
        ("flatten", WIDTH, CONTEXT, 1),
        ("attention", WIDTH, CONTEXT, 1),
    ],
)
def test_rank_of_each_pooling(kind, channel_rank, token_rank, token_share):
    model = new_model(d_model=WIDTH, embedding="linear", pooling=kind)
    found = measure(model)
    assert found["readout_channel_rank", "pooling"] == channel_rank
    assert found["readout_token_rank", "pooling"] == token_rank
    assert found["readout_token_share", "pooling"] == pytest.approx(token_share)
    for axis, rank in (("channel", channel_rank), ("token", token_rank)):
        effective = found[f"readout_{axis}_effective_rank", "pooling"]
        assert 1 - 1e-9 <= effective <= rank + 1e-9


def test_of_many_tokens_some_are_ranked_and_all_are_counted():
    long = {"context": 300, "d_model": WIDTH, "embedding": "linear", "n_layers": 1}
    data = windows(context=300, count=310)
    ranks = {
        kind: measure(new_model(pooling=kind, **long), data) for kind in ("mean_channels", "last")
    }
    assert ranks["mean_channels"]["readout_token_rank", "pooling"] == 256
    assert ranks["last"]["readout_token_rank", "pooling"] == 1
    assert ranks["mean_channels"]["readout_token_share", "pooling"] == 1
    assert ranks["last"]["readout_token_share", "pooling"] == pytest.approx(1 / 300)


def test_a_model_without_pooling_has_no_rank():
    assert measure(new_model("lstm")) == {}


def test_a_narrow_pool_inside_another_model_is_found():
    class Squeeze(nn.Module):
        """Reads two directions of the stream at every token."""

        def __init__(self):
            super().__init__()
            self.squeeze = nn.Linear(CHANNELS, 2)

        def forward(self, stream):
            return self.squeeze(stream).flatten(1)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.ModuleDict({"pooling": Squeeze()})

        def forward(self, window):
            return self.encoder["pooling"](window).mean(dim=1).view(-1, 1, 1)

    found = measure(Model())
    assert found["readout_channel_rank", "encoder.pooling"] == 2
    assert found["readout_token_rank", "encoder.pooling"] == CONTEXT


@pytest.mark.parametrize("kind", ["mean_time", "last", "attention", "flatten", "mean_channels"])
def test_against_the_whole_jacobian(kind):
    pool, features = pooling(kind, 5, 4)
    generator = torch.Generator().manual_seed(0)
    for parameter in pool.parameters():
        nn.init.normal_(parameter, generator=generator)
    stream = torch.randn((1, 5, 4), generator=generator)
    products = jacobian_products(pool, stream, features, generator)
    whole = torch.autograd.functional.jacobian(pool, stream)[0, :, 0]  # feature token channel
    by_channel, by_token = whole.flatten(0, 1), whole.transpose(1, 2).flatten(0, 1)
    assert torch.linalg.matrix_rank(products.channels) == torch.linalg.matrix_rank(by_channel)
    assert torch.linalg.matrix_rank(products.tokens) == torch.linalg.matrix_rank(by_token)
    torch.testing.assert_close(products.read, products.tokens.diagonal())
    # The random products are the Jacobian's in the mean: over many draws they come near.
    sums, draws = torch.zeros(4, 4, dtype=torch.float64), 400
    for _ in range(draws):
        sums += jacobian_products(pool, stream, features, generator).channels
    expected = (by_channel.T @ by_channel).double()
    np.testing.assert_allclose(sums / (5 * draws), expected, atol=0.1 * float(expected.max()))
