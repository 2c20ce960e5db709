"""The proxy of benchmarks/chaos: to those behind it, a server goes away and comes back."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import threading
from pathlib import Path

import pytest
from sqlalchemy import make_url

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def proxied(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    file = BENCHMARKS / "chaos" / "proxy.py"
    specification = importlib.util.spec_from_file_location("chaos_proxy", file)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.proxied


@pytest.fixture
def echo():
    """Return the URL of a server that sends back what it gets."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection):
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(100):
                connection.sendall(data)

    threading.Thread(target=serve, daemon=True).start()
    yield make_url(f"postgresql://127.0.0.1:{listener.getsockname()[1]}/any")
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def connect(url):
    return socket.create_connection((url.host, url.port), timeout=5)


def asked(connection):
    connection.sendall(b"hello")
    answer = connection.recv(100)
    if not answer:
        raise ConnectionResetError
    return answer


def test_connections_are_handed_on_cut_refused_and_handed_on_again(proxied, echo):
    with proxied(echo) as proxy:
        assert proxy.url.port != echo.port
        with connect(proxy.url) as before:
            assert asked(before) == b"hello"
            proxy.go("cut")
            with pytest.raises(ConnectionError):
                asked(before)
            with pytest.raises(ConnectionRefusedError):
                connect(proxy.url)
        proxy.come()
        with connect(proxy.url) as after:
            assert asked(after) == b"hello"
