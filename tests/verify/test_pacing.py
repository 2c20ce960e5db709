"""What a step takes under changes is timed, and timing disturbs nothing."""

from __future__ import annotations

import pytest
import torch

from tests.verify.simulated import base
from tsdiag.config import DataConfig, GeneratorConfig
from tsdiag.data.dataset import load_dataset
from tsdiag.verify import pacing
from tsdiag.verify.pacing import step_time

CPU = torch.device("cpu")


def clock_of(**changes):
    source = GeneratorConfig(kind="lag", rows=400, channels=10)
    data = DataConfig(generate=source, target="level", transform="difference", context_length=48)
    config = base(training__batch_size=32, **changes).model_copy(update={"data": data})
    dataset = load_dataset(data)
    return lambda changes: step_time(config, changes, dataset, CPU)


def test_steps_are_timed_under_the_changes_and_timing_draws_nothing():
    before = torch.get_rng_state()
    clock = clock_of()
    assert clock({"model.ff_dim": 4096, "model.n_layers": 4}) > clock({}) > 0
    assert clock({"data.scale_target": False}) > 0
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("of_a_window", "batches"),
    [
        (1.0, [4, 4]),  # 32 s by proportion: nothing more needs to be known
        (0.01, [4, 32, 32]),  # a step of .32 s: the first one warms up
        (0.001, [4, 32, 32, 32, 32]),
    ],
)
def test_the_longer_a_step_the_less_of_it_is_carried_out(of_a_window, batches, monkeypatch):
    carried_out = []

    def step(training):
        carried_out.append(training.feed.batch_size)
        return of_a_window * training.feed.batch_size

    monkeypatch.setattr(pacing, "seconds_of_step", step)
    assert clock_of()({}) == pytest.approx(32 * of_a_window)
    assert carried_out == batches


def test_what_a_process_does_once_is_no_part_of_a_step(monkeypatch):
    """A GPU's context and libraries are loaded in the first step, of a part of the windows."""
    steps = iter((3.0, 0.02))
    monkeypatch.setattr(pacing, "seconds_of_step", lambda _: next(steps, 0.1))
    assert clock_of()({}) == 0.1


def test_what_memory_does_not_hold_has_no_time(monkeypatch):
    def step(_):
        raise RuntimeError("not enough memory: you tried to allocate 1 TB")

    monkeypatch.setattr(pacing, "seconds_of_step", step)
    assert clock_of()({}) is None
