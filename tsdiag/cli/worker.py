"""``tsdiag worker``: join a study from this or any other machine, until its budget is spent."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from tsdiag.cli.opening import DEFAULT_PATIENCE, PatienceOption
from tsdiag.cli.options import DEFAULT_STORAGE, Device, Storage

if TYPE_CHECKING:
    from tsdiag.store.database import Store
    from tsdiag.store.runs import RunRow

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
    patience: PatienceOption = DEFAULT_PATIENCE,
    deadline: Deadline = math.inf,
    finals_only: FinalsOnly = False,
    verify: Verify = "",
) -> None:
    """Join a study and run trials until its budget is spent.

    Start as many as you like, on any machine that reaches the database, the
    artifact folder and the data. One thread each. Ctrl-C or SIGTERM hands the
    running trial back within ten seconds.
    """
    import os
    import signal
    import sys

    # While it loads there is nothing to hand back. Afterwards Interruption sees to it.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    # Before torch is loaded: two threads that share a busy core are slower than one.
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    from tsdiag.cli.opening import await_store
    from tsdiag.search.interruption import PARENT, Interruption
    from tsdiag.search.verifier import Verifier
    from tsdiag.search.worker import Place, Worker

    torch.set_num_threads(1)
    by_hand = PARENT not in os.environ
    if index is None:
        # Two workers of one index would draw the same trials.
        index = int.from_bytes(os.urandom(4))
    with Interruption() as interruption:
        # Until it is at something, reading the rows may take longer than there is to end in.
        interruption.overdue = lambda: None
        store = await_store(storage, patience, interruption.__bool__)
        if by_hand:
            deadline = _join(store, name, of)
        place = Place(index, of, deadline, device, finals_only, verify)
        if verify:
            Verifier(store, place, interruption).work()
        else:
            Worker(store, name, place, interruption, _show if by_hand else lambda _: None).work()

    if by_hand:
        typer.echo(_parting(name, deadline, interruption.requested), err=True)
    # Unloading torch takes a second or, where the machine is busy, many of the ten.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _join(store: Store, name: str, of: int) -> float:
    """Return when the study's time is over; say what whoever starts workers wants to know."""
    from tsdiag.report.wording import duration
    from tsdiag.search.budget import join
    from tsdiag.search.connections import connections, connections_line
    from tsdiag.search.spec import stored_spec
    from tsdiag.store.studies import load_study
    from tsdiag.uptime import uptime

    deadline = join(store, name, stored_spec(name, load_study(store, name).spec).search.timeout)
    if (found := connections(store)) is not None:
        typer.echo(connections_line(found, of, 0), err=True)
    left = deadline - uptime()
    if left <= 0:
        typer.echo(
            f"the time of study {name} has been over for {duration(-left)}; more of it: tsdiag "
            "search STUDY --timeout TIME",
            err=True,
        )
    else:
        typer.echo(f"joined study {name}", err=True)
    return deadline


def _show(row: RunRow) -> None:
    """Say what became of a run, as the log of a machine far away wants it; failures say more."""
    from tsdiag.report.runs import run_line

    if row.state != "failed":
        typer.echo(run_line(row), err=True)


def _parting(name: str, deadline: float, stopped: bool) -> str:
    """Return why a worker ends, and what comes next."""
    import shlex

    from tsdiag.uptime import uptime

    if stopped:
        return "asked to stop: what was under way is queued again, to go on from where it was saved"
    over = uptime() > deadline
    why = f"the time of study {name} is over" if over else f"nothing is left to do in study {name}"
    return f"{why}\nNext: tsdiag compare {shlex.quote(name)}"
