"""The waterfall: ridge written out, places in the order of the data, and information that dies."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tsdiag.config import ModelConfig, RunConfig
from tsdiag.data.windows import Windows
from tsdiag.diagnostics.probes import readout
from tsdiag.diagnostics.probes.linear_probe import CHOOSING, PENALTIES, linear_skill
from tsdiag.diagnostics.probes.probe import Specimen
from tsdiag.diagnostics.probes.readout import READOUT
from tsdiag.models import Shapes, build, complete

ROWS, CONTEXT, CHANNELS, LAG = 900, 8, 3, 4
STANDARD = {"d_model": 16, "embedding": "linear", "n_layers": 2, "n_heads": 2, "head_dim": 8}


def windows(noise=0.3):
    """Windows whose target is the first channel ``LAG`` rows before the end, with noise."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((ROWS, CHANNELS))
    levels = noise * rng.standard_normal((ROWS, 1))
    levels[LAG + 1 :, 0] += rows[: -LAG - 1, 0]
    return Windows(
        inputs=torch.from_numpy(rows).float(),
        levels=torch.from_numpy(levels),
        ends=torch.arange(CONTEXT - 1, ROWS - 1),
        context_length=CONTEXT,
        prediction_length=1,
        transform="none",
        target_mean=torch.zeros(1, dtype=torch.float64),
        target_std=torch.ones(1, dtype=torch.float64),
    )


def halves(data):
    return replace(data, ends=data.ends[:600]), replace(data, ends=data.ends[600:])


def measure(model, data=None):
    train, validation = halves(data or windows())
    found = {}
    for reading in READOUT.measure(Specimen(model, RunConfig(), train, validation)):
        found.setdefault(reading.name, {})[reading.where] = reading.value
    return found


def new_model(kind="transformer", **settings):
    given = {**STANDARD, **settings} if kind == "transformer" else settings
    config = complete(RunConfig(model=ModelConfig(kind=kind, **given)))
    return build(config, Shapes(CONTEXT, CHANNELS), torch.Generator().manual_seed(0))


def slow_skill(inputs, targets, others, truth):
    """The same in numpy: ridge as least squares with extra rows, all penalties on all parts."""
    mean = inputs.mean(axis=0)
    inputs, others = inputs - mean, others - mean
    size = np.sqrt(np.mean(inputs**2))
    inputs, others, centre = inputs / size, others / size, targets.mean(axis=0)

    def predict(given, wanted, asked, penalty):
        count, features = given.shape
        extra = np.sqrt(penalty * np.sum(given**2) / min(count, features)) * np.eye(features)
        tall = np.vstack([given, extra])
        weights, *_ = np.linalg.lstsq(tall, np.vstack([wanted, np.zeros((features, 1))]))
        return asked @ weights

    kept = round(len(inputs) * (1 - CHOOSING))
    errors = [
        np.mean(
            (
                predict(inputs[:kept], targets[:kept] - centre, inputs[kept:], penalty)
                - (targets[kept:] - centre)
            )
            ** 2
        )
        for penalty in PENALTIES
    ]
    best = next(
        (place for place, error in enumerate(errors[:-1]) if errors[place + 1] >= error),
        len(errors) - 1,
    )
    found = predict(inputs, targets - centre, others, PENALTIES[best]) + centre
    return 1 - np.mean((found - truth) ** 2) / np.var(truth)


@pytest.mark.parametrize("features", [3, 20, 79, 100, 300])
@pytest.mark.parametrize("collinear", [False, True])
def test_skill_against_least_squares_written_out(features, collinear):
    rng = np.random.default_rng(features)
    inputs = 5 + rng.standard_normal((160, features))
    if collinear:
        inputs = inputs @ (rng.standard_normal((features, features)) / np.arange(1, features + 1))
    weights = rng.standard_normal((features, 1))
    targets = inputs @ weights / np.std(inputs @ weights) + 0.5 * rng.standard_normal((160, 1))
    parts = (inputs[:100], targets[:100], inputs[100:], targets[100:])
    given = [torch.from_numpy(part).float() for part in parts]
    found = linear_skill((given[0], given[1]), (given[2], given[3]))
    assert found == pytest.approx(slow_skill(*parts), abs=1e-3)


def test_skill_without_anything_to_see():
    targets = torch.randn((100, 1), generator=torch.Generator().manual_seed(0))
    # Rounding on top of a constant: were it blown up to size 1, a ridge could lean on it.
    constant = 7 + 1e-7 * targets
    found = linear_skill((constant[:60], targets[:60]), (constant[60:], targets[60:]))
    mean_alone = 1 - (targets[60:] - targets[:60].mean()).square().mean() / targets[60:].var(
        correction=0
    )
    assert found == pytest.approx(float(mean_alone), abs=1e-5)


