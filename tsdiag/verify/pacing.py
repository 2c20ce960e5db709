"""What a step takes under changes: timed beforehand, since sets differ in it by tenfold."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any

import torch

from tsdiag.config import RunConfig
from tsdiag.data.dataset import Dataset
from tsdiag.runs.engine import seconds_of_step, throwaway

# A step that takes longer than this is timed on a part of its windows alone: in proportion these
# take more, by a fifth of the founding model, and no more needs to be known of what is so dear [s].
_DEAR, _PART = 2.0, 8
# Batch normalisation refuses a single window.
_LEAST = 2
# The first step warms up and does not count: of the founding model with patches it took seven times
# as long. Of steps that are shorter than this, the fastest of some is told [s].
_SHORT, _TURNS = 0.2, 3
_BATCH = "training.batch_size"


def step_time(
    base: RunConfig, changes: Mapping[str, Any], dataset: Dataset, device: torch.device
) -> float | None:
    """Return what a step takes on this machine under changes [s of processor time; GPU: of clock].

    None: such a step cannot be carried out here.
    """
    # How data are scaled has no part in the time, and is settled when they are loaded.
    config = base.edits({path: v for path, v in changes.items() if not path.startswith("data.")})
    batch = config.training.batch_size
    part = min(batch, max(_LEAST, batch // _PART))
    try:
        with _one_thread():
            with closing(_steps(config.edit(_BATCH, part), dataset, device)) as steps:
                took = next(steps) * batch / part
                if took > _DEAR:  # on a GPU a process's first step takes .3 s, whatever the model
                    took = next(steps) * batch / part
            if took > _DEAR:
                return took
            steps = _steps(config, dataset, device)
            turns = 1 if next(steps) > _SHORT else _TURNS
            return min(islice(steps, turns))
    except (RuntimeError, MemoryError):  # as a rule of memory; the run itself will say so
        return None


@contextmanager
def _one_thread() -> Generator[None]:
    """Compute as workers do: processor time of several threads holds what they wait."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _steps(config: RunConfig, dataset: Dataset, device: torch.device) -> Generator[float]:
    """Yield what one step after the other takes [s]."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        training = throwaway(config, dataset, device)
        while True:
            yield seconds_of_step(training)
