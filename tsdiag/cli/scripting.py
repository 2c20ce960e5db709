"""``tsdiag explain --script``: write a verified repair's replay into a file."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import typer


def write_script(trial: str, study: str | None, storage: str, file: Path) -> None:
    """Write a file that replays the confirmed repair of a trial.

    Raises:
        UsageError: there is no such repair, or the file cannot be written.
    """
    from tsdiag.errors import UsageError
    from tsdiag.store.chosen import chosen_study, explained_run
    from tsdiag.store.database import open_store
    from tsdiag.verify.script import script_of

    store = open_store(storage, read_only=True)
    text = script_of(store, explained_run(store, chosen_study(store, study).name, trial))
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"write {file}: {error.strerror}; name another file") from error
    line = shlex.join([sys.executable, str(file)])
    typer.echo(f"wrote {file}; replay it with: {line}", err=True)
