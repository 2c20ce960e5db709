"""What is measured on a study of many trials: the life of one trial, and what people ask for."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from wsgiref.types import WSGIApplication
from wsgiref.util import setup_testing_defaults

import optuna
from filling import NAME, Pattern

from tests.fetched import Fetched, fetched
from tsdiag.cli.dashboard import _application
from tsdiag.cli.progress import search_lines
from tsdiag.cli.trials import trials
from tsdiag.config import RunConfig
from tsdiag.diagnostics.signals import Trace
from tsdiag.explanation import explain
from tsdiag.search.artifacts import artifact_store
from tsdiag.search.conduct import Snapshot, _standing
from tsdiag.search.explaining import explain_case
from tsdiag.search.interruption import Interruption
from tsdiag.search.mirror import mirror
from tsdiag.search.registration import open_queue
from tsdiag.search.spec import StudySpec
from tsdiag.search.storage import open_storage
from tsdiag.search.worker import Place, Worker
from tsdiag.store.cases import load_case
from tsdiag.store.curves import append_curves, load_trace
from tsdiag.store.database import Store
from tsdiag.store.runs import RunRow, create_run, update_run
from tsdiag.uptime import uptime

# More than there will ever be, so that the study's budget is never spent.
ENDLESS = 10**9
_HOUR = 3600.0


@dataclass
class Sample:
    """One operation, as often as it was done."""

    seconds: list[float] = field(default_factory=list)
    fetched: list[Fetched] = field(default_factory=list)


class Stopwatch:
    """Times operations by name and counts what they ask of the database."""

    def __init__(self) -> None:
        self.samples: dict[str, Sample] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Measure what is done meanwhile."""
        sample = self.samples.setdefault(name, Sample())
        with fetched() as found:
            began = time.perf_counter()
            yield
            sample.seconds.append(time.perf_counter() - began)
        sample.fetched.append(found)

    def several(self, name: str, times: int, operation: Callable[[], object]) -> None:
        """Measure an operation several times."""
        for _ in range(times):
            with self(name):
                operation()


def measure(store: Store, spec: StudySpec, pattern: Pattern, times: int) -> dict[str, Sample]:
    """Carry out every operation several times on the study as it stands."""
    watch = Stopwatch()
    worker = Worker(store, NAME, _place(), Interruption())
    worker._next()  # it has been at work for a while
    _lives(watch, worker, store, pattern, times)
    _first_ask(watch, store, spec)
    watch.several("worker: look for work, none there", times, worker._next)
    watch.several("worker: final runs, what is pending", times, worker._finals.pending)
    _claim_final(watch, worker, times)
    watch.several("search: show progress", times, lambda: _poll(store, spec))
    last = str(pattern.run.trial)
    url = store.full_url
    watch.several("explain, in process", times, lambda: explain(last, NAME, url))
    watch.several("trials, in process", min(times, 3), lambda: _quietly(lambda: trials(NAME, url)))
    _dashboard(watch, store, pattern)
    for words in (("explain", last, "--study", NAME), ("trials", NAME)):
        watch.several(f"tsdiag {words[0]}", min(times, 3), lambda words=words: _run(words, url))
    return watch.samples


def _place() -> Place:
    return Place(of=4, device="cpu", deadline=uptime() + _HOUR)


def _lives(watch: Stopwatch, worker: Worker, store: Store, pattern: Pattern, times: int) -> None:
    """Let a worker carry out trials, but for the training."""
    trace = load_trace(store, pattern.run.id)
    for number in range(times + 1):
        # The first one fills caches; it is the life of a trial like any other's.
        _Life(watch if number else Stopwatch(), worker, store, pattern, trace).lead()


@dataclass(frozen=True)
class _Life:
    """One trial from its question to its answer."""

    watch: Stopwatch
    worker: Worker
    store: Store
    pattern: Pattern
    trace: Trace

    def lead(self) -> None:
        """Go through all that a worker does with a trial."""
        queue = self.worker._trials
        with self.watch("trial: ask for it"):
            trial = queue.claim(ENDLESS)
        assert trial is not None
        with self.watch("trial: draw its parameters (Optuna)"):
            config = self.worker._resolve(queue, trial)
        row = self._train(trial, config)
        with self.watch("trial: ask the rules"):
            case = load_case(self.store, row)
            diagnosis = explain_case(self.store, case, row)
        with self.watch("trial: note and figures for the dashboard"):
            mirror(trial, case, diagnosis, artifact_store(self.store))
        with self.watch("trial: tell how it ended"):
            queue.finish(trial.number, row)

    def _train(self, trial: optuna.Trial, config: RunConfig) -> RunRow:
        begun = replace(
            self.pattern.run,
            id=f"{trial.number:032x}",
            trial=trial.number,
            config=config.to_json(),
            state="running",
            started=None,
            updated=None,
            finished=None,
        )
        with self.watch("trial: store its run"):
            row = create_run(self.store, begun)
        for step in range(20, 160, 20):
            trial.report(0.35, step)
        with self.watch("trial: store an evaluation"):
            append_curves(self.store, row.id, self.trace.signals)
            update_run(self.store, row.id, step=160, validation_loss=0.9)
        with self.watch("trial: report it, and ask the pruner"):
            trial.report(0.9, 160)
            trial.should_prune()
        update_run(self.store, row.id, state="completed")
        return replace(row, state="completed", validation_loss=0.9)


def _first_ask(watch: Stopwatch, store: Store, spec: StudySpec) -> None:
    for number in range(3):
        with watch("trial: ask for the first one in a process"):
            queue = open_queue(store, open_storage(store), spec, "trial", number)
            trial = queue.claim(ENDLESS)
        queue.study.tell(trial.number, state=optuna.trial.TrialState.FAIL)


def _claim_final(watch: Stopwatch, worker: Worker, times: int) -> None:
    finals = worker._finals
    for _ in range(times):
        with watch("worker: claim a final run"):
            final = finals.next()
        finals.release(final.candidate, final.seed)


def _poll(store: Store, spec: StudySpec) -> None:
    now = uptime()
    search_lines(Snapshot(spec, *_standing(store, spec), now, now + _HOUR, 4))


def _dashboard(watch: Stopwatch, store: Store, pattern: Pattern) -> None:
    application = _application(store.full_url)
    pages = {"list of studies": "/api/studies", "a study": f"/api/studies/{pattern.study_id}"}
    for call in ("first", "second"):
        for name, path in pages.items():
            with watch(f"dashboard (Optuna): {name}, {call} call"):
                _get(application, path)


def _get(application: WSGIApplication, path: str) -> None:
    environment = {"PATH_INFO": path, "REQUEST_METHOD": "GET"}
    setup_testing_defaults(environment)
    answered = []
    body = b"".join(application(environment, lambda status, *_: answered.append(status)))
    assert answered[0].startswith("200"), answered
    json.loads(body)


def _run(words: tuple[str, ...], url: str) -> None:
    # By environment: arguments are public, and an error prints them; the URL may hold a password.
    environment = os.environ | {"TSDIAG_STORAGE": url}
    command = [sys.executable, "-m", "tsdiag", *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)


def _quietly(operation: Callable[[], object]) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        operation()
