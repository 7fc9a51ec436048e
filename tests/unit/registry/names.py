"""A network in which every name resolves to one address, and each connection records its name."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from pipeline.http import tls

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    Origin = tuple[str, str, int]
    Serve = Callable[[Origin, bytes, bytes], bytes]
    """The answer to a request, given its target, its head and its body."""


class _End(socket.socket):
    """Our end of a connection."""

    scheme = "http"


class _NoCertificates(tls.PeerContext):
    """TLS without certificates, keys and encryption: it only records that TLS has started."""

    def wrap_socket(self, sock: socket.socket, *_args: Any, **_options: Any) -> ssl.SSLSocket:
        """Record the start of TLS."""
        cast("_End", sock).scheme = "https"
        return cast("ssl.SSLSocket", sock)


def lead_here(monkeypatch: pytest.MonkeyPatch, serve: Serve) -> None:
    """Let `serve` answer every request of this process, whatever its target."""
    context = _NoCertificates(ssl.PROTOCOL_TLS_CLIENT)
    monkeypatch.setattr(tls, "make_context", lambda *_, **__: context)

    def connect(address: tuple[str, int], *_: Any, **__: Any) -> socket.socket:
        near, far = socket.socketpair()
        ours = _End(fileno=near.detach())
        host, port = address[0].strip("[]").lower(), address[1]
        threading.Thread(target=_answer, args=(far, ours, host, port, serve), daemon=True).start()
        return ours

    monkeypatch.setattr("urllib3.util.connection.create_connection", connect)


def _answer(sock: socket.socket, other: _End, host: str, port: int, serve: Serve) -> None:
    with suppress(OSError), sock, sock.makefile("rb") as requests:
        while lines := _read_head(requests):
            fields = dict(line.lower().split(b": ", 1) for line in lines[1:])
            body = requests.read(int(fields.get(b"content-length", 0)))
            sock.sendall(serve((other.scheme, host, port), b"".join(lines), body))


def _read_head(requests: BinaryIO) -> list[bytes]:
    lines: list[bytes] = []
    while line := requests.readline():
        if line == b"\r\n":
            return lines
        lines.append(line)
    return []
