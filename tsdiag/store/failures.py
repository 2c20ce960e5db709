"""What database drivers complain about, as messages in three parts and without passwords."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from tsdiag.errors import StoreError, Unreachable, without_passwords

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
# What passes, by MySQL's number.
_OUTAGES = (
    *(1040, 1203, 1226, 1129),  # too many connections: of all, of a user, and failed ones of a host
    *(1053, 1047, 1317, 1927),  # shutting down, a Galera node that has not caught up, killed
    *(1290, 1836),  # only to be read, as a server that another is about to take over from
    *(1021, 1114, 1030),  # disk full, or whatever else its files did
    *(2002, 2003, 2006, 2013, 2055, 4031),  # cannot connect, gone away, lost while it answered
    0,  # PyMySQL's own for a closed socket
)
# PostgreSQL's classes of SQLSTATE: connection, resources, shutdown or start, deadlock; and what a
# server says that only follows another.
_OUTAGE_STATES = ("08", "53", "57P", "40", "25006")
# Of SQLite; and of a PostgreSQL server, also where the client's second attempt, without TLS, adds
# that such a connection is refused.
_PASSING = re.compile(
    "database is locked|disk is full|disk i/o error"
    "|too many (clients|connections)|connection slots|starting up|shutting down|recovery"
)
# PostgreSQL's client gives no SQLSTATE where it cannot connect, only words, its own, the server's,
# the resolver's or those of TLS. Most of it passes; this does not, unless somebody mends it.
_LASTING = re.compile(
    "password|authentication|does not exist|pg_hba|not permitted|permission denied|certificate"
    "|unknown ca|private key|does not support ssl|invalid .*value|too long|could not match"
)
_QUOTED = re.compile("\"[^\"]*\"|'[^']*'")  # names, which may hold any of these words


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
        kind = Unreachable if is_passing(error) else StoreError
        raise kind(explain(shown, doing, error)) from error
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


def is_passing(error: DBAPIError) -> bool:
    """Say whether a database that answers so may answer well when it is asked again."""
    number, state = _codes(error.orig)
    if state is not None:
        return state.startswith(_OUTAGE_STATES)
    if isinstance(number, int):
        return number in (*_OUTAGES, *_DEADLOCKS)
    words = _QUOTED.sub("", driver_words(error).lower())
    if error.connection_invalidated or _PASSING.search(words) is not None:
        return True
    served = isinstance(error, OperationalError) and not isinstance(error.orig, sqlite3.Error)
    return served and _LASTING.search(words) is None


def is_deadlock(error: StoreError) -> bool:
    """Say whether the database chose this transaction as a deadlock's victim: try it again."""
    return any(code in _DEADLOCKS for code in _codes(getattr(error.__cause__, "orig", None)))


def _codes(original: BaseException | None) -> tuple[Any, str | None]:
    """Return MySQL's number and PostgreSQL's SQLSTATE of a driver's error, as far as it has any."""
    return next(iter(getattr(original, "args", ())), None), getattr(original, "sqlstate", None)
