"""Every configuration that a search space can give is possible, affordable and named by path."""

import random

import pytest
import torch

from tsdiag.config import DataConfig, RunConfig
from tsdiag.models import MODELS, Shapes, Suggest, build, complete, preset
from tsdiag.models.transformer import MOST_TOKENS


class Dice:
    """Draws like a random sampler and remembers what it was asked for."""

    def __init__(self, seed, fixed=None):
        self.random, self.fixed, self.asked = random.Random(seed), fixed or {}, set()

    def suggest_float(self, name, low, high, *, step=None, log=False):
        return self._answer(name, self.random.uniform(low, high))

    def suggest_int(self, name, low, high, *, step=1, log=False):
        return self._answer(name, self.random.randint(low, high))

    def suggest_categorical(self, name, choices):
        assert all(isinstance(choice, str | int | float | bool) for choice in choices)
        return self._answer(name, self.random.choice(choices))

    def _answer(self, name, value):
        self.asked.add(name)
        return self.fixed.get(name, value)


def base(kind, context_length=240):
    config = RunConfig(data=DataConfig(context_length=context_length))
    return preset(config, kind, next(n for n in presets(kind) if n != "founding"))


def presets(kind):
    return next(found.presets for found in MODELS if found.kind == kind)


@pytest.mark.parametrize("context_length", [6, 48, 240, 2000])
@pytest.mark.parametrize("found", MODELS, ids=[found.kind for found in MODELS])
def test_samples_can_be_built(found, context_length):
    start = base(found.kind, context_length)
    shapes = Shapes(context_length, channels=5)
    for seed in range(8):
        dice = Dice(seed)
        assert isinstance(dice, Suggest)
        values = found.suggest(dice, start)
        assert dice.asked <= set(values)
        model = build(start.edits(values), shapes, torch.Generator())
        assert model(torch.zeros(2, context_length, 5)).shape == (2, 1, 1)
        if found.kind == "transformer":
            assert model.embedding.tokens <= MOST_TOKENS


@pytest.mark.parametrize("fixed", [{"model.d_model": "channels"}, {"model.embedding": "identity"}])
def test_a_study_can_fix_the_width_to_the_channels(fixed):
    start = complete(RunConfig())
    values = MODELS[0].suggest(Dice(0, fixed), start)
    config = start.edits(values)
    assert config.get("model.embedding") == "identity"
    assert config.get("model.d_model") == "channels"
