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


class Unreachable(StoreError):
    """The same, for now: it may succeed when it is tried again."""


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return '; did you mean "x"?' for the closest known word, or an empty string."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f'; did you mean "{near[0]}"?' if near else ""


def redact(url: str) -> str:
    """Return a URL with every password in it replaced by ***.

    Works on the text, because a URL that cannot be parsed must not be printed whole either; where
    an @ makes the end of the password unsure, too much is hidden rather than too little.
    """
    hidden = _AS_PORT.sub(r"\1:***", _IN_URL.sub(r"\1:***@", url))
    return _IN_WORDS.sub(r"\1***", _IN_QUERY.sub(r"\1***", hidden))


def without_passwords(text: str) -> str:
    """Return a text in which the passwords of URLs are ***, for messages that quote a person."""
    hidden = _AS_PORT.sub(r"\1:***", _IN_TEXT.sub(r"\1:***@", text))
    hidden = _WITHOUT_SCHEME.sub(r"\1:***@", _IN_QUERY_OF_TEXT.sub(r"\1***", hidden))
    return _IN_WORDS.sub(r"\1***", hidden)


# A URL alone, to its end; also one whose scheme was forgotten, but not a drive's letter.
_IN_URL = re.compile(r"((?:://|^(?!.*://))[^:/?#]*(?<!^[A-Za-z])):.*@", re.DOTALL)
_IN_QUERY = re.compile(r"([?&][^=&]*(?:pass|pwd|secret|token)[^=&]*=)[^&]*", re.IGNORECASE)
# In a text it reaches to the last @ before a quotation mark, behind a port to the next blank. The
# word that tsdiag's own advice has for a password stays, and what is hidden already.
_IN_TEXT = re.compile(
    r"(://[^:/?#\s]*):(?!password@|\*\*\*@)(?:(?!\d+(?:\W|$))[^\"'\n]*|\S*)@", re.IGNORECASE
)
_IN_QUERY_OF_TEXT = re.compile(
    r"([?&][^=&\s]*(?:pass|pwd|secret|token)[^=&\s]*=)[^&\s\"']*", re.IGNORECASE
)
_WITHOUT_SCHEME = re.compile(r"\b([\w.+-]{2,}):(?!//|password@|\*\*\*@)[^\s@\"']+@", re.IGNORECASE)
# As libpq's own connection strings have it.
_IN_WORDS = re.compile(r"((?:^|[\s\"'/])password=)[^\s&\"']*", re.IGNORECASE)
# Without an @, what stands where a port belongs and is no number: the host was forgotten.
_AS_PORT = re.compile(
    r"(://[^:/?#@\s\[]+):(?!\d+(?:\W|$)|port\b)[^/?#@\s\"']+(?!\S*@)", re.IGNORECASE
)
