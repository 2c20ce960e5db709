"""Storage URLs: which driver each means, what can be refused before opening, hidden passwords."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from tsdiag.errors import StoreError, redact

# One driver per database, installed by the extras `postgres` and `mysql`. MariaDB goes under the
# name mysql, because Optuna opens the same URL and knows no other name for it.
DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
}


def normalise(url: str) -> str:
    """Return the URL with the driver that tsdiag installs, such as ``postgresql+psycopg://``.

    Raises:
        StoreError: it is not a URL, or of a database that is not supported.
    """
    scheme, colon, rest = url.partition("://")
    if not colon:
        server = any(mark in url for mark in "@:=")
        meant = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
        raise StoreError(
            f'storage "{redact(url)}" is not a URL; for a '
            + (f"server write: {meant}" if server else f"file write: sqlite:///{Path(url).name}")
        )
    database = scheme.split("+")[0].lower()
    if database not in DRIVERS:
        raise StoreError(
            f'storage "{redact(url)}" names the database "{database}"; '
            "supported are sqlite, postgresql and mysql (also MariaDB)"
        )
    driver = scheme if "+" in scheme and database in ("sqlite", "postgresql", "mysql") else None
    return f"{driver or DRIVERS[database]}://{rest}"


def parse(url: str) -> URL:
    """Return the parsed, normalised URL.

    Raises:
        StoreError: it cannot be parsed, or names no database.
    """
    try:
        parsed = make_url(normalise(url))
    # make_url turns the port into a number, and complains about it in a ValueError.
    except (ArgumentError, ValueError):
        # "from None": what was taken for a port may be a part of the password.
        raise StoreError(
            f'storage "{redact(url)}" cannot be read as a URL; write '
            "sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
        ) from None
    server = parsed.get_backend_name() != "sqlite"
    if "@" in (parsed.host or "") or (server and "@" in (parsed.database or "")):
        raise StoreError(
            f'storage "{redact(url)}" has more than one @ before the host; '
            "write an @ in a user or password as %40, and a / as %2F"
        )
    if not parsed.database or parsed.database == ":memory:":
        raise StoreError(
            f'storage "{redact(url)}" names no database that several processes can share; '
            "add one, such as sqlite:///tsdiag.db or postgresql://HOST/DATABASE"
        )
    return parsed


def check_file(url: URL, shown: str, must_exist: bool) -> None:
    """Refuse an SQLite file that cannot be there.

    Raises:
        StoreError: the folder is missing, the path is a folder, or nothing is there to read.
    """
    if url.get_backend_name() != "sqlite" or url.query.get("uri"):
        return
    path = Path(url.database or "")
    if must_exist and not path.exists():
        raise StoreError(
            f"no database at {shown}; run tsdiag search or prepare first, or name another one"
        )
    if not path.parent.is_dir():
        raise StoreError(f'cannot open {shown}: no folder "{path.parent}"; create it first')
    if path.is_dir():
        raise StoreError(f"cannot open {shown}: it is a folder; name a file in it")
