"""How a database carries out queries: which index each takes, and which tables it reads whole."""

from __future__ import annotations

import re
from typing import Any

from operations import Sample
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection

from tsdiag.store.database import Store

# Of PostgreSQL's and MySQL's words, what says that a table is read from end to end.
_WHOLE = re.compile(r"Seq Scan|\bALL\b|^SCAN tsdiag_\w+$|SCAN \w+$")


def show_plans(console: Console, store: Store, found: dict[str, Sample]) -> None:
    """Print the plan of each of our own queries, once."""
    table = Table("operation", "query", "plan", show_lines=True)
    seen: set[str] = set()
    with store.engine.connect() as connection:
        for name, sample in found.items():
            for statement, parameters in sample.fetched[-1].statements if sample.fetched else ():
                if "tsdiag_" not in statement or not statement.startswith("SELECT"):
                    continue
                if statement not in seen:
                    seen.add(statement)
                    table.add_row(name, _short(statement), _plan(connection, statement, parameters))
    console.print(table)


def _plan(connection: Connection, statement: str, parameters: Any) -> str:
    words = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "
    rows = connection.exec_driver_sql(words + statement, parameters).all()
    match connection.dialect.name:
        case "sqlite":
            return "\n".join(row[3] for row in rows)
        case "postgresql":
            kept = (row[0] for row in rows if re.search("Scan|Sort|Join|Loop|Limit", row[0]))
            return "\n".join(re.sub(r"  \(cost=.* rows=(\d+) .*", r" \1", line) for line in kept)
    return "\n".join(
        f"{row.table}: {row.type} {row.key or '-'} {row.rows} {row.Extra}" for row in rows
    )


def _short(statement: str) -> str:
    """Leave out the list of columns of a table that is read whole in width."""
    short = re.sub(r"SELECT (?:tsdiag_\w+\.[^,]+, ){8,}.*?\s*FROM", "SELECT * FROM", statement)
    return re.sub(r"tsdiag_(\w+)\.", "", " ".join(short.split()))
