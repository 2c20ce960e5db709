"""TLS to MySQL and MariaDB where the server can, as PyMySQL prefers it, but prepared only once.

PyMySQL reads all certificates of the machine for each connection, 19 ms of processor time, to check
none of them unless the URL asks for that. A worker opens a hundred connections a trial.
"""

from __future__ import annotations

import functools
import ssl
from typing import Any

from sqlalchemy import Engine, event


def share_context(engine: Engine) -> None:
    """Let all connections of an engine share what they need for TLS; PyMySQL's alone need it."""
    if engine.dialect.driver == "pymysql":
        event.listen(engine, "do_connect", _connect)


def _connect(dialect: Any, _: Any, arguments: Any, options: dict[str, Any]) -> Any:
    """Return a connection, or None where the URL says how: then it is made as ever."""
    if any(name.startswith("ssl") for name in options):
        return None
    return _connection_class(dialect.loaded_dbapi)(*arguments, **options)


@functools.cache
def _connection_class(driver: Any) -> Any:
    class Sharing(driver.connections.Connection):  # type: ignore[misc]
        def _create_ssl_ctx(self, asked: Any) -> Any:
            # Certificates may also be named by the file that the URL's read_default_file names.
            return super()._create_ssl_ctx(asked) if asked else _unchecked()

    return Sharing


@functools.cache
def _unchecked() -> ssl.SSLContext:
    """Return what encrypts and checks no certificate: without one to check by, PyMySQL's does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
