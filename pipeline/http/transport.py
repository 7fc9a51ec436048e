"""From one request to the head of its answer, on connections that all threads of a process share.

There is one pool for each origin and TLS context. Nothing is repeated, redirected or decoded here.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol, TypeVar
from urllib.parse import quote

from pipeline.http.connection import Connection
from pipeline.http.deadlines import Deadline
from pipeline.http.dialing import Dialer
from pipeline.http.origins import PRINTABLE, SENDABLE

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Iterator, Mapping

    from pipeline.http.connection import Piece
    from pipeline.http.response import Response

T = TypeVar("T")

_MOST_ORIGINS = 32
"""That connections are kept for: some storage has a host name for each of its servers."""
_MOST_IDLE = 64
"""Connections that are kept for one origin: as many as threads may have had."""
_ANNOUNCED = frozenset({"POST", "PUT", "PATCH"})
"""Methods that usually have a body: that there is none is said (RFC 9110, 8.6)."""
_URL = re.compile(r"(https?)://([^/?#]*)([^?#]*)(\?[^#]+)?")
"""Scheme, host with port, path, query; a fragment is nobody's business but the reader's (RFC 3986, 3.5)."""


class Pieces(Protocol):
    """A body to stream: the bytes in pieces, and how many there are in all."""

    def __iter__(self) -> Iterator[Piece]:
        """The pieces."""

    def __len__(self) -> int:
        """Bytes in all, not pieces."""


class _Pool:
    """The connections to one origin."""

    def __init__(self, dialer: Dialer) -> None:
        self.dialer = dialer
        self._lock = threading.Lock()
        self._idle: deque[Connection] = deque()
        """Those used last at the end."""
        self._closed = False

    def take(self, *, fresh: bool) -> Connection:
        """A connection on which a request may go out; `fresh`: one that was never used."""
        while not fresh:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                break
            if connection.is_fit():
                return connection
            connection.close()
        return Connection(self.dialer.dial())

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next request."""
        connection.idle_since = time.monotonic()
        with self._lock:
            self._idle.append(connection)
        self.prune(connection.idle_since)

    def prune(self, now: float) -> None:
        """Close those that are idle for too long, or too many."""
        with self._lock:
            while self._idle and (self._closed or len(self._idle) > _MOST_IDLE or self._idle[0].is_old(now)):
                self._idle.popleft().close()

    def close(self) -> None:
        """Keep no connection from now on."""
        self._closed = True
        self.prune(time.monotonic())


