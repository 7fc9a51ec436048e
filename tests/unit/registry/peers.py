"""Peers that answer with raw bytes, as slowly as a test wants."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    Script = Callable[[socket.socket], None]


@contextmanager
def peer(
    script: Script, *, tls: ssl.SSLContext | None = None, heads: list[bytes] | None = None
) -> Iterator[str]:
    """A server that reads the head of each request and then follows `script`; yields its address.

    `heads` collects the heads.
    """
    opened: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(sock: socket.socket) -> None:
        with suppress(OSError), tls.wrap_socket(sock, server_side=True) if tls else sock as served:
            opened.append(served)
            while head := _read_head(served):
                if heads is not None:
                    heads.append(head)
                script(served)

    def accept() -> None:
        with suppress(OSError):
            while True:
                sock, _ = server.accept()
                threads.append(threading.Thread(target=serve, args=(sock,)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threads.append(threading.Thread(target=accept))
        threads[0].start()
        try:
            yield "{}:{}".format(*server.getsockname())
        finally:
            for sock in (server, *opened):
                with suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)
            for thread in threads:
                thread.join(10)


def _read_head(sock: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = sock.recv(1)
        if not piece:
            return b""
        head += piece
    return head


def endlessly(begin: bytes, piece: bytes, *, pause: float = 0.01) -> Script:
    """Send `begin`, then `piece` repeatedly: each arrives well within a read timeout."""

    def script(sock: socket.socket) -> None:
        sock.sendall(begin)
        while True:
            sock.sendall(piece)
            time.sleep(pause)

    return script


class Teller:
    """A script that sends what the test has set last."""

    def __init__(self) -> None:
        """Start without an answer."""
        self._pieces: list[bytes] = []
        self._ends = False
        self._spoken = threading.Event()
        self._spoken.set()

    def say(self, *pieces: bytes, ends: bool) -> None:
        """Set the answer from now on, once all earlier bytes have been sent.

        Args:
            pieces: each of them is sent separately.
            ends: whether the connection closes afterwards.
        """
        self._spoken.wait(10)
        self._spoken.clear()
        self._pieces, self._ends = list(pieces), ends

    def __call__(self, sock: socket.socket) -> None:
        """Answer one request."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in self._pieces:
                sock.sendall(piece)
            if self._ends:
                sock.shutdown(socket.SHUT_WR)
        finally:
            self._spoken.set()
