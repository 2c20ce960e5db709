"""Does a study lose, double or change anything while its workers and its database are killed?

    python benchmarks/chaos/run.py [--short] [--database postgresql|mariadb|both] [--url URL]

Eight workers do a study of 300 trials on a private server while it is stormed; then the database is
counted. With --url the server there is left alone: a proxy before it is what goes away. Ends with 1
unless nothing was lost, doubled, stuck or changed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).parents[1]))

from disk import Disk, small_disk
from events import LONG, SHORT, plan
from launcher import Machine
from ledger import Ledger, Lineage, Row, count, has_verdict, read_tables
from measuring.environment import show_environment
from measuring.servers import Server, drop_database, make_database, private
from proxy import proxied
from report import Report, show
from rich.console import Console
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import NullPool
from storm import Storm, View
from study import BESIDE, NAME, study_text
from twins import differences
from workers import Crew

from tsdiag.search.spec import read_spec
from tsdiag.store.urls import parse


@dataclass(frozen=True)
class Form:
    """How large a storm is."""

    workers: int
    trials: int
    steps: int
    events: dict[str, int]
    controls: int  # lineages that nothing happened to, run again all the same
    machine: Machine


# Eight workers share the cores of one machine, so each is slower, and silent for longer.
LONG_FORM = Form(8, 300, 150, LONG, controls=20, machine=Machine(10.0, checkpoint_every=1.0))
SHORT_FORM = Form(3, 20, 150, SHORT, controls=4, machine=Machine(5.0, checkpoint_every=0.3))
# Long enough that no study is cut short by it, and no longer than a clock may be wrong.
TIMEOUT = "55m"
# What leaves a trial for another worker to go on with; of so many hits some must have left one.
_INTERRUPTING = ("kill", "preempt", "stop")
_MANY = 20
_ENDING = (signal.SIGTERM, signal.SIGHUP)


class Journal:
    """Tells on stderr what happens, and when."""

    def __init__(self) -> None:
        self.began = time.monotonic()

    def __call__(self, words: str) -> None:
        """Tell one thing."""
        sys.stderr.write(f"{time.monotonic() - self.began:7.1f} s  {words}\n")


def stormed(server: Server, disk: Disk, folder: Path, form: Form, seed: int, kind: str) -> Report:
    """Let a study run through a storm, and return what came of it."""
    say, rng = Journal(), random.Random(seed)
    (folder / "study.toml").write_text(study_text(seed, form.trials, form.steps, TIMEOUT))
    environment = {
        "TSDIAG_STORAGE": server.url.render_as_string(hide_password=False),
        "TSDIAG_ARTIFACTS": str(disk.folder),
    }
    ask = Asking(folder, environment)
    if failed := ask("prepare", "study.toml"):
        raise RuntimeError(failed)
    wanted = form.trials + BESIDE
    view = View(server, wanted)
    machine = replace(form.machine, full="" if disk.is_real else str(disk.filler))
    worker = ["worker", NAME, "--device", "cpu", "--traceback"]
    crew = Crew(worker, environment, folder, machine, rng, say)
    events = plan(rng, form.events, machine.lease, (form.trials + 1) / wanted)
    storm = Storm(crew, server, disk, view, events, say)
    with contextlib.ExitStack() as ends:
        ends.callback(crew.end)  # also where calming down, which comes first, fails
        ends.callback(storm.calm)
        for index in range(form.workers):
            crew.start(index)
        came_to_rest = storm.blow()
    report = Report(kind, disk.words, storm.did, max(crew.seconds, default=0.0))
    report.faults = {
        "not gone within 10 s": crew.late,
        "ended by itself": crew.unasked,
        "left early": storm.early,
    }
    if not came_to_rest:
        report.faults["came to a standstill"] = [f"{view.done} of {wanted} runs were done"]
    if storm.plan:
        report.faults["planned and not done"] = [event.kind for event in storm.plan]
    time.sleep(machine.lease + 1)  # what the dead have left runs out
    say("all workers have ended; counting")
    engine = create_engine(server.url, poolclass=NullPool)
    tables = read_tables(engine)
    ledger = settle(report, tables, disk, folder, form)
    # Not before: it trains the final runs that are missing, and then nobody would miss them.
    report.faults["no verdict"] = judge(ask, engine)
    report.seconds = time.monotonic() - say.began
    do_again(report, ledger, tables["tsdiag_curves"], disk, form, rng)
    return report


def settle(
    report: Report, tables: dict[str, list[Row]], disk: Disk, folder: Path, form: Form
) -> Ledger:
    """Count what the workers have left in the database."""
    kept = {name: rows for name, rows in tables.items() if name != "tsdiag_curves"}
    (folder / "tables.txt").write_text(json.dumps(kept, default=str, indent=1))
    asked = [dict(paths) for paths in read_spec(folder).enqueue]
    ledger = count(tables, NAME, asked, form.trials, BESIDE - 1, disk.folder)
    report.faults |= ledger.faults
    report.leftovers = ledger.leftovers
    return ledger


def judge(ask: Asking, engine: Engine) -> list[str]:
    """Ask for the verdict, as whoever starts workers by hand does; return why there is none."""
    if failed := ask("compare", NAME):
        return [failed]
    return [] if has_verdict(read_tables(engine), NAME) else ["tsdiag compare stored none"]


def do_again(
    report: Report,
    ledger: Ledger,
    curves: list[Row],
    disk: Disk,
    form: Form,
    rng: random.Random,
) -> None:
    """Do again what was interrupted, and some of the rest, and compare."""
    chosen = _to_do_again(ledger, form.controls, rng)
    report.resumed = sum(lineage.is_resumed for lineage in chosen)
    report.compared = len(chosen)
    # Where nothing was resumed, nothing that was resumed can differ. A few hits may all have met
    # trials that had not saved anything yet.
    hit = sum(report.did[kind] for kind in _INTERRUPTING)
    vain = hit >= _MANY and report.resumed == 0
    report.faults["nothing was resumed"] = [f"{hit} workers were hit"] if vain else []
    report.faults["not bit-equal"] = [
        f"{lineage.name}, {lineage.tries} tries: {', '.join(found)}"
        for lineage, found in differences(chosen, curves, disk.folder)
        if found
    ]


def _to_do_again(ledger: Ledger, controls: int, rng: random.Random) -> list[Lineage]:
    done = [lineage for lineage in ledger.lineages if lineage.result is not None]
    untouched = [lineage for lineage in done if not lineage.is_resumed]
    sample = rng.sample(untouched, min(controls, len(untouched)))
    return [lineage for lineage in done if lineage.is_resumed] + sample


@dataclass(frozen=True)
class Asking:
    """tsdiag's command line, outside of the storm."""

    folder: Path
    environment: dict[str, str]

    def __call__(self, *words: str) -> str:
        """Run a command to its end; return "", or how it failed."""
        found = subprocess.run(
            [sys.executable, "-m", "tsdiag", *words],
            cwd=self.folder,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if found.returncode == 0:
            return ""
        said = f"{found.stdout}{found.stderr}".strip()
        return f"tsdiag {' '.join(words)}: exit code {found.returncode}: {said}"


@contextlib.contextmanager
def servers(kind: str, url: str | None) -> Iterator[Server]:
    """Give a private server, or a new database on another one behind a proxy."""
    if url is None:
        with private(kind) as server:
            yield server
        return
    name = f"chaos_{uuid.uuid4().hex[:12]}"
    made = make_database(parse(url), name)
    try:
        with proxied(made) as server:
            yield server
    finally:
        drop_database(parse(url), name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="three workers, twenty trials")
    parser.add_argument("--database", choices=("postgresql", "mariadb", "both"), default="both")
    parser.add_argument("--url", help="a server that others use too: it is not stopped")
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn")
    parser.add_argument("--only", nargs="*", help="kinds of events: kill preempt stop outage full")
    parser.add_argument("--logs", type=Path, help="a new folder to keep what the workers said in")
    options = parser.parse_args()
    for number in _ENDING:
        signal.signal(number, _leave)
    form = SHORT_FORM if options.short else LONG_FORM
    if options.only is not None:
        form = replace(form, events={name: form.events[name] for name in options.only})
    kinds = ["postgresql", "mariadb"] if options.database == "both" else [options.database]
    if options.url:
        kinds = ["mariadb" if parse(options.url).get_backend_name() == "mysql" else "postgresql"]
    console = Console(width=120)
    show_environment(console)
    reports = []
    for kind in kinds:
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tsdiag-chaos-")))
            server = stack.enter_context(servers(kind, options.url))
            disk = stack.enter_context(small_disk(folder / "artifacts"))
            reports.append(stormed(server, disk, folder, form, options.seed, kind))
            show(console, reports)
            if options.logs:
                _keep(folder, options.logs / kind)
    return 0 if all(report.is_clean for report in reports) else 1


def _leave(number: int, _: FrameType | None) -> None:
    """End by an exception, or nobody would take down what was started; once is enough for that."""
    for each in _ENDING:
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def _keep(folder: Path, logs: Path) -> None:
    logs.mkdir(parents=True)
    for file in folder.glob("*.txt"):
        (logs / file.name).write_bytes(file.read_bytes())


if __name__ == "__main__":
    sys.exit(main())
