"""From settings to updates: decay, frozen parts, clipping and SAM, each against the long way."""

from __future__ import annotations

import pytest
import torch
from torch import nn, optim

from tsdiag.config import OptimizerConfig
from tsdiag.errors import ConfigError
from tsdiag.training.optimizer import build_optimizer
from tsdiag.training.sharpness import sharpen

KINDS = {"adamw": optim.AdamW, "sam": optim.AdamW, "adam": optim.Adam, "sgd": optim.SGD}


def optimizer_of(model, **settings):
    return build_optimizer(model, OptimizerConfig(**settings))


@pytest.mark.parametrize("name", KINDS)
def test_only_matrices_decay(name, config, new_model):
    model = new_model(config)
    optimizer = optimizer_of(model, name=name, weight_decay=0.5)
    assert type(optimizer) is KINDS[name]
    decay = {
        id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]
    }
    assert {id(p) for p in model.parameters()} == set(decay)
    for parameter_name, parameter in model.named_parameters():
        assert decay[id(parameter)] == (0.5 if parameter.ndim > 1 else 0.0), parameter_name


def test_frozen_parts_stay_as_they_are(config, begin):
    frozen = ("blocks.*.attention", "head", "final_norm.weight")
    training = begin(config.edit("optimizer.frozen", frozen))
    before = {name: value.clone() for name, value in training.model.named_parameters()}
    training.run()
    for name, value in training.model.named_parameters():
        is_frozen = ".attention." in name or name.startswith("head") or name == "final_norm.weight"
        assert torch.equal(value, before[name]) == is_frozen, name


def test_a_frozen_pattern_without_a_match_names_what_there_is(config, new_model):
    with pytest.raises(ConfigError, match="modules of this model") as told:
        optimizer_of(new_model(config), frozen=("atention",))
    assert all(word in str(told.value) for word in ('"atention"', "blocks", "head"))


def test_nothing_left_to_train_is_refused(config, new_model):
    with pytest.raises(ConfigError, match="no parameter to train; name fewer"):
        optimizer_of(new_model(config), frozen=("*",))


class Looker:
    """Keeps gradients before and after clipping, and the weights around an update."""

    def __init__(self):
        self.raw, self.used, self.norms, self.clipped = [], [], [], []
        self.each, self.shares = [], []

    def after_backward(self, moment):
        self.raw.append(gradients(moment.model))
        self.norms.append(moment.gradient_norm)
        self.clipped.append(moment.clipped)
        self.shares.append(moment.clip_share)
        parameters = [p for p in moment.model.parameters() if p.grad is not None]
        self.each.append((moment.gradient_norms, torch.stack([p.grad.norm() for p in parameters])))

    def after_update(self, moment):
        self.used.append(gradients(moment.model))

    def after_evaluation(self, moment):
        pass


def gradients(model):
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("limit", [0.0, 0.05, 1e6])
def test_clipping_caps_the_global_norm_and_keeps_the_direction(config, begin, limit):
    looker = Looker()
    begin(config.edit("optimizer.clip_norm", limit), [looker]).run()
    for raw, used, told, clipped in zip(
        looker.raw, looker.used, looker.norms, looker.clipped, strict=True
    ):
        norm = float(raw.norm())
        assert told == pytest.approx(norm, rel=1e-5)
        assert clipped == (0 < limit < norm)
        expected = raw * (limit / norm) if clipped else raw
        torch.testing.assert_close(used, expected)
    assert any(looker.clipped) == (limit == 0.05)
    for share, told, clipped in zip(looker.shares, looker.norms, looker.clipped, strict=True):
        assert share == (pytest.approx(limit / told) if clipped else 1.0)
    for told, slow in looker.each:
        torch.testing.assert_close(told, slow)


class Cubic(nn.Module):
    """A loss whose gradient is easily written down, with a running statistic."""

    def __init__(self):
        super().__init__()
        self.first = nn.Parameter(torch.tensor([1.0, -2.0]))
        self.second = nn.Parameter(torch.tensor([[0.5]]))
        self.frozen = nn.Parameter(torch.tensor([3.0]), requires_grad=False)
        self.register_buffer("seen", torch.zeros(1))

    def backward(self):
        self.seen.add_(float(self.second.detach()))
        loss = (self.first**3).sum() + (self.second**3).sum() * self.frozen.sum()
        loss.backward()
        return loss.detach()


def test_sam_takes_the_gradient_at_the_worst_point_nearby():
    model, rho = Cubic(), 0.1
    weights = torch.cat([model.first.detach(), model.second.detach().flatten()])
    factor = torch.tensor([3.0, 3.0, 9.0])
    plain = factor * weights**2
    nearby = weights + rho * plain / plain.norm()
    expected = factor * nearby**2
    model.backward()
    sharpen(model, rho, model.backward)
    torch.testing.assert_close(gradients(model), expected)
    # To the bit: the weights have gone there and back.
    assert torch.equal(torch.cat([model.first, model.second.flatten()]), weights)
    assert float(model.frozen) == 3.0
    assert model.frozen.grad is None
    assert float(model.seen) == 0.5  # the visit leaves no trace in running statistics


def test_sam_counts_a_batch_once_in_batch_norm(lstm_config, begin):
    counts = []
    for name in ("adamw", "sam"):
        training = begin(lstm_config.edit("optimizer.name", name))
        training.run()
        counts.append(int(training.model.state_dict()["norm.num_batches_tracked"]))
    assert counts == [12, 12]


def test_sam_is_adamw_at_a_vanishing_radius(config, begin):
    still = config.edits({"model.dropout": 0.0, "optimizer.rho": 1e-9, "optimizer.lr": 1e-3})
    found = []
    for name in ("adamw", "sam"):
        training = begin(still.edit("optimizer.name", name))
        training.run()
        found.append(training.progress.last_validation_loss)
    assert found[0] == pytest.approx(found[1], rel=1e-4)
