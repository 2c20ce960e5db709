"""``tsdiag explain --verify``: carry the remedies of a diagnosis out, showing how far that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from tsdiag.uptime import uptime

# To load torch and the data, and to conclude, workers need most of this [s].
LEAST = 20.0

if TYPE_CHECKING:
    from tsdiag.cli.progress import Lines
    from tsdiag.search.verification import Stage


def verify(
    trial: str, study: str | None, storage: str, budget: str, workers: int, device: str
) -> None:
    """Verify a trial's diagnosis; the result is in the store afterwards."""
    started = uptime()  # before torch is loaded, which is the person's time as well
    from tsdiag.cli.opening import open_for_work
    from tsdiag.cli.progress import Progress
    from tsdiag.explanation import explained
    from tsdiag.search.verification import verify
    from tsdiag.store.chosen import chosen_study, explained_run

    store = open_for_work(storage, known=True)
    row = explained_run(store, chosen_study(store, study).name, trial)
    diagnosis = explained(store, row)
    with Progress(stage_lines) as progress:
        _, interrupted = verify(
            store,
            row,
            diagnosis,
            started + _budget(budget),
            workers=workers,
            device=device,
            show=progress,
        )
    if interrupted:
        typer.echo("interrupted; the same line goes on where it was", err=True)
        raise typer.Exit(130)


def _budget(asked: str) -> float:
    """Return a budget in seconds."""
    from tsdiag.errors import UsageError
    from tsdiag.search.spec import seconds

    try:
        found = float(seconds(asked))
    except ValueError as error:
        raise UsageError(f"--budget {asked}: {error}") from None
    if found < LEAST:
        raise UsageError(f"--budget {asked}: no run can end in that; give at least {LEAST:.0f}s")
    return found


def stage_lines(stage: Stage) -> Lines:
    """Return how a verification is getting on."""
    from tsdiag.report.wording import duration

    now = uptime()
    gone, left = now - stage.started, max(0.0, stage.deadline - now)
    confirmed = f", {stage.steps} steps each in the confirmation" if stage.steps else ""
    runs = f"{stage.runs} so far{confirmed}"
    left_over = f": {stage.left} to go" if stage.left else ""
    doing = f"{stage.wave}{left_over}" if stage.wave else "done"
    return [
        ("now", doing),
        ("runs", runs),
        ("so far", stage.summary),
        ("time", f"{duration(gone)} gone, {duration(left)} left"),
    ]
