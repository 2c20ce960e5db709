"""``tsdiag worker``: join a study from this or any other machine, until its budget is spent."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from tsdiag.cli.options import DEFAULT_STORAGE, Device, Storage

Index = Annotated[
    int | None,
    typer.Option(min=0, help="Seeds what this worker tries; left out: a number of its own."),
]
Of = Annotated[int, typer.Option(min=1, help="How many workers share this machine's memory.")]
Deadline = Annotated[float, typer.Option(hidden=True)]
FinalsOnly = Annotated[bool, typer.Option("--finals-only", hidden=True)]
Verify = Annotated[str, typer.Option("--verify", metavar="RUN", hidden=True)]


def worker(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The study to join.")],
    storage: Storage = DEFAULT_STORAGE,
    device: Device = "auto",
    index: Index = None,
    of: Of = 1,
    deadline: Deadline = math.inf,
    finals_only: FinalsOnly = False,
    verify: Verify = "",
) -> None:
    """Join a study and run trials until its budget is spent.

    Start as many as you like, on any machine that reaches the database, the
    artifact folder and the data. One thread each. Ctrl-C or SIGTERM hands the
    running trial back.
    """
    import os
    import time

    # Before torch is loaded: two threads that share a busy core are slower than one.
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    from tsdiag.search.interruption import Interruption
    from tsdiag.search.spec import stored_spec
    from tsdiag.search.verifier import Verifier
    from tsdiag.search.worker import Place, Worker
    from tsdiag.store.database import open_store
    from tsdiag.store.studies import load_study

    torch.set_num_threads(1)
    open_store(storage, read_only=True)  # a mistyped database is an error, not a new one
    store = open_store(storage)
    timeout = stored_spec(name, load_study(store, name).spec).search.timeout
    if math.isinf(deadline) and timeout:
        deadline = time.time() + timeout
    if index is None:
        # Two workers of one index would draw the same trials.
        index = int.from_bytes(os.urandom(4))
    place = Place(index, of, deadline, device, finals_only, verify)
    with Interruption() as interruption:
        if verify:
            Verifier(store, place, interruption).work()
        else:
            Worker(store, name, place, interruption).work()
