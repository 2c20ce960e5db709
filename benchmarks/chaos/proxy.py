"""A TCP proxy before a database server: to those behind it, the server goes away and comes back."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

from measuring.servers import Server
from sqlalchemy import URL

_PORTS = {"postgresql": 5432, "mysql": 3306}
# Closed so, a connection is reset, as by a server that has crashed.
_RESET = struct.pack("ii", 1, 0)


class Proxied(Server):
    """Hands connections on to a server, until it is told to cut them and refuse new ones."""

    ways = ("cut",)

    def __init__(self, url: URL) -> None:
        port = url.port or _PORTS[url.get_backend_name()]
        self._upstream = (url.host or "127.0.0.1", port)
        self._listener = _listen(0)
        self._address = self._listener.getsockname()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(url.set(host=self._address[0], port=self._address[1]))
        self._serve()

    def go(self, way: str) -> None:  # noqa: ARG002 (there is one)
        """Refuse new connections and reset those that are open."""
        # Closing alone would leave the thread that waits in accept() listening.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for end in self._open:
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    # Wakes who waits for it here, and tells the other end nothing yet.
                    end.shutdown(socket.SHUT_RD)
                    end.close()
            self._open.clear()

    def come(self) -> None:
        """Listen again, on the same port."""
        self._listener = _listen(self._address[1])
        self._serve()

    def _serve(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return  # cut off
            self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._upstream, timeout=10)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        with self._lock:
            self._open |= {client, server}
        for one, other in ((client, server), (server, client)):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._hand_on, args=(one, other), daemon=True).start()

    def _hand_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
        with self._lock:
            self._open.discard(source)
        source.close()


@contextlib.contextmanager
def proxied(url: URL) -> Iterator[Server]:
    """Stand before a server until the end."""
    proxy = Proxied(url)
    try:
        yield proxy
    finally:
        proxy.go("cut")


def _listen(port: int) -> socket.socket:
    return socket.create_server(("127.0.0.1", port), reuse_port=False)
