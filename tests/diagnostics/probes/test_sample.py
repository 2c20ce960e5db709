"""Windows that are drawn anew: by seed and step alone, and fair over a whole run."""

from __future__ import annotations

from statistics import fmean

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from tsdiag.config import GeneratorConfig
from tsdiag.data.dataset import load_dataset
from tsdiag.diagnostics.probes.noise import NOISE
from tsdiag.diagnostics.probes.sample import MICRO_BATCHES, SAMPLE_WINDOWS, drawn
from tsdiag.diagnostics.probes.watcher import Watcher
from tsdiag.models import Shapes, build
from tsdiag.training.loop import Training

SIZE = SAMPLE_WINDOWS // MICRO_BATCHES


def numbers(windows, most, seed, step):
    """Return which windows were drawn."""
    inputs, targets = drawn(windows, most, seed, step)
    whole, truth = windows.batch(torch.arange(len(windows)))
    same = (inputs[:, None] == whole).flatten(2).all(2)
    assert torch.equal(targets, truth[same.int().argmax(1)])
    assert same.sum(1).tolist() == [1] * len(inputs)
    return same.int().argmax(1).tolist()


def test_a_draw_depends_on_seed_and_step_alone(dataset):
    state = torch.get_rng_state()
    draws = {
        (seed, step): numbers(dataset.train, 8, seed, step) for seed in (0, 1) for step in range(9)
    }
    assert len({tuple(found) for found in draws.values()}) == len(draws)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert numbers(dataset.train, 8, 1, 5) == draws[1, 5]


def test_no_window_is_drawn_twice_and_none_is_left_out(dataset):
    some = dataset.train.every(40)
    found = numbers(some, 100, 0, 0)
    assert sorted(found) == list(range(40))
    assert found != sorted(found), "neighbours in time would share a micro-batch"
    often = np.bincount(
        [window for step in range(200) for window in numbers(some, 10, 0, step)], minlength=40
    )
    # 200 draws of a chance of 1/4: 50, with a standard deviation of 6.
    assert often.min() > 50 - 5 * 6
    assert often.max() < 50 + 5 * 6


class Truth:
    """At every evaluation, what all windows say about gradient, noise and loss."""

    def __init__(self, windows):
        self.batch = windows.batch(torch.arange(len(windows)))
        self.terms, self.variances = [], []

    def after_backward(self, moment):
        pass

    def after_update(self, moment):
        pass

    def after_evaluation(self, moment):
        losses, rows = self.single(moment.model)
        mean = rows.mean(0)
        rows -= mean
        count, inner = len(rows), rows @ rows.T
        squares, overlap = inner.diagonal(), (inner**2).sum() / count**2
        trace = squares.sum() / (count - 1)
        # The mean's square has a share of the noise itself.
        self.terms.append([mean @ mean - trace / count, trace, losses.mean()])
        self.variances.append(
            [*self.variance((rows @ mean) ** 2, squares, overlap), losses.var() / SAMPLE_WINDOWS]
        )

    def single(self, model):
        """Return loss and gradient of each window by itself, dropout off."""

        def loss(parameters, window, target):
            given = torch.func.functional_call(model, parameters, (window[None],))
            return ((given - target[None]) ** 2).mean()

        model.eval()
        alone = torch.func.vmap(torch.func.grad_and_value(loss), in_dims=(None, 0, 0))
        with sdpa_kernel(SDPBackend.MATH):  # the fused one has no rule for single windows
            gradients, losses = alone(dict(model.named_parameters()), *self.batch)
        model.train()
        rows = torch.cat([g.detach().flatten(1) for g in gradients.values()], dim=1)
        return losses.detach().double().numpy(), rows.double().numpy()

    @staticmethod
    def variance(along, squares, overlap):
        """Return the variances of both estimates from k means of b windows each.

        With d the noise of such a mean, of covariance C = Sigma / b: |G|^2 is the mean of m_i . m_j
        over i != j, of variance 4 G'CG / k + 2 tr(C^2) / k(k - 1) (Hoeffding 1948); tr(Sigma) is
        b times an unbiased sample variance, of variance b^2 (Var|d|^2 / k + 2 tr(C^2) / k(k - 1)).
        """
        k, b = MICRO_BATCHES, SIZE
        pairs = 2 * overlap / (b**2 * k * (k - 1))
        fourth = (squares**2).mean() / b**3
        fourth += (b - 1) / b**3 * (squares.mean() ** 2 + 2 * overlap) - squares.mean() ** 2 / b**2
        return 4 * along.mean() / (b * k) + pairs, b**2 * (fourth / k + pairs)


def test_over_a_run_the_averages_come_near_the_truth(config):
    """Here the squared gradient is a hundredth of the trace: one measurement of it says nothing."""
    series = GeneratorConfig(kind="lag", rows=450, channels=10)
    data = config.data.model_copy(update={"generate": series})
    config = config.model_copy(update={"data": data}).edits(
        {"training.max_steps": 60, "training.evaluate_every": 1, "optimizer.lr": 3e-3}
    )
    dataset = load_dataset(data)
    shapes = Shapes(12, dataset.train.n_channels, 2, 2)
    model = build(config, shapes, torch.Generator().manual_seed(0))
    found = {signal.name: [] for signal in NOISE.signals}
    watcher = Watcher(
        [NOISE],
        dataset.train,
        config,
        lambda signal, _, __, value: found[signal.name].append(value),
    )
    truth = Truth(dataset.train)
    with torch.random.fork_rng(devices=[]):
        Training(model, dataset.train, dataset.validation, config, [watcher, truth]).run()
    assert watcher.failures == {}
    names = ("gradient_square", "gradient_covariance_trace", "undropped_train_loss")
    expected = np.mean(truth.terms, axis=0)
    errors = np.sqrt(np.sum(truth.variances, axis=0)) / len(truth.terms)
    for name, wanted, error in zip(names, expected, errors, strict=True):
        assert len(found[name]) == len(truth.terms) == 61
        assert fmean(found[name]) == pytest.approx(wanted, abs=4 * error)
        assert 4 * error < 0.75 * wanted, "too wide a tolerance to see a mistake"
