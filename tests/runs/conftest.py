"""A store, an artifact folder and a small data set, and runs of the smallest models in them."""

from __future__ import annotations

import pytest
import torch

from tsdiag.diagnostics.probes import LIVE
from tsdiag.runs.execute import Execution, Request
from tsdiag.search.artifacts import artifact_store
from tsdiag.store.database import open_store
from tsdiag.training.loop import never


@pytest.fixture
def store(tmp_path):
    return open_store(f"sqlite:///{tmp_path}/tsdiag.db")


@pytest.fixture
def artifacts(store):
    return artifact_store(store)


@pytest.fixture
def execute(store, artifacts, dataset):
    """Carry out a configuration as a process of its own would: nothing of an earlier run is there.

    The global generator is somewhere else each time, which must not matter.
    """
    count = 0

    def carry_out(
        config, stop=never, observers=(), parent=None, on_resume=None, probes=LIVE, **request
    ):
        nonlocal count
        count += 1
        torch.manual_seed(1000 + count)
        torch.rand(count)
        words = {"study": "wind", "role": "trial", "trial": 0, **request}
        execution = Execution(
            Request(config=config, parent=parent, **words),
            dataset,
            open_store(store.full_url),
            artifact_store(store),
            torch.device("cpu"),
            probes,
        )
        return execution.carry_out(stop, observers, on_resume)

    return carry_out


@pytest.fixture
def at():
    """A stop at a step, with a state."""
    return lambda step, state="interrupted": lambda moment: state if moment.step == step else None
