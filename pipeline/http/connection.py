"""One connection that is open: a request goes out on it, and its answer is read.

The socket blocks, and the thread of deadlines.py alone looks at the clock: a timeout of Python's costs a call
of the system before each send and recv.

A server may refuse in the middle of a body (401, 413, 429) and close. Over TLS that answer would be lost
behind an SSLEOFError, so before each piece we look whether something lies there. After a body that was not
sent in full the connection is closed, else the server would take the next request for the rest of the body.
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
"""Seconds: servers drop idle connections after 60, and some balancers do it without a word."""
_SMALL = 64 << 10
"""Bytes of a body that are worth copying, so that they go out together with the head."""

Piece = bytes | memoryview
"""Some bytes of a body; good until the next ones are asked for."""


class Connection:
    """A connection of which one thread at a time has the use."""

    def __init__(self, opened: HTTPConnection) -> None:
        """Own what urllib3 has connected."""
        self.sock: socket.socket = opened.sock
        self.sock.settimeout(None)
        self.close = weakref.finalize(self, opened.close)
        """Close it: at the latest when nobody comes back to its answer."""
        self.idle_since = time.monotonic()
        self._reader = Reader(self.sock)
        self._arrivals = select.poll()
        self._arrivals.register(self.sock, select.POLLIN)
        self._is_nested = isinstance(self.sock, SSLTransport)
        self._remembered = False

    def request(
        self, method: str, head: bytes, body: bytes | Iterable[Piece], *, timeout: tuple[float, float]
    ) -> tuple[Response, float]:
        """Send a request; its answer, and the seconds until it came.

        Args:
            method: of the request.
            head: of the request.
            body: as many bytes as the head announces.
            timeout: seconds for sending a piece, and then until the head of the answer is there.

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
        """Send the pieces; whether all went: the peer may have hung up, and may have said why."""
        first = True
        deadline.pause()  # each piece may have to come from far away
        for piece in pieces:
            if not first and self._has_arrivals() and not self._reader.skip_interim():
                return False
            deadline.restart()
            try:
                self.sock.sendall(piece)
            except (ConnectionError, ssl.SSLEOFError):
                return False
            deadline.pause()
            first = False
        return True

    def _has_arrivals(self) -> bool:
        """Whether the peer has said something that nobody has read, or closed; session tickets apart."""
        if self._reader.holds_bytes():
            return True
        # What TLS has decrypted already is seen in no poll, and TLS within TLS does not tell that it has.
        silent = not self._is_nested and not self._arrivals.poll(0)
        if silent and not (isinstance(self.sock, ssl.SSLSocket) and self.sock.pending()):
            return False
        self.sock.settimeout(0)
        try:
            return self._reader.is_done()
        except OSError:
            return True
        finally:
            self.sock.settimeout(None)

    def remember(self) -> None:
        """Keep what a later connection to the same peer can take up; once, after its first answer."""
        if not self._remembered:
            self._remembered = True
            if isinstance(self.sock, ssl.SSLSocket) and isinstance(self.sock.context, PeerContext):
                self.sock.context.keep(self.sock)

    def is_clean(self) -> bool:
        """Whether nothing was received behind the answer."""
        return not self._reader.holds_bytes()

    def is_old(self, now: float) -> bool:
        """Whether it has been idle for too long."""
        return now - self.idle_since > _MAX_IDLE

    def is_fit(self) -> bool:
        """Whether a request may go out: it was not idle for long, and nothing came since the last answer."""
        return not self.is_old(time.monotonic()) and not self._has_arrivals()


def _joined(head: bytes, body: Iterable[Piece]) -> Iterable[Piece]:
    """The head with a small first piece of the body, then the others."""
    pieces = iter(body)
    first = next(pieces, b"")
    if len(first) <= _SMALL:
        yield head + bytes(first)
    else:
        yield head
        yield first
    yield from pieces
