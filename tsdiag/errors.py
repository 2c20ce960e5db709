"""What tsdiag raises when a person can do something about it.

Every message has three parts: what was asked, what was found, what to do.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class TsdiagError(Exception):
    """Base of all errors that are reported as one message, without a traceback."""


class UsageError(TsdiagError):
    """The words of a command do not fit together; the command line exits with 2."""


class ConfigError(UsageError):
    """A study file, a configuration path or a value in one cannot be used."""


class DataError(TsdiagError):
    """The rows cannot be turned into windows."""


class StoreError(TsdiagError):
    """The database or the artifact folder cannot be read or written."""


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return '; did you mean "x"?' for the closest known word, or an empty string."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f'; did you mean "{near[0]}"?' if near else ""


def without_passwords(text: str) -> str:
    """Return a text in which the passwords of URLs are ***, for messages that quote a person."""
    return re.sub(r"(://[^:/?#\s]*):[^\s]*@", r"\1:***@", text)
