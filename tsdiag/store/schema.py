"""The tables, beside Optuna's in the same database; a change here needs a migration.

Types are chosen so that the three databases store the same: full 64-bit floats, microseconds,
UTC, names told apart by case, texts of any length.
"""

# ruff: noqa: ARG002  (SQLAlchemy gives every type the dialect, needed or not)

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)
from sqlalchemy.types import TypeDecorator, TypeEngine

from tsdiag.errors import StoreError


class Utc(TypeDecorator[datetime]):
    """A moment: naive UTC in the database, with its zone in Python."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Ask MySQL for microseconds, which it drops otherwise."""
        if dialect.name == "mysql":
            from sqlalchemy.dialects.mysql import DATETIME

            return dialect.type_descriptor(DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC; a time without a zone would mean something else on each machine."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone; use datetime.now(UTC)")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the zone back."""
        return None if value is None else value.replace(tzinfo=UTC)


class Words(TypeDecorator[str]):
    """A text of any length, such as a reason; what no database takes is replaced."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Ask MySQL for more than the 64 KiB of its TEXT."""
        if dialect.name == "mysql":
            from sqlalchemy.dialects.mysql import LONGTEXT

            return dialect.type_descriptor(LONGTEXT())
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Replace NUL and lone surrogates: recording a failure must not fail on its message."""
        if value is None:
            return None
        return str(value).replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


class Json(Words):
    """A value of JSON kinds as text; NaN and infinities keep Python's spelling."""

    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Write compactly, keys as given."""
        if value is None:
            return None
        return json.dumps(value, separators=(",", ":"), default=_plain)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """Read back; another program may have written there."""
        try:
            return None if value is None else json.loads(value)
        except ValueError as error:
            raise StoreError(
                f"cannot read the database: damaged JSON {str(value)[:40]!r} ({error}); "
                "restore it from a copy"
            ) from error


class Finite(TypeDecorator[float]):
    """A 64-bit float; NaN and infinities become NULL, which is all that MySQL can hold."""

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        """Take numpy's numbers too, which the drivers do not."""
        if value is None or not math.isfinite(value):
            return None
        return float(value)


def _plain(value: Any) -> Any:
    """Return numpy's scalars and arrays as Python's; numpy itself is not needed for that."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{value!r} is not of a JSON kind")


METADATA = MetaData()
# utf8mb4_bin tells names apart by case, as the other two databases do; 255 characters of it fit
# into an InnoDB key.
_MYSQL: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}

SCHEMA = Table(
    "tsdiag_schema",
    METADATA,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("name", String(64), nullable=False),
    Column("applied", Utc, nullable=False),
    **_MYSQL,
)

STUDIES = Table(
    "tsdiag_studies",
    METADATA,
    Column("name", String(255), primary_key=True),
    Column("created", Utc, nullable=False),
    Column("spec", Json, nullable=False),
    Column("summary", Json),
    Column("floors", Json),
    Column("verdict", Json),
    Column("attributes", Json, nullable=False),
    Column("looks", Integer, nullable=False),
    **_MYSQL,
)

RUNS = Table(
    "tsdiag_runs",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("study", String(255), nullable=False),
    Column("trial", Integer),
    Column("role", String(16), nullable=False),
    Column("label", String(255), nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("config", Words, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Words, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("max_steps", BigInteger, nullable=False),
    Column("validation_loss", Finite),
    Column("last_validation_loss", Finite),
    Column("metrics", Json, nullable=False),
    Column("parameters", BigInteger),
    Column("seconds", Finite),
    Column("cpu_seconds", Finite),
    Column("environment", Json, nullable=False),
    Column("checkpoint", String(255)),
    Column("weights", String(255)),
    Column("parent", String(32)),
    Column("origin", String(32)),
    Column("started", Utc, nullable=False),
    Column("updated", Utc, nullable=False),
    Column("finished", Utc),
    Index("tsdiag_runs_of_study", "study", "role", "trial"),
    # What is asked before each trial and while a search is watched: the best runs, those that are
    # running, how many have ended how, and which one continues another.
    Index("tsdiag_runs_by_loss", "study", "role", "validation_loss", "trial", "state"),
    Index("tsdiag_runs_by_state", "study", "state", "role"),
    Index("tsdiag_runs_by_parent", "study", "parent"),
    **_MYSQL,
)

# The number of the append comes before the signal in the key: the next number is one seek away.
CURVES = Table(
    "tsdiag_curves",
    METADATA,
    Column("run", String(32), primary_key=True),
    Column("chunk", Integer, primary_key=True, autoincrement=False),
    Column("name", String(128), primary_key=True),
    Column("where", String(255), primary_key=True),
    Column("unit", String(128), nullable=False),
    Column("first_step", Double, nullable=False),
    Column("last_step", Double, nullable=False),
    Column("length", Integer, nullable=False),
    Column("checksum", BigInteger, nullable=False),
    # 2**24 is the smallest length that makes MySQL choose LONGBLOB.
    Column("steps", LargeBinary(2**24), nullable=False),
    Column("values", LargeBinary(2**24), nullable=False),
    **_MYSQL,
)

LEASES = Table(
    "tsdiag_leases",
    METADATA,
    Column("key", String(255), primary_key=True),
    Column("owner", String(255), nullable=False),
    Column("claimed", Utc, nullable=False),
    Column("expires", Utc, nullable=False),
    **_MYSQL,
)

# What the rules said when a run ended; `tsdiag explain` asks them anew, with the rules of its day.
FINDINGS = Table(
    "tsdiag_findings",
    METADATA,
    Column("run", String(32), primary_key=True),
    Column("study", String(255), nullable=False),
    Column("role", String(16), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("state", String(32), nullable=False),
    Column("cause", String(64)),
    Column("validation_loss", Finite),
    Column("diagnosis", Words, nullable=False),
    Column("written", Utc, nullable=False),
    Index("tsdiag_findings_of_study", "study", "kind", "state", "validation_loss"),
    **_MYSQL,
)

# What carrying out the remedies of a run's diagnosis showed, and the plan by which it was done.
INTERVENTIONS = Table(
    "tsdiag_interventions",
    METADATA,
    Column("run", String(32), primary_key=True),
    Column("study", String(255), nullable=False),
    Column("plan", Words, nullable=False),
    Column("settled", Words),
    Column("verification", Words),
    Column("written", Utc, nullable=False),
    Index("tsdiag_interventions_of_study", "study"),
    **_MYSQL,
)