def test_places_of_a_transformer_are_in_the_order_of_the_data():
    found = measure(new_model(pooling="mean_time"))
    order = sorted(found["readout_order"], key=found["readout_order"].get)
    assert order == [
        "input",
        "window_norm",
        "embedding",
        "positions",
        "blocks.0",
        "blocks.1",
        "blocks",
        "final_norm",
        "pooling",
        "head",
        "",
    ]
    assert set(found["readout_skill"]) == set(order)
    assert found["readout_features"]["final_norm"] == CONTEXT * 16
    assert found["readout_features"]["pooling"] == 16
    assert found["readout_skill"]["window_norm"] == found["readout_skill"]["input"]
    assert found["readout_skill"]["head"] == found["readout_skill"][""]


def test_places_of_the_baseline():
    found = measure(new_model("lstm", lstm_layers=2, pool=1))
    order = sorted(found["readout_order"], key=found["readout_order"].get)
    assert order[:5] == ["input", "convolutions", "lstm.layers.0", "lstm.layers.1", "lstm"]
    assert order[-2:] == ["projection", ""]


def test_order_dies_in_a_mean_over_time():
    found = measure(new_model(pooling="mean_time", positions="none"))["readout_skill"]
    assert found["input"] > 0.8
    assert found["final_norm"] > 0.6
    assert found["pooling"] < 0.3
    assert found[""] < 0.3


def test_order_survives_flattening():
    found = measure(new_model(pooling="flatten", positions="none"))["readout_skill"]
    assert found["pooling"] == found["final_norm"] > 0.6


def test_a_channel_dies_in_a_mean_over_channels():
    class Opposite(nn.Module):
        """Every row next to its negative: a mean over channels keeps nothing."""

        def __init__(self):
            super().__init__()
            self.mirror = nn.Linear(CHANNELS, 2 * CHANNELS, bias=False)
            self.pooling = nn.AdaptiveAvgPool1d(1)
            self.head = nn.Linear(CONTEXT, 1)
            with torch.no_grad():
                self.mirror.weight.copy_(torch.cat([torch.eye(CHANNELS), -torch.eye(CHANNELS)]))

        def forward(self, window):
            pooled = self.pooling(self.mirror(window)).flatten(1)
            return self.head(pooled).view(-1, 1, 1)

    found = measure(Opposite())["readout_skill"]
    assert found["mirror"] > 0.8
    assert found["pooling"] < 0.1


def test_the_output_of_a_perfect_model_keeps_everything():
    class Perfect(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(0.1))

        def forward(self, window):
            return (self.scale * window[:, -1 - LAG, 0]).view(-1, 1, 1)

    found = measure(Perfect(), windows(noise=0))["readout_skill"]
    assert found[""] == pytest.approx(1, abs=0.02)  # the weakest penalty still shrinks a little
    assert set(found) == {"input", ""}


def test_a_constant_target_has_no_skill():
    data = windows()
    assert measure(new_model(), replace(data, levels=torch.ones_like(data.levels))) == {}


def test_what_is_not_finite_is_not_fitted():
    model = new_model(pooling="mean_time")
    with torch.no_grad():
        model.head.projection.bias.fill_(torch.nan)
    found = measure(model)["readout_skill"]
    assert "pooling" in found
    assert "head" not in found
    assert "" not in found


def test_rounds_keep_to_the_memory_and_change_nothing(monkeypatch):
    model = new_model(pooling="mean_time")
    whole = measure(model)
    monkeypatch.setattr(readout, "MOST_BYTES", 4 * 893 * 150)
    widths = {"a": 100, "b": 50, "c": 1, "d": 400, "e": 10}
    assert list(readout.rounds(widths, 893)) == [["a", "b"], ["c"], ["d"], ["e"]]
    assert measure(model) == whole


def test_what_the_pool_makes_of_the_stream_before_the_blocks():
    model = new_model(pooling="mean_channels", final_norm=False).eval()
    found = measure(model)
    train, validation = halves(windows())

    def pooled(data):
        index = torch.arange(len(data))
        with torch.no_grad():
            stream = model.positions(model.embedding(data.inputs_at(index)))
        return stream.mean(dim=2), data.targets_at(index).flatten(1)

    expected = linear_skill(pooled(train.every(readout.FITTED)), pooled(validation))
    assert found["bypass_skill"] == {"pooling": pytest.approx(expected, abs=1e-4)}
    assert "bypass_skill" not in measure(new_model("lstm"))
