"""From one request to the head of its answer, on the connections of one thread.

A server may refuse in the middle of a body (401, 413, 429) and close. Over TLS that answer would be lost
behind an SSLEOFError; on a connection that has already answered one request it can be read: look before each
piece whether something lies there. After a body that was not sent in full the connection is closed, else the
server would take the next request for the rest of the body. Nothing is repeated, redirected, decoded or
remembered here.
"""

from __future__ import annotations

import re
import ssl
import time
import weakref
from functools import partial
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from urllib3.util.wait import wait_for_read

from pipeline.registry.connections import Way
from pipeline.registry.deadlines import Deadline
from pipeline.registry.http1 import Reply, compose
from pipeline.registry.origins import PRINTABLE, SENDABLE
from pipeline.registry.tls import Context

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from urllib3.connection import HTTPConnection

_MAX_IDLE = 30.0
"""Seconds: servers drop idle connections after 60, and some balancers do it without a word."""
_MOST_ORIGINS = 16
"""That connections are kept for: some storage has a host name for each of its servers."""
_MOST_LINES = 4
"""Connections of one thread to one origin: it has two open where a copy stays within a registry."""
_SMALL = 64 << 10
"""Bytes of a body that are worth copying, so that they go out together with the head."""
_URL = re.compile(r"(https?)://([^/?#]*)([^?#]*)(\?[^#]+)?")
"""Scheme, host with port, path, query; a fragment is nobody's business but the reader's (RFC 3986, 3.5)."""

Piece = bytes | memoryview
"""Some bytes of a body; good until the next ones are asked for."""


class Pieces(Protocol):
    """A body to stream: the bytes in pieces, and how many there are in all."""

    def __iter__(self) -> Iterator[Piece]:
        """The pieces."""

    def __len__(self) -> int:
        """Bytes in all, not pieces."""


class Line:
    """One connection that is open."""

    def __init__(self, connection: HTTPConnection) -> None:
        """Own `connection`, which is connected."""
        self.sock: socket.socket = connection.sock
        self.close = weakref.finalize(self, connection.close)
        """Close it: at the latest when its thread has ended, or nobody comes back to its answer."""
        self.idle_since = time.monotonic()
        self.reply: Reply | None = None
        """The answer on it that is still being read."""
        self._answered = self._remembered = False

    def ask(
        self,
        method: str,
        head: bytes,
        body: bytes | Iterable[Piece],
        *,
        timeout: tuple[float, float],
    ) -> tuple[Reply, float]:
        """Send one request; the answer, and the seconds until it came.

        Args:
            method: of the request.
            head: of the request.
            body: as many bytes as the head announces.
            timeout: seconds for sending a piece, and until the answer's next byte.

        Raises:
            OverdueError: the head of the answer has begun, and did not get on.
            Exception: of STACK_ERRORS, or what the iterable raises.
        """
        sending, reading = timeout
        sock = self.sock
        if isinstance(body, bytes):
            self._allow(reading)
            complete = self._send((head + body,) if len(body) <= _SMALL else (head, body))
        else:
            self._allow(sending)
            complete = self._send(_joined(head, body))
            self._allow(reading)
        began = time.monotonic()
        with Deadline(sock, reading):
            reply = Reply(sock, method)
        self._answered = True
        if not complete:
            reply.closes = True
        return reply, time.monotonic() - began

    def _allow(self, seconds: float) -> None:
        """Let each send and recv take so long; telling the socket again would be a call of the system."""
        if self.sock.gettimeout() != seconds:
            self.sock.settimeout(seconds)

    def _send(self, pieces: Iterable[Piece]) -> bool:
        """Send the pieces; whether all went: the peer may have hung up, and may have said why."""
        first = True
        for piece in pieces:
            # Before the first answer a TLS 1.3 socket is readable for session tickets alone.
            if not first and self._answered and wait_for_read(self.sock, timeout=0):
                return False
            try:
                self.sock.sendall(piece)
            except (ConnectionError, ssl.SSLEOFError):
                return False
            first = False
        return True

    def remember(self) -> None:
        """Keep what a later connection to the same peer can take up; once, after its first answer."""
        if not self._remembered:
            self._remembered = True
            if isinstance(self.sock, ssl.SSLSocket) and isinstance(self.sock.context, Context):
                self.sock.context.keep(self.sock)

    def is_fit(self) -> bool:
        """Whether another request may go out: it did not lie idle for long, nor has the peer said or ended
        anything since: in what TLS has decrypted already no other would see it.
        """
        if time.monotonic() - self.idle_since > _MAX_IDLE or wait_for_read(self.sock, timeout=0):
            return False
        return not (isinstance(self.sock, ssl.SSLSocket) and self.sock.pending())


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