class Answer:
    """A status, headers, and a body that is still to be read, as it comes over the wire: never decoded.

    Args:
        response: the head, and where the body is read.
        url: of the request.
        connection: on which it comes.
        pool: takes the connection back.
        patience: seconds for one `read`.
        waited: seconds from the request to this answer.
    """

    def __init__(
        self,
        response: Response,
        url: str,
        *,
        connection: Connection,
        pool: _Pool,
        patience: float,
        waited: float,
    ) -> None:
        """See the class."""
        self._response, self._pool, self._patience = response, pool, patience
        self._connection: Connection | None = connection
        self._failed: Exception | None = None
        self.sock: socket.socket = connection.sock
        """Where it comes from."""
        self.url, self.waited = url, waited
        self.status_code: int = response.status
        self.headers: Mapping[str, str] = response.fields

    def read(self, most: int) -> bytes:
        """The next `most` bytes, fewer where the body is over, however they trickle in.

        Raises:
            Exception: of STACK_ERRORS; OverdueError among them where time ran out.
        """
        if self._response.is_over and not self._failed:
            return b""
        return self._watched(lambda: self._response.take(most), self._patience)

    def readinto(self, view: memoryview, *, whole: bool, seconds: float) -> int:
        """Fill `view` with the next bytes; how many there were, 0: it is over.

        Args:
            view: of bytes.
            whole: wait until it is full, or the body is over; else take what one recv brings.
            seconds: allowed for it.

        Raises:
            Exception: of STACK_ERRORS; OverdueError among them where time ran out.
        """
        if self._response.is_over and not self._failed:
            return 0
        return self._watched(lambda: self._response.fill(view, whole=whole), seconds)

    def _watched(self, read: Callable[[], T], seconds: float) -> T:
        if self._failed:
            raise self._failed  # http.client takes a body for complete after some errors
        if self._connection is None:
            raise ValueError("the answer is closed, and its connection may be another's")
        try:
            with Deadline(self.sock, seconds):
                return read()
        except Exception as error:
            self._failed = error
            raise

    def close(self) -> None:
        """Be done, once: the connection goes back where all was read, else it is closed."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        connection.remember()
        whole = self._response.is_over and not self._failed and not self._response.will_close
        if whole and connection.is_clean():
            self._pool.give_back(connection)
        else:
            connection.close()


class Transport:
    """The connections of one process; thread-safe.

    Args:
        dial: seconds for connecting and the TLS handshake.
    """

    def __init__(self, *, dial: float) -> None:
        """Connect to nothing yet."""
        self._dial = dial
        self._lock = threading.Lock()
        self._pools: dict[tuple[str, str, ssl.SSLContext], _Pool] = {}
        """By scheme, host with port, and whom one trusts there; those used last at the end."""

    def send(
        self,
        method: str,
        url: str,
        *,
        context: ssl.SSLContext,
        headers: Mapping[str, str | bytes],
        body: bytes | Pieces,
        timeout: tuple[float, float],
        fresh: bool = False,
    ) -> Answer:
        """Send a request and read the head of its answer.

        Args:
            method: of the request.
            url: absolute.
            context: for TLS.
            headers: all but Host and Content-Length.
            body: as many bytes as `len` gives.
            timeout: seconds for sending a piece of the body, and until the head of the answer is there.
            fresh: on a new connection.

        Raises:
            Exception: of STACK_ERRORS, or what the iterable raises.
        """
        parts = _URL.match(url)
        assert parts is not None, "an absolute URL, by contract"
        target = f"{parts[3] or '/'}{parts[4] or ''}"
        if not SENDABLE.fullmatch(target):
            target = quote(target, safe=PRINTABLE)
        pool = self._pool(parts[1], parts[2], context)
        dialer = pool.dialer
        head = compose(method, dialer.prefix + target, {**dialer.fields, **headers}, length=len(body))
        connection = pool.take(fresh=fresh)
        try:
            response, waited = connection.request(method, head, body, timeout=timeout)
        except BaseException:
            connection.close()
            raise
        return Answer(response, url, connection=connection, pool=pool, patience=timeout[1], waited=waited)

    def _pool(self, scheme: str, netloc: str, context: ssl.SSLContext) -> _Pool:
        key = (scheme, netloc, context)
        with self._lock:
            pool = self._pools.pop(key, None)
            if pool is None:
                for other in self._pools.values():
                    other.prune(time.monotonic())
                pool = _Pool(Dialer(scheme, netloc, context=context, seconds=self._dial))
            self._pools[key] = pool
            if len(self._pools) > _MOST_ORIGINS:
                self._pools.pop(next(iter(self._pools))).close()
        return pool


def compose(method: str, target: str, fields: Mapping[str, str | bytes], *, length: int) -> bytes:
    """The head of a request, in one piece: line by line http.client takes three times as long.

    Args:
        method: of the request.
        target: what stands in the request line, all of it printable ASCII.
        fields: the header fields, Host among them and Content-Length not.
        length: bytes of its body.

    Raises:
        ValueError: a value has characters that would end its line, or that no header has.
    """
    lines = [f"{method} {target} HTTP/1.1".encode("ascii")]
    for name, value in fields.items():
        encoded = value if isinstance(value, bytes) else value.encode("iso-8859-1")
        lines.append(b"%b: %b" % (name.encode("ascii"), encoded))
    if length or method in _ANNOUNCED:
        lines.append(b"Content-Length: %d" % length)
    head = b"\r\n".join(lines)
    if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1:
        raise ValueError("a header's value has more than one line")
    return head + b"\r\n\r\n"
