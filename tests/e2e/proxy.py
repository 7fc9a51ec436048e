"""A reverse proxy in front of a registry, as nginx often is: it forwards bodies whole or as they arrive."""

from __future__ import annotations

import http.client
import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PIECE = 1 << 16


class Proxy:
    """Forwards to a registry while the context lasts; counts bytes, and can break off in a body.

    Args:
        upstream: address of the registry.
        buffers: whether a body is forwarded only once it is complete (nginx: `proxy_request_buffering on`).
    """

    def __init__(self, upstream: str, *, buffers: bool) -> None:
        """See the class."""
        self.upstream, self.buffers = upstream, buffers
        self.received = 0
        """Received bytes of bodies, including incomplete ones."""
        self.asked: list[str] = []
        """Methods of requests."""
        self.halt_at = -1
        """Bytes after which it stops reading until `go`, and then hangs up; -1: never."""
        self.halted, self.go = threading.Event(), threading.Event()
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        """Serve."""
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.go.set()
        self._server.shutdown()
        self._server.server_close()

    def room(self) -> int:
        """Bytes that may be read next; ConnectionError, after `go`, at the position where the body is cut."""
        halt_at = self.halt_at  # of all connections: another thread may change both numbers meanwhile
        if halt_at < 0:
            return _PIECE
        if (left := halt_at - self.received) > 0:
            return min(_PIECE, left)
        self.halt_at = -1
        self.halted.set()
        self.go.wait()
        raise ConnectionError


class _Handler(BaseHTTPRequestHandler):
    proxy: Proxy
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        """Serve a connection until it ends, however that happens."""
        with suppress(ConnectionError):
            super().handle()

    def _pieces(self, length: int) -> Iterator[bytes]:
        """The body; ConnectionError at the position where it is cut."""
        while length:
            piece = self.rfile.read1(min(length, self.proxy.room()))
            if not piece:
                raise ConnectionError
            length -= len(piece)
            self.proxy.received += len(piece)
            yield piece

    def _pass_on(self) -> None:
        self.proxy.asked.append(self.command)
        pieces = self._pieces(int(self.headers.get("Content-Length", "0")))
        upstream = http.client.HTTPConnection(self.proxy.upstream, timeout=60)
        try:
            whole = [b"".join(pieces)] if self.proxy.buffers else pieces
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                upstream.putheader(name, value)
            upstream.endheaders()
            for piece in whole:
                upstream.send(piece)
            self._answer(upstream.getresponse())
        except OSError:
            self.close_connection = True
        finally:
            upstream.close()

    def _answer(self, answer: http.client.HTTPResponse) -> None:
        body = b"" if self.command == "HEAD" else answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name not in ("Date", "Transfer-Encoding"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def __getattr__(self, name: str) -> Any:
        """`do_GET` and the like: all methods are handled alike."""
        if name.startswith("do_"):
            return self._pass_on
        raise AttributeError(name)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Log nothing."""


class Tunnel:
    """A CONNECT proxy that connects names to addresses on this machine while the context lasts.

    Args:
        addresses: `host:port` of each known name.
    """

    def __init__(self, addresses: Mapping[str, str]) -> None:
        """See the class."""
        self.asked: list[str] = []
        """`host:port` of each CONNECT."""
        handler = type("Handler", (_Tunnelling,), {"tunnel": self, "addresses": dict(addresses)})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        """Serve."""
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


class _Tunnelling(BaseHTTPRequestHandler):
    tunnel: Tunnel
    addresses: Mapping[str, str]

    def do_CONNECT(self) -> None:
        self.tunnel.asked.append(self.path)
        address = self.addresses.get(self.path.partition(":")[0])
        if address is None:
            self.send_error(502)
            return
        host, _, port = address.partition(":")
        with socket.create_connection((host, int(port))) as there:
            self.send_response(200)
            self.end_headers()
            threading.Thread(target=_pump, args=(there, self.connection), daemon=True).start()
            _pump(self.connection, there)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(_PIECE):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
