"""``tsdiag prepare``: make the tables and register a study, so that workers can join it."""

from __future__ import annotations

from typing import Annotated

import typer

from tsdiag.cli.opening import PatienceOption
from tsdiag.cli.options import DEFAULT_STORAGE, Storage


def prepare(
    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY", help="A study.toml, its folder, or a shipped study's name."
        ),
    ],
    storage: Storage = DEFAULT_STORAGE,
    patience: PatienceOption = "0s",
) -> None:
    """Register a study in the database and train nothing; workers can join then.

    Makes the tables or brings them up to date, and checks the study and its data
    as a search does. Once more, or by several at once, it changes nothing: a
    search that went on with more trials than the file says keeps them.
    """
    import shlex

    from tsdiag.cli.opening import seconds_of
    from tsdiag.report.data_summary import data_summary_text
    from tsdiag.search.conduct import prepare as register
    from tsdiag.search.registration import changes
    from tsdiag.search.spec import find_spec
    from tsdiag.store.database import open_store
    from tsdiag.store.patience import Patience
    from tsdiag.store.studies import load_study

    spec = find_spec(study)
    store = open_store(storage, patience=Patience(seconds_of(patience)))
    typer.echo(f"study {spec.name}: reading the data", err=True)
    summary = register(store, spec, renew=False).summary
    typer.echo(data_summary_text(summary), err=True)
    if kept := changes(load_study(store, spec.name).spec, spec):
        named = "; ".join(f"{path}: {change}" for path, change in kept.items())
        typer.echo(
            f"{spec.name} was registered before and stays as it was, not as this file has it "
            f"({named}); to change it: tsdiag search STUDY",
            err=True,
        )
    # The storage is not repeated: where workers are, it may have another address.
    typer.echo(
        f"{spec.name} is registered in {store.url}.\nNext: tsdiag worker {shlex.quote(spec.name)}"
    )
