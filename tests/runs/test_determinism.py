"""A configuration determines its run; seeds pair runs of different models."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tsdiag.runs.artifacts import read_bytes
from tsdiag.store.curves import load_trace


class Batches:
    """Keeps the batches that a run saw, and its weights before the first update."""

    def __init__(self):
        self.batches, self.first = [], None

    def after_backward(self, moment):
        if self.first is None:
            self.first = [p.detach().clone() for p in moment.model.parameters()]
        self.batches.append((moment.inputs.clone(), moment.targets.clone()))

    def after_update(self, moment):
        pass

    def after_evaluation(self, moment):
        pass


def seen(config, execute):
    batches = Batches()
    execute(config, observers=[batches])
    return batches


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
def test_equal_configurations_give_equal_runs(kind, config, lstm_config, execute, store, artifacts):
    chosen = {"transformer": config, "lstm": lstm_config}[kind]
    rows = [execute(chosen).row for _ in range(2)]
    weights = [read_bytes(artifacts, row.weights) for row in rows]
    assert weights[0] == weights[1]
    traces = [load_trace(store, row.id).signals for row in rows]
    for one, other in zip(*traces, strict=True):
        assert (one.name, one.where, one.unit) == (other.name, other.where, other.unit)
        assert np.array_equal(one.steps, other.steps)
        assert np.array_equal(one.values, other.values)


def test_observers_do_not_change_a_run(config, execute, artifacts):
    rows = [execute(config).row, execute(config, observers=[Batches()]).row]
    assert len({read_bytes(artifacts, row.weights) for row in rows}) == 1


def test_a_run_leaves_global_generators_alone(dataset, config, store, artifacts):
    from tsdiag.runs.execute import Execution, Request
    from tsdiag.training.loop import never

    states = (torch.get_rng_state(), np.random.get_state()[1].copy())  # noqa: NPY002
    request = Request("wind", "trial", config, 0)
    Execution(request, dataset, store, artifacts, torch.device("cpu")).carry_out(never)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002


def test_another_seed_is_another_order_and_other_weights(config, execute):
    one, other = (seen(config.edit("seed", seed), execute) for seed in (0, 1))
    assert not torch.equal(one.batches[0][0], other.batches[0][0])
    assert any(not torch.equal(a, b) for a, b in zip(one.first, other.first, strict=True))


def test_dropout_does_not_repeat_the_draws_of_the_first_weights(config, execute):
    drawn = []

    class Dropout:
        def after_backward(self, moment):
            pass

        def after_update(self, moment):
            pass

        def after_evaluation(self, moment):
            if moment.step == 0:
                drawn.append(torch.get_rng_state())

    execute(config, observers=[Dropout()])
    assert not torch.equal(drawn[0], torch.Generator().manual_seed(config.seed).get_state())


def test_two_architectures_with_one_seed_see_the_same_batches(config, lstm_config, execute):
    one, other = seen(config, execute), seen(lstm_config, execute)
    assert len(one.batches) == len(other.batches) == 12
    for a, b in zip(one.batches, other.batches, strict=True):
        assert torch.equal(a[0], b[0])
        assert torch.equal(a[1], b[1])
