"""What is asked of a database and what comes back: statements, rows and bytes, of any engine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine, event


@dataclass
class Fetched:
    """The statements of a stretch of a program, and what they brought."""

    rows: int = 0
    bytes: int = 0  # of texts and packed values; 8 for a number
    statements: list[tuple[str, Any]] = field(default_factory=list)

    def add(self, rows: Sequence[Any]) -> None:
        """Count rows as a driver hands them over."""
        self.rows += len(rows)
        self.bytes += sum(_size(value) for row in rows for value in row)


def _size(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode())
    return len(value) if isinstance(value, bytes | memoryview) else 8 * (value is not None)


class _Counting:
    """A driver's cursor that tells what is fetched from it."""

    def __init__(self, cursor: Any, fetched: Fetched) -> None:
        self._cursor = cursor
        self._fetched = fetched

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def fetchone(self) -> Any:
        row = self._cursor.fetchone()
        self._fetched.add([] if row is None else [row])
        return row

    def fetchmany(self, *size: int) -> Any:
        rows = self._cursor.fetchmany(*size)
        self._fetched.add(rows)
        return rows

    def fetchall(self) -> Any:
        rows = self._cursor.fetchall()
        self._fetched.add(rows)
        return rows


@contextlib.contextmanager
def fetched() -> Iterator[Fetched]:
    """Count what every engine of this process is asked meanwhile."""
    found = Fetched()

    def note(connection, cursor, statement, parameters, context, many):
        found.statements.append((statement, parameters))
        context.cursor = _Counting(context.cursor, found)

    event.listen(Engine, "after_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(Engine, "after_cursor_execute", note)
