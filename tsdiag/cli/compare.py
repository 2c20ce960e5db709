"""``tsdiag compare``: does the best transformer beat the baseline on test data, how surely."""

from __future__ import annotations

import typer

from tsdiag.cli.options import DEFAULT_STORAGE, Device, Json, Storage, StudyName, Workers


def compare(
    name: StudyName = None,
    storage: Storage = DEFAULT_STORAGE,
    json: Json = False,
    workers: Workers = 0,
    device: Device = "auto",
) -> None:
    """The verdict: does the best transformer beat the baseline, and is that real?

    Trains what is missing of the final runs (fresh seeds, the same for both),
    then scores the test span once. A verdict that is there is shown again
    without touching the test span.
    """
    from tsdiag.cli.opening import open_for_work
    from tsdiag.cli.progress import Progress, search_lines
    from tsdiag.diagnostics.leaks import leak
    from tsdiag.report.study import suspicion
    from tsdiag.report.verdict import verdict_text
    from tsdiag.search.spec import stored_spec
    from tsdiag.store.cases import audit_of
    from tsdiag.store.chosen import chosen_study
    from tsdiag.store.studies import load_study

    store = open_for_work(storage, known=True)
    study = chosen_study(store, name)
    spec = stored_spec(study.name, study.spec)
    from tsdiag.search.conduct import conclude

    with Progress(search_lines) as progress:
        comparison = conclude(store, spec, workers=workers, device=device, show=progress)
    reason = leak(audit_of(load_study(store, spec.name)))
    if reason is not None:
        typer.echo(suspicion(reason) + "\n", err=json)
    typer.echo(comparison.to_json() if json else verdict_text(comparison))
