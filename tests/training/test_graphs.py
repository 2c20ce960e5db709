"""CUDA graphs replay the same computation; elsewhere the setting changes nothing."""

from __future__ import annotations

import pytest
import torch

from tsdiag.training.loop import Training


def test_without_a_gpu_it_is_the_same_run(config, begin):
    checkpoints = []
    for graph in (False, True):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            training = begin(config.edit("training.cuda_graph", graph))
            training.run()
            checkpoints.append(training.checkpoint())
    assert checkpoints[0] == checkpoints[1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["transformer", "lstm"])
def test_a_replayed_run_is_the_plain_run(kind, precision, config, lstm_config, dataset, new_model):
    still = {"model.dropout": 0.0, "training.precision": precision}
    chosen = {"transformer": config, "lstm": lstm_config}[kind].edits(still)
    device, losses = torch.device("cuda"), []
    for graph in (False, True):
        training = Training(
            new_model(chosen).to(device),
            dataset.train.to(device),
            dataset.validation.to(device),
            chosen.edit("training.cuda_graph", graph),
        )
        before = torch.cuda.get_rng_state(device)
        assert training.run().state == "completed"
        # Without dropout nothing was drawn, by the warm-up of a graph neither.
        assert torch.equal(torch.cuda.get_rng_state(device), before)
        losses.append(training.progress.last_validation_loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a CUDA device")
def test_dropout_differs_from_replay_to_replay(config, dataset, new_model):
    device = torch.device("cuda")
    graph = config.edit("training.cuda_graph", True)
    windows = (dataset.train.to(device), dataset.validation.to(device))
    training = Training(new_model(graph).to(device), *windows, graph)
    inputs = training.feed.batch(0)[0]
    one, other = (training.engine.forward(inputs).detach().clone() for _ in range(2))
    assert not torch.equal(one, other)
