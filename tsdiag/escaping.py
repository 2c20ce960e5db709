"""A person's names for things, made harmless for terminals and markdown.

HTML is escaped by the template of ``tsdiag.report.page``, SQL takes names as parameters only.
"""

from __future__ import annotations

# What markdown, GitHub's tables and the dashboard's formulas read as their own.
_MARKS = "\\`*_[]>#|~$"


def plain(name: object) -> str:
    """Return a person's name for something without the characters that steer a terminal."""
    return "".join(char if char.isprintable() else "?" for char in str(name))


def printable(text: str) -> str:
    """Return a text of several lines without the characters that steer a terminal."""
    return "".join(char if char.isprintable() or char in "\n\t" else "?" for char in text)


def escaped(text: str) -> str:
    """Return a text that markdown and HTML show as it is."""
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{char}" if char in _MARKS else char for char in text)


def code(text: str) -> str:
    """Return a text as markdown's code, which it cannot end."""
    return f"`{plain(text).replace('`', chr(39))}`"
