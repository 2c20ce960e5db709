"""``tsdiag dashboard``: optuna-dashboard on the same storage."""

from __future__ import annotations

import errno
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tsdiag.cli.options import DEFAULT_STORAGE, Storage
from tsdiag.errors import UsageError

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer
    from wsgiref.types import WSGIApplication


def dashboard(
    storage: Storage = DEFAULT_STORAGE,
    port: Annotated[
        int,
        typer.Option(metavar="PORT", min=0, max=65535, help="Port to listen on; 0: any free one."),
    ] = 8080,
    host: Annotated[
        str,
        typer.Option(metavar="HOST", help="Address to listen on; 0.0.0.0 lets other machines in."),
    ] = "127.0.0.1",
) -> None:
    """Watch studies in a browser: trials, curves, notes and figures.

    Serves optuna-dashboard on the same database, while a search runs or after
    it. Ctrl-C stops it. Whoever reaches the port can change and delete studies.
    """
    application = _application(storage)
    with _server(host, port, application) as server, _sigterm_as_interrupt():
        typer.echo(f"dashboard: http://{host}:{server.server_port}/   (Ctrl-C stops it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("dashboard stopped", err=True)


def _application(url: str) -> WSGIApplication:
    import optuna_dashboard

    from tsdiag.search.artifacts import artifact_store
    from tsdiag.search.storage import open_cached_storage
    from tsdiag.store.database import open_store

    # Read-only first: a mistyped database is an error then, not an empty new one.
    open_store(url, read_only=True)
    store = open_store(url)
    storage = open_cached_storage(store)
    if not storage.get_all_studies():
        raise UsageError(
            f"show the studies of {store.url}: the database holds none; "
            "run one first (tsdiag search), or name its database with --storage"
        )
    application: WSGIApplication = optuna_dashboard.wsgi(storage, artifact_store(store))
    return application


def _server(host: str, port: int, application: WSGIApplication) -> WSGIServer:
    from socketserver import ThreadingMixIn
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

    class Threaded(ThreadingMixIn, WSGIServer):
        daemon_threads = True  # an open page must not hold up the exit

    class Silent(WSGIRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    try:
        return make_server(host, port, application, Threaded, Silent)
    except OSError as error:
        raise _unusable(host, port, error) from error


def _unusable(host: str, port: int, error: OSError) -> UsageError:
    what = f"listen on {host}:{port}: "
    if error.errno == errno.EADDRINUSE:
        return UsageError(
            f"{what}another program has the port, perhaps a dashboard; "
            f"choose another one: tsdiag dashboard --port {min(port + 1, 65535)}"
        )
    return UsageError(f"{what}{error.strerror or error}; choose another --host or --port")


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    # A shell starts background jobs with SIGINT ignored; an explicit one must still stop it.
    sigint = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, sigint)
