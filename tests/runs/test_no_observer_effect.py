"""Probes change nothing: not a bit of a run, and nothing that stays behind in the process."""

from __future__ import annotations

import gc

import psutil
import pytest
import torch
from torch.nn.modules import module as module_internals

from tsdiag.diagnostics.probes import AT_END, LIVE, PROBES
from tsdiag.models import preset
from tsdiag.runs.artifacts import read_bytes
from tsdiag.store.curves import load_trace

# Of every part that a probe looks into, every kind.
TRANSFORMERS = {
    "default": {},
    "founding": {
        "model.d_model": "channels",
        "model.embedding": "identity",
        "model.head_dim": 32,
        "model.positions": "none",
        "model.pooling": "mean_channels",
        "model.final_norm": False,
        "model.attention_dropout": 0.2,
        "model.attention_dropout_kind": "probability",
    },
    "plain-dropout": {
        "model.attention_dropout": 0.2,
        "model.attention_dropout_kind": "probability",
    },
    "key-dropout": {"model.attention_dropout": 0.2, "model.attention_dropout_kind": "key"},
    "rotary-qk-norm": {"model.positions": "rotary", "model.qk_norm": True},
    "inverted-post": {
        "model.embedding": "inverted",
        "model.norm": "post",
        "model.pooling": "mean_time",
    },
    "revin-post-sublayer": {"model.window_norm": "revin", "model.norm": "post_sublayer"},
    "attention-pool-conv": {"model.embedding": "conv", "model.pooling": "attention"},
    "frozen": {"optimizer.frozen": ["blocks.0.attention"]},
    "clipped": {"optimizer.clip_norm": 1e-3},
    "sam": {"optimizer.name": "sam"},
    "bfloat16": {"training.precision": "bfloat16"},
    "micro-batches": {"training.micro_batch": 4},
}


class Losses:
    """Keeps the loss of every step to the last bit."""

    def __init__(self):
        self.seen = []

    def after_backward(self, moment):
        self.seen.append((moment.train_loss, moment.gradient_norm))

    def after_update(self, moment):
        pass

    def after_evaluation(self, moment):
        self.seen.append(moment.validation_loss)


def assert_same_with_and_without(config, execute, artifacts, store):
    seen, weights = [], []
    for probes in ((), PROBES):
        losses = Losses()
        row = execute(config, observers=[losses], probes=probes).row
        assert row.state == "completed"
        assert "failed_probes" not in row.metrics
        seen.append(losses.seen)
        weights.append(read_bytes(artifacts, row.weights))
        found = {signal.name for signal in load_trace(store, row.id).signals}
        assert bool(found) == bool(probes)
    assert seen[0] == seen[1]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_transformer_is_the_same_bit_for_bit(name, config, execute, artifacts, store):
    assert_same_with_and_without(config.edits(TRANSFORMERS[name]), execute, artifacts, store)


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_the_lstm_is_the_same_bit_for_bit(name, lstm_config, execute, artifacts, store):
    config = lstm_config.edit("training.precision", name)
    assert_same_with_and_without(config, execute, artifacts, store)


def test_the_founding_lstm_is_the_same_bit_for_bit(config, execute, artifacts, store):
    small = {
        "model.conv_channels": 4,
        "model.lstm_units": 8,
        "training.max_steps": 3,
        "training.evaluate_every": 2,
    }
    literal = preset(config, "lstm", "founding").edits(small)
    assert_same_with_and_without(literal, execute, artifacts, store)


def test_a_resumed_run_measures_what_an_unbroken_one_does(config, execute, store, at):
    whole = load_trace(store, execute(config).row.id)
    first = execute(config, at(7)).row
    second = execute(config, parent=first.id).row
    parts = load_trace(store, second.id)
    assert [(s.name, s.where) for s in parts.signals] == [(s.name, s.where) for s in whole.signals]
    for one, other in zip(whole.signals, parts.signals, strict=True):
        assert one.steps.tolist() == other.steps.tolist(), (one.name, one.where)
        assert one.values.tobytes() == other.values.tobytes(), (one.name, one.where)


def test_fifty_trials_in_one_process_leave_nothing_behind(config, lstm_config, execute):
    short = {"training.max_steps": 4, "training.evaluate_every": 2}
    configs = [config.edits(short), lstm_config.edits(short)]
    counts, memory = [], []
    for number in range(50):
        done = execute(configs[number % 2], trial=number, probes=(*LIVE, *AT_END))
        assert all(not m._forward_hooks and not m._backward_hooks for m in done.model.modules())
        del done
        gc.collect()
        counts.append(sum(issubclass(type(found), torch.Tensor) for found in gc.get_objects()))
        memory.append(psutil.Process().memory_info().rss)
    assert module_internals._global_forward_hooks == {}
    # Caches fill during the first trials of each kind; after that nothing may grow.
    assert counts[-1] <= counts[9]
    assert memory[-1] - memory[9] < 40 * 2**20
