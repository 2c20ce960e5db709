"""``tsdiag search``: run or resume a study, then say whether a transformer wins."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from tsdiag.cli.opening import DEFAULT_PATIENCE, PatienceOption
from tsdiag.cli.options import DEFAULT_STORAGE, Device, Storage, Workers
from tsdiag.errors import UsageError, redact

if TYPE_CHECKING:
    from tsdiag.search.conduct import SearchResult
    from tsdiag.search.spec import StudySpec
    from tsdiag.store.database import Store

DEFAULT_STUDY = "beijing33"

Study = Annotated[
    str | None,
    typer.Argument(
        metavar="STUDY",
        help="A study.toml, its folder, or a shipped study's name [default: beijing33].",
        show_default=False,
    ),
]
Data = Annotated[
    str | None,
    typer.Option("--data", metavar="FILE|URL", help="Rows to search on without a study.toml."),
]
Target = Annotated[
    list[str] | None,
    typer.Option("--target", metavar="COLUMN", help="With --data: what to predict; repeatable."),
]
Query = Annotated[
    str | None, typer.Option("--query", metavar="SQL", help="With --data URL: the rows.")
]
Trials = Annotated[
    int | None, typer.Option("--trials", min=1, metavar="N", help="How many trials in all.")
]
Timeout = Annotated[
    str | None,
    typer.Option("--timeout", metavar="TIME", help="Wall clock, such as 30m; verdict included."),
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, metavar="N", help="Of the search.")]
Repair = Annotated[
    int | None,
    typer.Option("--repair", min=0, metavar="TRIAL", help="Try this trial's verified repair next."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show study, data and estimated cost; train nothing.")
]


def search(
    study: Study = None,
    data: Data = None,
    target: Target = None,
    query: Query = None,
    trials: Trials = None,
    timeout: Timeout = None,
    workers: Workers = 0,
    seed: Seed = None,
    storage: Storage = DEFAULT_STORAGE,
    device: Device = "auto",
    repair: Repair = None,
    patience: PatienceOption = DEFAULT_PATIENCE,
    dry_run: DryRun = False,
) -> None:
    """Search transformers against the baseline; the same line again resumes.

    The baseline trains first, then trials of transformers. The best ones and
    the baseline train again on fresh seeds and meet the test span once.

    With --repair, what "tsdiag explain TRIAL --verify" found is tried next, also
    where all trials are done.
    """
    from tsdiag.search.request import requested_spec

    if repair is not None and data is None:
        spec = _study_to_repair(storage, study)
    else:
        spec = requested_spec(study or DEFAULT_STUDY, data, target, query)
    spec = spec.with_search(trials=trials, timeout=timeout, seed=seed)
    if study is not None and data is not None:
        shown = redact(data)
        raise UsageError(f'search "{study}" and --data {shown}: name a study or data, not both')
    if dry_run and repair is not None:
        raise UsageError(
            f"--repair {repair} and --dry-run: a dry run reads no trials; leave one of them out"
        )
    if dry_run:
        from tsdiag.search.estimate import dry_run_text

        typer.echo(dry_run_text(spec, workers, device))
        return
    _search(spec, storage, workers, device, repair, patience)


def _study_to_repair(storage: str, study: str | None) -> StudySpec:
    from tsdiag.search.repairing import study_to_repair
    from tsdiag.store.database import open_store

    # A mistyped database is an error, not a new one.
    return study_to_repair(open_store(storage, read_only=True), study)


def _search(
    spec: StudySpec, storage: str, workers: int, device: str, repair: int | None, patience: str
) -> None:
    from tsdiag.cli.opening import open_for_work
    from tsdiag.cli.progress import Progress, search_lines
    from tsdiag.report.data_summary import data_summary_text
    from tsdiag.search.conduct import conduct, prepare
    from tsdiag.search.repairing import asked_repair, enqueue_repair

    store = open_for_work(storage, patience)
    asked = None if repair is None else asked_repair(store, spec, repair)
    typer.echo(f"study {spec.name}: reading the data", err=True)
    dataset = prepare(store, spec)
    typer.echo(data_summary_text(dataset.summary), err=True)
    if asked is not None:
        typer.echo(enqueue_repair(store, spec, asked), err=True)
    _tell_connections(store, workers, device)
    with Progress(search_lines) as progress:
        result = conduct(store, spec, dataset, workers=workers, device=device, show=progress)
    _print_result(store, spec, result, storage)


def _tell_connections(store: Store, workers: int, device: str) -> None:
    from tsdiag.runs.environment import choose_device
    from tsdiag.search.conduct import default_workers
    from tsdiag.search.connections import connections, connections_line

    if (found := connections(store)) is not None:
        count = workers or default_workers(choose_device(device))
        typer.echo(connections_line(found, count, 1), err=True)


def _print_result(store: Store, spec: StudySpec, result: SearchResult, storage: str) -> None:
    from tsdiag.diagnostics.leaks import leak
    from tsdiag.report.leaderboard import leaderboard_text
    from tsdiag.report.study import no_verdict, repairs_text, search_summary, suspicion
    from tsdiag.report.verdict import verdict_text
    from tsdiag.store.cases import audit_of
    from tsdiag.store.studies import list_studies, load_study

    typer.echo(leaderboard_text(result.board, most=10))
    typer.echo("")
    if (reason := leak(audit_of(load_study(store, spec.name)))) is not None:
        typer.echo(suspicion(reason) + "\n")
    if result.comparison is not None:
        typer.echo(verdict_text(result.comparison))
    else:
        typer.echo(no_verdict(result.rows))
    typer.echo("")
    # The storage as the person named it, so that the next line works as it stands.
    known = (DEFAULT_STORAGE, os.environ.get("TSDIAG_STORAGE"))
    option = "" if storage in known else f" --storage {shlex.quote(store.url)}"
    # Without a name the newest study is meant.
    newest = list_studies(store)[0].name == spec.name
    study = "" if newest else f" --study {shlex.quote(spec.name)}"
    if told := repairs_text(result.board, result.repairs):
        typer.echo(told + "\n")
    next = _next(result, study, option)
    typer.echo(search_summary(result.board, spec.search.trials, result.seconds, next))
    if result.interrupted:
        raise typer.Exit(130)


def _next(result: SearchResult, study: str, option: str) -> str:
    if result.interrupted or (result.comparison is None and not result.pending):
        return "run the same command again to go on"
    if result.pending:
        name = shlex.quote(result.study)
        return f"tsdiag compare {name}{option}   ({result.pending} final runs are left)"
    causes = {row.trial for row in result.board.trials if row.cause and row.trial is not None}
    ended = {row.trial for row in result.board.trials if row.validation_loss is not None}
    repaired = {trial for trial, repair in result.repairs.items() if repair in ended}
    if unlearned := sorted(causes - repaired):
        return f"tsdiag explain {unlearned[-1]}{study}{option}   (why it did not learn)"
    return f"tsdiag dashboard{option}"
