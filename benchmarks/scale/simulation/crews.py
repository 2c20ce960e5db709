"""Simulated workers: forked from a process that has loaded everything, all on one database."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import psutil
import torch
from optuna.storages import RDBStorage
from simulation.counting import FORK, Ledger
from simulation.recording import Recording
from simulation.replay import Pace, SleepingWorker, simulate
from sqlalchemy.orm import scoped_session, sessionmaker
from sqlalchemy.pool import QueuePool

from tsdiag.search import storage, worker
from tsdiag.search.conduct import prepare
from tsdiag.search.interruption import Interruption
from tsdiag.search.spec import StudySpec
from tsdiag.search.worker import Place, Task
from tsdiag.store import database
from tsdiag.store.database import Store, open_store
from tsdiag.store.findings import told_of
from tsdiag.store.runs import find_runs

_STOP = 120.0  # [s] within which workers that were asked to stop must have ended


# How a worker keeps its connections, and how many it has even when it does nothing: for a
# transaction, or as long as it lives, one for each of its two engines (ours and Optuna's), or one.
KEPT = {"transaction": 0, "engine": 2, "worker": 1}


class KeptPool(QueuePool):
    """One connection, opened once and kept."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **(options | {"pool_size": 1, "max_overflow": 4}))


def keep_connections(how: str) -> None:
    """From here on stores of this process keep their connections so."""
    if how != "transaction":
        database.NullPool = KeptPool  # type: ignore[attr-defined]
        storage.NullPool = KeptPool  # type: ignore[attr-defined]
    if how == "worker":
        worker.open_storage = _sharing(worker.open_storage)


def _sharing(open_storage: Callable[[Store], RDBStorage]) -> Callable[[Store], RDBStorage]:
    def opened(store: Store) -> RDBStorage:
        found = open_storage(store)
        found.engine.dispose()
        found.engine = store.engine
        found.scoped_session = scoped_session(sessionmaker(bind=store.engine))
        return found

    return opened


@dataclass(frozen=True)
class Crew:
    """How many workers, on what, and how they keep their connections."""

    url: str
    study: str
    workers: int
    recording: Recording
    pace: Pace
    connections: str = "transaction"
    spread: float = 0.0  # [s] over which they begin, one after the other

    @contextmanager
    def at_work(self, ledger: Ledger, folder: Path) -> Iterator[list[ForkProcess]]:
        """Start the workers; at the end, ask them to stop and wait until they have."""
        gc.collect()
        gc.freeze()  # what the workers share stays shared: no collection touches it
        processes = [
            FORK.Process(target=self._work, args=(index, ledger, folder))
            for index in range(self.workers)
        ]
        for process in processes:
            process.start()
        try:
            yield processes
        finally:
            stop(processes)

    def _work(self, index: int, ledger: Ledger, folder: Path) -> None:
        log = os.open(folder / f"worker-{index}.log", os.O_WRONLY | os.O_CREAT)
        for stream in (sys.stdout, sys.stderr):
            os.dup2(log, stream.fileno())
        with Interruption() as interruption:
            book = ledger.count(index)
            simulate(self.recording, self.pace)
            keep_connections(self.connections)
            _wait(self.spread * index / self.workers, interruption)
            store, place = open_store(self.url), Place(index=index, device="cpu")
            book.ours = store.engine
            SleepingWorker(store, self.study, place, interruption).work()


def stop(processes: list[ForkProcess]) -> None:
    """Ask workers to stop; kill those that do not."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + _STOP
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


def cpu_seconds(processes: list[ForkProcess]) -> float:
    """Return the CPU time of live workers so far [s]."""
    found = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            times = psutil.Process(process.pid).cpu_times()
            found += times.user + times.system
    return found


class _Filler(SleepingWorker):
    wanted = 0

    def _next(self) -> Task | None:
        return None if self._trials.finished() >= self.wanted else super()._next()


def fill(url: str, spec: StudySpec, recording: Recording, trials: int, stalled: bool) -> str:
    """Register a study, with its baseline, its floors and so many trials done at once.

    In this process, so that it has loaded whatever workers need. Returns the state of the last.
    """
    torch.set_num_threads(1)
    store = open_store(url)
    prepare(store, spec)
    simulate(recording, Pace(0.0, stalled=stalled))
    filler = _Filler(store, spec.name, Place(device="cpu"), Interruption())
    filler.wanted = trials
    filler.work()
    return told_of(store, spec.name)[find_runs(store, spec.name, "trial")[-1].id].state


def _wait(seconds: float, interruption: Interruption) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not interruption:
        time.sleep(min(0.5, max(0.0, until - time.monotonic())))


def artifacts_in(folder: Path) -> None:
    """Put what workers leave beside the database into a folder."""
    os.environ["TSDIAG_ARTIFACTS"] = str(folder / "artifacts")
