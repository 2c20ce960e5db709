"""The one place where an error becomes a message and an exit code."""

from __future__ import annotations

import functools
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

import typer

from tsdiag.errors import TsdiagError, UsageError, without_passwords
from tsdiag.escaping import printable

Result = TypeVar("Result")

FAILED = 1
MISUSED = 2
INTERRUPTED = 128 + 2  # what shells report for a process ended by SIGINT
PIPE_CLOSED = 128 + 13  # and by SIGPIPE, as of a program before `| head`

Traceback = Annotated[
    bool, typer.Option("--traceback", help="On an error, show where in the program it arose.")
]


def reported(command: Callable[..., Result]) -> Callable[..., Result]:
    """Give a command the option ``--traceback`` and turn its errors into exit codes."""

    @functools.wraps(command)
    def run(*, traceback: bool, **options: Any) -> Result:
        with _told(show=traceback):
            return command(**options)

    option = inspect.Parameter(
        "traceback", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Traceback
    )
    # Evaluated here, where the names of the command's own file are known.
    signature = inspect.signature(command, eval_str=True)
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), option]
    )
    return run


@contextmanager
def _told(show: bool) -> Iterator[None]:
    try:
        yield
        sys.stdout.flush()
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        # The reader left, which is no fault; without this, the exit would flush and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(PIPE_CLOSED) from None
    except Exception as error:
        if show:
            # Messages of drivers and libraries among them, which hide no password.
            sys.stderr.write(_harmless(traceback.format_exc()))
        typer.secho("Error: ", fg="red", bold=True, nl=False, err=True)
        typer.echo(_words(error), err=True)
        raise typer.Exit(MISUSED if isinstance(error, UsageError) else FAILED) from error


def _words(error: Exception) -> str:
    if isinstance(error, TsdiagError):
        return _harmless(str(error))
    if (told := _of_database(error)) is not None:
        return _harmless(told)
    return _harmless(
        f"unexpected {type(error).__name__}: {error}; "
        "this is a fault of tsdiag or of its surroundings; to see where: add --traceback"
    )


def _harmless(text: str) -> str:
    return printable(without_passwords(text))


def _of_database(error: BaseException | None) -> str | None:
    """Return what a database's driver said, where Optuna, which shares it, passes it on."""
    drivers = sys.modules.get("sqlalchemy.exc")  # not loaded: no database was used
    while drivers is not None and error is not None:
        if isinstance(error, drivers.DBAPIError):
            from tsdiag.store.failures import explain

            return explain("the database", "use", error)
        error = error.__cause__ or error.__context__
    return None
