"""The command ``tsdiag``: one file per command; nothing heavy is imported before it runs."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated

import typer

from tsdiag import __version__
from tsdiag.cli.failures import reported

# The order of a person's work. A command is the function of the same name in the file of the same
# name: adding one is that file and a word here.
COMMANDS = (
    *("init", "search", "prepare", "worker", "trials", "explain", "causes"),
    *("compare", "export", "predict", "dashboard"),
)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    # Plain help: it is copied from, it stays within 80 columns, and rich need not be loaded.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"tsdiag {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Which transformer beats my LSTM on this series, and is that real?

    \b
    A first session:
      tsdiag search                          the shipped study, beijing33
      tsdiag init DATA.csv --target COLUMN   write a study.toml for your data
      tsdiag search study.toml               run it; again: resume it
      tsdiag trials                          the leaderboard
      tsdiag explain TRIAL                   why a trial stalled
      tsdiag compare                         the verdict on unseen rows

    Studies are kept in the database named by --storage, or by the environment
    variable TSDIAG_STORAGE; without either, in tsdiag.db of this folder.
    """  # noqa: D301 (\b keeps the lines of a paragraph apart in the help)


def _register(name: str) -> None:
    command = getattr(import_module(f"tsdiag.cli.{name}"), name)
    # Given as it is, the first sentence is wrapped in the list of commands; else it is cut off.
    first = (command.__doc__ or "").partition("\n")[0]
    app.command(name, short_help=first)(reported(command))


for _name in COMMANDS:
    _register(_name)
