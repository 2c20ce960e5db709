"""``tsdiag trials``: the leaderboard. Loads neither torch nor Optuna."""

from __future__ import annotations

import typer

from tsdiag.cli.options import DEFAULT_STORAGE, Csv, Json, Storage, StudyName


def trials(
    name: StudyName = None,
    storage: Storage = DEFAULT_STORAGE,
    json: Json = False,
    csv: Csv = False,
) -> None:
    """Show the leaderboard: trials against the baseline and the floors, and why they stalled."""
    from tsdiag.errors import UsageError
    from tsdiag.escaping import plain
    from tsdiag.report.leaderboard import leaderboard, leaderboard_csv, leaderboard_text
    from tsdiag.store.chosen import chosen_study
    from tsdiag.store.database import open_store
    from tsdiag.store.findings import told_of
    from tsdiag.store.runs import best_runs, find_runs, newest

    if json and csv:
        raise UsageError("--json and --csv: print one or the other")
    store = open_store(storage, read_only=True)
    study = chosen_study(store, name)
    baseline = next(iter(best_runs(store, study.name, "baseline", 1)), None)
    rows, told = newest(find_runs(store, study.name)), told_of(store, study.name)
    board = leaderboard(study.name, rows, baseline, study.floor_losses, told)
    if json:
        typer.echo(board.to_json())
    elif csv:
        typer.echo(leaderboard_csv(board), nl=False)
    else:
        typer.echo(f"study {plain(study.name)}")
        typer.echo(leaderboard_text(board))
