"""Servers that speak S3 over real connections: one with buckets, one that always says the same."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator
from socketserver import BaseServer

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

# What nobody's own settings may add to.
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "tsdiag",
    "AWS_SECRET_ACCESS_KEY": "s3cret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": "none",
    "AWS_SHARED_CREDENTIALS_FILE": "none",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextlib.contextmanager
def bucket_server() -> Iterator[str]:
    """Give the address of a server; servers of one process have the same buckets."""
    application = DomainDispatcherApplication(create_backend_app)
    with _serving(make_server("127.0.0.1", 0, application, threaded=True)) as address:
        yield address


@contextlib.contextmanager
def answering(*answers: tuple[int, str]) -> Iterator[str]:
    """Give the address of a server that answers each request with the next (status, body).

    The last one is repeated.
    """
    left = list(answers)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_PUT = do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with _serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as address:
        yield address


@contextlib.contextmanager
def _serving(server: BaseServer) -> Iterator[str]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
