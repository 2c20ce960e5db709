"""``tsdiag export``: a trial's model as a folder that needs neither database nor study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tsdiag.cli.options import DEFAULT_STORAGE, OfStudy, Storage, Trial
from tsdiag.errors import UsageError

if TYPE_CHECKING:
    from tsdiag.store.runs import RunRow

_ADVICE = {
    "running": "wait until it has ended, or choose another one: tsdiag trials",
    "interrupted": "run the study on: tsdiag search",
}


def export(
    trial: Trial,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write.")],
    study: OfStudy = None,
    storage: Storage = DEFAULT_STORAGE,
    force: Annotated[
        bool, typer.Option("--force", help="Write into DIR though it is not empty.")
    ] = False,
) -> None:
    """Write a trial's model to a folder: weights, configuration, scalers.

    The weights are the best ones on the validation rows, as safetensors. The
    folder is complete in itself: tsdiag predict needs nothing else.
    """
    _refuse_loss(folder, force)
    from tsdiag.escaping import plain
    from tsdiag.runs.artifacts import read_bytes
    from tsdiag.runs.export import write_export
    from tsdiag.search.artifacts import artifact_store
    from tsdiag.store.chosen import chosen_run, chosen_study
    from tsdiag.store.database import open_store

    store = open_store(storage, read_only=True)
    row = chosen_run(store, chosen_study(store, study).name, trial)
    if row.weights is None:
        raise UsageError(_without_weights(row))
    write_export(folder, row, read_bytes(artifact_store(store), row.weights))
    if row.state not in ("completed", "early_stopped"):
        typer.echo(f"note: trial {trial} did not train to its end ({plain(row.reason)})", err=True)
    typer.echo(f"wrote {folder}\nnext: tsdiag predict {folder} DATA.csv")


def _refuse_loss(folder: Path, force: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"export to {folder}: it is a file; name a folder")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise UsageError(
            f"export to {folder}: the folder is not empty; name another one, or write into it "
            "with --force"
        )


def _without_weights(row: RunRow) -> str:
    advice = _ADVICE.get(row.state, "choose one that completed: tsdiag trials")
    reason = f" ({row.reason})" if row.reason else ""
    return (
        f'export trial {row.trial} of study "{row.study}": it is {row.state}{reason}, at step '
        f"{row.step} of {row.max_steps}, without weights to keep; {advice}"
    )
