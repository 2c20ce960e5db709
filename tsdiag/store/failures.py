"""What database drivers complain about, as messages in three parts and without passwords."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.exc import DBAPIError, IntegrityError

from tsdiag.errors import StoreError, without_passwords

# What a driver's message contains -> what to do about it. The first that fits is printed.
ADVICE: tuple[tuple[str, str], ...] = (
    ("not a database", "the file is something else; name another one"),
    ("malformed", "the file is damaged; restore it from a copy"),
    ("database is locked", "another program has held it for 30 s; end that one, or try again"),
    ("readonly", "make the file and its folder writable, or copy it to where they are"),
    ("unable to open", "check that you may read and write the file and its folder"),
    ("disk", "free some space"),
    ("does not exist", "create it on the server, or check its name"),
    ("unknown database", "create it on the server, or check its name"),
    ("password", "check user and password"),
    ("access denied", "check user and password"),
    ("authentication", "check user and password"),
    ("too long", "shorten it"),
)
_OTHERWISE = "check that the server is running and that its address is right"
# MySQL: ER_LOCK_DEADLOCK and ER_LOCK_WAIT_TIMEOUT; PostgreSQL: SQLSTATE 40001 and 40P01.
_DEADLOCKS = (1213, 1205, "40001", "40P01")


@contextmanager
def told(shown: str, doing: str) -> Iterator[None]:
    """Turn a driver's error into a StoreError; a violated key is left to who wrote the row.

    Raises:
        StoreError: the database refused or could not be reached.
    """
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        raise StoreError(explain(shown, doing, error)) from error
    except UnicodeError as error:
        # An over-long or empty label in a host name fails in Python's own IDNA encoder.
        raise StoreError(f"cannot {doing} {shown}: {error}; check the host's name") from error


@contextmanager
def intact(what: str) -> Iterator[None]:
    """Turn what reading a stored value complains about into a StoreError.

    Raises:
        StoreError: the value is damaged, or another version wrote it.
    """
    try:
        yield
    # pydantic's complaints are ValueErrors, of several lines.
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        found = " ".join(without_passwords(str(error)).split())[:200]
        raise StoreError(
            f"cannot read {what}: {found}; restore the database from a copy or, if a newer tsdiag "
            'wrote that: pip install -U "tsdiag"'
        ) from None


def explain(shown: str, doing: str, error: DBAPIError) -> str:
    """Return what was asked, the driver's words on one line, and what to do."""
    found = driver_words(error)
    advice = next((do for word, do in ADVICE if word in found.lower()), _OTHERWISE)
    return f"cannot {doing} {shown}: {found}; {advice}"


def driver_words(error: DBAPIError) -> str:
    """Return the driver's message on one line; PyMySQL hides it behind a number."""
    args: tuple[Any, ...] = getattr(error.orig, "args", ())
    words = args[1] if len(args) == 2 and isinstance(args[0], int) else error.orig
    return " ".join(str(words).split()).rstrip(".")


def is_deadlock(error: StoreError) -> bool:
    """Say whether the database chose this transaction as a deadlock's victim: try it again."""
    original = getattr(error.__cause__, "orig", None)
    number = next(iter(getattr(original, "args", ())), None)
    return number in _DEADLOCKS or getattr(original, "sqlstate", None) in _DEADLOCKS
