"""An open connection: send a request and read its response.

The socket blocks, and only the thread of deadlines.py checks the time: a Python timeout costs a system call
before each send and recv.

A server may reject a request before its body is complete (401, 413, 429) and close. Over TLS that response
would be lost behind an SSLEOFError, so the socket is checked before each piece. After an incomplete body the
connection is closed, because the server would read the next request as the rest of the body.
"""

from __future__ import annotations

import select
import ssl
import time
import weakref
from typing import TYPE_CHECKING

from urllib3.util.ssltransport import SSLTransport

from pipeline.http.deadlines import Deadline
from pipeline.http.response import Reader, Response
from pipeline.http.tls import PeerContext

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable

    from urllib3.connection import HTTPConnection

_MAX_IDLE = 30.0
"""Seconds: servers close idle connections after 60, and some load balancers drop them silently."""
_SMALL = 64 << 10
"""Bytes of a body that are copied, to send them together with the head."""

Piece = bytes | memoryview
"""A piece of a body; valid until the next one is read."""


class Connection:
    """A connection; one thread at a time may use it."""

    def __init__(self, opened: HTTPConnection) -> None:
        """Own a connection that urllib3 opened."""
        self.sock: socket.socket = opened.sock
        self.sock.settimeout(None)
        self.close = weakref.finalize(self, opened.close)
        """Close it; at the latest when the response is garbage."""
        self.idle_since = time.monotonic()
        self._reader = Reader(self.sock)
        self._arrivals = select.poll()
        self._arrivals.register(self.sock, select.POLLIN)
        self._is_nested = isinstance(self.sock, SSLTransport)
        self._session_saved = False

    def request(
        self, method: str, head: bytes, body: bytes | Iterable[Piece], *, timeout: tuple[float, float]
    ) -> tuple[Response, float]:
        """Send a request: the response, and the seconds until it began.

        Args:
            method: of the request.
            head: of the request.
            body: as many bytes as the head announces.
            timeout: seconds to send a piece, and then to receive the head of the response.

        Raises:
            OverdueError: either took longer.
            Exception: of STACK_ERRORS, or what the iterable raises.
        """
        sending, reading = timeout
        with Deadline(self.sock, sending) as deadline:
            if isinstance(body, bytes):
                complete = self._send((head + body,) if len(body) <= _SMALL else (head, body), deadline)
            else:
                complete = self._send(_joined(head, body), deadline)
            began = time.monotonic()
            deadline.restart(reading)
            response = Response(self._reader, method)
        if not complete:
            response.will_close = True
        return response, time.monotonic() - began

    def _send(self, pieces: Iterable[Piece], deadline: Deadline) -> bool:
        """Send the pieces; False: the peer stopped reading, maybe after an early response."""
        first = True
        deadline.pause()  # the pieces come from another connection
        for piece in pieces:
            if not first and self._has_unread() and not self._reader.skip_interim():
                return False
            deadline.restart()
            try:
                self.sock.sendall(piece)
            except (ConnectionError, ssl.SSLEOFError):
                return False
            deadline.pause()
            first = False
        return True

    def _has_unread(self) -> bool:
        """Whether there are unread bytes or EOF; session tickets do not count."""
        if self._reader.holds_bytes():
            return True
        # poll() does not see bytes that TLS has decrypted, and TLS within TLS has no pending().
        silent = not self._is_nested and not self._arrivals.poll(0)
        if silent and not (isinstance(self.sock, ssl.SSLSocket) and self.sock.pending()):
            return False
        self.sock.settimeout(0)
        try:
            return self._reader.has_bytes_or_eof()
        except OSError:
            return True
        finally:
            self.sock.settimeout(None)

    def save_session(self) -> None:
        """Save the TLS session for later connections to this peer; once, after the first response."""
        if not self._session_saved:
            self._session_saved = True
            if isinstance(self.sock, ssl.SSLSocket) and isinstance(self.sock.context, PeerContext):
                self.sock.context.save(self.sock)

    def is_clean(self) -> bool:
        """Whether nothing was received after the response."""
        return not self._reader.holds_bytes()

    def is_expired(self, now: float) -> bool:
        """Whether it has been idle for too long."""
        return now - self.idle_since > _MAX_IDLE

    def is_reusable(self) -> bool:
        """Whether the connection can be reused: idle under 30 s, no unread bytes or EOF."""
        return not self.is_expired(time.monotonic()) and not self._has_unread()


def _joined(head: bytes, body: Iterable[Piece]) -> Iterable[Piece]:
    """The head joined with a small first piece of the body, then the other pieces."""
    pieces = iter(body)
    first = next(pieces, b"")
    if len(first) <= _SMALL:
        yield head + bytes(first)
    else:
        yield head
        yield first
    yield from pieces