class Answer:
    """A status, headers, and a body that is still to be read, as it comes over the wire: never decoded.

    Args:
        reply: the head, and where the body is read.
        url: of the request.
        patience: seconds for one `read`.
        release: takes the connection back.
        waited: seconds from the request to this answer.
    """

    __slots__ = ("_patience", "_release", "_reply", "headers", "status_code", "url", "waited")

    def __init__(
        self, reply: Reply, url: str, *, patience: float, release: Callable[[], None], waited: float
    ) -> None:
        """See the class."""
        self._reply, self._release, self._patience = reply, release, patience
        self.url, self.waited = url, waited
        self.status_code: int = reply.status
        self.headers: Mapping[str, str] = reply.fields

    @property
    def sock(self) -> socket.socket:
        """Where it comes from."""
        return self._reply.sock

    def read(self, most: int) -> bytes:
        """The next `most` bytes, fewer where the body is over, however they trickle in.

        Raises:
            Exception: of STACK_ERRORS; OverdueError among them where time ran out.
        """
        if self._reply.over:
            return b""
        pieces: list[bytes] = []
        with Deadline(self._reply.sock, self._patience):
            while most > 0 and (piece := self._reply.read(most)):
                pieces.append(piece)
                most -= len(piece)
        return b"".join(pieces)

    def readinto(self, view: memoryview, *, whole: bool, seconds: float) -> int:
        """Fill `view` with the next bytes, however they trickle in; how many there were, 0: it is over.

        Args:
            view: of bytes.
            whole: wait a moment until it is full, or the body is over; else take what one recv brings.
            seconds: allowed for it.

        Raises:
            Exception: of STACK_ERRORS; OverdueError among them where time ran out.
        """
        if self._reply.over:
            return 0
        with Deadline(self._reply.sock, seconds):
            return self._reply.readinto(view, whole=whole)

    def close(self) -> None:
        """Be done: the connection goes back where all was read, else it is closed."""
        self._release()


class _Origin:
    """The open connections of one thread to one origin."""

    def __init__(self, way: Way) -> None:
        self.way = way
        self._free: list[Line] = []

    def take(self) -> Line:
        """A connection on which a request may go out."""
        while self._free:
            line = self._free.pop()
            if line.is_fit():
                return line
            line.close()
        return Line(self.way.open())

    def release(self, line: Line, reply: Reply) -> None:
        """Take a connection back behind an answer; a second time it does nothing."""
        if line.reply is not reply:
            return
        line.reply = None
        line.remember()
        if reply.reusable and len(self._free) < _MOST_LINES:
            line.idle_since = time.monotonic()
            self._free.append(line)
        else:
            line.close()

    def close(self) -> None:
        """Close those that are free."""
        while self._free:
            self._free.pop().close()


class Wire:
    """The connections of one thread on behalf of one registry.

    Args:
        context: for TLS, the same for all.
        dial: seconds for connecting and the TLS handshake.
    """

    def __init__(self, context: ssl.SSLContext, *, dial: float) -> None:
        """Connect to nothing yet."""
        self._context, self._dial = context, dial
        self._origins: dict[tuple[str, str], _Origin] = {}
        """Those used last at the end."""

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str | bytes],
        body: bytes | Pieces,
        timeout: tuple[float, float],
    ) -> Answer:
        """Send a request and read the head of its answer.

        Args:
            method: of the request.
            url: absolute.
            headers: all but Host and Content-Length.
            body: as many bytes as `len` gives.
            timeout: seconds for sending a piece, and until the answer's next byte.

        Raises:
            Exception: of STACK_ERRORS, or what the iterable raises.
        """
        parts = _URL.match(url)
        assert parts is not None, "an absolute URL, by contract"
        origin = self._origin(*parts.group(1, 2))
        target = f"{parts[3] or '/'}{parts[4] or ''}"
        if not SENDABLE.fullmatch(target):
            target = quote(target, safe=PRINTABLE)
        way = origin.way
        head = compose(method, way.prefix + target, {**way.fields, **headers}, length=len(body))
        line = origin.take()
        try:
            reply, waited = line.ask(method, head, body, timeout=timeout)
        except BaseException:
            line.close()
            raise
        line.reply = reply
        release = partial(origin.release, line, reply)
        return Answer(reply, url, patience=timeout[1], release=release, waited=waited)

    def _origin(self, scheme: str, netloc: str) -> _Origin:
        key = (scheme, netloc)
        if key in self._origins:
            origin = self._origins.pop(key)
        else:
            origin = _Origin(Way(scheme, netloc, context=self._context, dial=self._dial))
        self._origins[key] = origin
        if len(self._origins) > _MOST_ORIGINS:
            self._origins.pop(next(iter(self._origins))).close()
        return origin

    def close(self) -> None:
        """Close all connections that are free: the next request opens a new one."""
        for origin in self._origins.values():
            origin.close()
        self._origins.clear()
