"""Rows from a database: a SQLAlchemy URL and a query. Passwords never reach a message."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tsdiag.data.reading import Table
from tsdiag.errors import ConfigError, DataError, redact

if TYPE_CHECKING:
    import sqlalchemy

# Names that people write, with the drivers that tsdiag's extras install.
DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}


def read_query(url: str, query: str, folder: Path | None = None) -> Table:
    """Return the rows of a query; a relative SQLite file starts at ``folder`` or here.

    Raises:
        ConfigError: the URL cannot be understood, or its driver is not installed.
        DataError: the database cannot be reached, or refuses the query.
    """
    import pandas
    import sqlalchemy
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    asked, target = _parse(url, folder)
    source = redact(asked.render_as_string(hide_password=False))
    try:
        engine = sqlalchemy.create_engine(target, poolclass=NullPool)
    except (SQLAlchemyError, ImportError) as error:
        raise ConfigError(
            f'data.url = "{source}": no driver for it ({_reason(error, target)}); install '
            "tsdiag[postgres] or tsdiag[mysql], or name an installed SQLAlchemy driver"
        ) from None
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f'data.url = "{source}": {_reason(error, target)}; check what follows the ?'
        ) from None
    try:
        with engine.connect() as connection:
            # A plain string goes to the driver as it is: ":name" in it is not a parameter.
            return Table(pandas.read_sql_query(query, connection), source)
    # Beside their own errors, drivers raise Python's: for an unknown option, a name of a host, a
    # text that is not Unicode.
    except (SQLAlchemyError, pandas.errors.DatabaseError, ValueError, TypeError) as error:
        # "from None": the driver's own error may carry the password.
        raise DataError(
            f'data.query = "{query}" on {source}: {_reason(error, target)}; '
            "check the address, the name and the query"
        ) from None


def _parse(url: str, folder: Path | None) -> tuple[sqlalchemy.URL, sqlalchemy.URL]:
    """Return the URL as it was written, and with its driver and full path."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        asked = make_url(url)
    except (ArgumentError, ValueError):
        # The text is not repeated: a password may stand anywhere in it.
        raise ConfigError(
            "data.url: not a database URL; write it as "
            '"postgresql://user:password@host/database" or "sqlite:///file.db"'
        ) from None
    target = asked.set(drivername=DRIVERS.get(asked.drivername, asked.drivername))
    if target.get_backend_name() != "sqlite" and "@" in (target.database or ""):
        # What stands there may be the end of a password, which a driver would repeat.
        raise ConfigError(
            "data.url: more than one @ before the database; write an @ in a user or password as "
            "%40, and a / as %2F"
        )
    if target.get_backend_name() != "sqlite" or target.database in (None, "", ":memory:"):
        return asked, target
    full = (folder or Path.cwd()) / Path(str(target.database)).expanduser()
    if not full.is_file():
        # SQLite itself would make a new, empty database here.
        raise DataError(f'data.url = "{redact(url)}": no such file {full}; correct the path')
    return asked, target.set(database=str(full))


def _reason(error: Exception, url: sqlalchemy.URL) -> str:
    # pandas wraps SQLAlchemy's error, which wraps the driver's; the innermost says what happened.
    error = error.__cause__ if isinstance(error.__cause__, Exception) else error
    text = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
    password = str(url.password or "")
    return redact(text.replace(password, "***") if password else text)
