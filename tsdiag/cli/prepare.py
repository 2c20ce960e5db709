"""``tsdiag prepare``: make the tables and register a study, so that workers can join it."""

from __future__ import annotations

from typing import Annotated

import typer

from tsdiag.cli.options import DEFAULT_STORAGE, Storage


def prepare(
    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY", help="A study.toml, its folder, or a shipped study's name."
        ),
    ],
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Register a study in the database and train nothing; workers can join then.

    Makes the tables or brings them up to date, and checks the study and its data
    as a search does. Once more, or by several at once, it changes nothing.
    """
    from tsdiag.report.data_summary import data_summary_text
    from tsdiag.search.conduct import prepare as register
    from tsdiag.search.spec import find_spec
    from tsdiag.store.database import open_store

    spec = find_spec(study)
    store = open_store(storage)
    typer.echo(f"study {spec.name}: reading the data", err=True)
    typer.echo(data_summary_text(register(store, spec).summary), err=True)
    # The storage is not repeated: where workers are, it may have another address.
    typer.echo(f"{spec.name} is registered in {store.url}.\nNext: tsdiag worker {spec.name}")
