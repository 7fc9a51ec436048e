"""Send requests on connections that all threads of a process share.

There is one pool for each origin and TLS context. Nothing is retried, redirected or decoded here.
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
"""Maximum pools: some storage has a host name for each of its servers."""
_MOST_IDLE = 64
"""Idle connections kept for one origin: as many as threads may have used."""
_ANNOUNCED = frozenset({"POST", "PUT", "PATCH"})
"""Methods that usually have a body: `Content-Length: 0` is sent (RFC 9110, 8.6)."""
_URL = re.compile(r"(https?)://([^/?#]*)([^?#]*)(\?[^#]+)?")
"""Scheme, host with port, path, query; a fragment is not sent (RFC 3986, 3.5)."""


class Pieces(Protocol):
    """A body to stream: the bytes in pieces, and their total number."""

    def __iter__(self) -> Iterator[Piece]:
        """The pieces."""

    def __len__(self) -> int:
        """The number of bytes, not of pieces."""


class _Pool:
    """The connections to one origin."""

    def __init__(self, dialer: Dialer) -> None:
        self.dialer = dialer
        self._lock = threading.Lock()
        self._idle: deque[Connection] = deque()
        """The most recently used last."""
        self._closed = False

    def take(self, *, fresh: bool) -> Connection:
        """A reusable or new connection; `fresh`: a new one."""
        while not fresh:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                break
            if connection.is_reusable():
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
        """Close connections that were idle too long, or are too many."""
        with self._lock:
            while self._idle and (
                self._closed or len(self._idle) > _MOST_IDLE or self._idle[0].is_expired(now)
            ):
                self._idle.popleft().close()

    def close(self) -> None:
        """Keep no connection from now on."""
        self._closed = True
        self.prune(time.monotonic())


class Answer:
    """A response with an unread body, which is never decoded.

    Args:
        response: the parsed response.
        url: of the request.
        connection: of the response.
        pool: of the connection.
        read_timeout: seconds for one `read`.
        waited: seconds from the request to this response.
    """

    def __init__(
        self,
        response: Response,
        url: str,
        *,
        connection: Connection,
        pool: _Pool,
        read_timeout: float,
        waited: float,
    ) -> None:
        """See the class."""
        self._response, self._pool, self._read_timeout = response, pool, read_timeout
        self._connection: Connection | None = connection
        self._failed: Exception | None = None
        self.sock: socket.socket = connection.sock
        """The connection's socket."""
        self.url, self.waited = url, waited
        self.status_code: int = response.status
        self.reason: str = response.reason
        """The words of the status line."""
        self.headers: Mapping[str, str] = response.fields

    def read(self, most: int) -> bytes:
        """The next `most` bytes; fewer at the end of the body.

        Raises:
            Exception: of STACK_ERRORS; OverdueError if it takes too long in total.
        """
        if self._response.is_over and not self._failed:
            return b""
        return self._watched(lambda: self._response.take(most), self._read_timeout)

    def readinto(self, view: memoryview, *, whole: bool, seconds: float) -> int:
        """Fill `view` with the next bytes: their number; 0: the body is complete.

        Args:
            view: of bytes.
            whole: read until it is full or the body is complete; else do one recv.
            seconds: the deadline.

        Raises:
            Exception: of STACK_ERRORS; OverdueError after the deadline.
        """
        if self._response.is_over and not self._failed:
            return 0
        return self._watched(lambda: self._response.fill(view, whole=whole), seconds)

    def _watched(self, read: Callable[[], T], seconds: float) -> T:
        if self._failed:
            raise self._failed  # http.client treats a body as complete after some errors
        if self._connection is None:
            raise ValueError("the response is closed, and its connection may be in use again")
        try:
            with Deadline(self.sock, seconds):
                return read()
        except Exception as error:
            self._failed = error
            raise

    def close(self) -> None:
        """Return the connection to the pool if the body was read completely, else close it. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        connection.save_session()
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
        """Start without connections."""
        self._dial = dial
        self._lock = threading.Lock()
        self._pools: dict[tuple[str, str, ssl.SSLContext, str | None], _Pool] = {}
        """By scheme, host with port, TLS context, and proxy; the most recently used last."""

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
        proxy: str | None = None,
    ) -> Answer:
        """Send a request and read the head of its response.

        Args:
            method: of the request.
            url: absolute.
            context: for TLS.
            headers: all but Host and Content-Length.
            body: as many bytes as `len` gives.
            timeout: seconds to send a piece of the body, and to receive the head of the response.
            fresh: use a new connection.
            proxy: URL of the proxy; empty: none; None: as the environment says.

        Raises:
            Exception: of STACK_ERRORS, or what the iterable raises.
        """
        parts = _URL.match(url)
        assert parts is not None, "an absolute URL, by contract"
        target = f"{parts[3] or '/'}{parts[4] or ''}"
        if not SENDABLE.fullmatch(target):
            target = quote(target, safe=PRINTABLE)
        pool = self._pool(parts[1], parts[2], context, proxy)
        dialer = pool.dialer
        head = compose(method, dialer.prefix + target, {**dialer.fields, **headers}, length=len(body))
        connection = pool.take(fresh=fresh)
        try:
            response, waited = connection.request(method, head, body, timeout=timeout)
        except BaseException:
            connection.close()
            raise
        return Answer(response, url, connection=connection, pool=pool, read_timeout=timeout[1], waited=waited)

    def _pool(self, scheme: str, netloc: str, context: ssl.SSLContext, proxy: str | None) -> _Pool:
        key = (scheme, netloc, context, proxy)
        with self._lock:
            pool = self._pools.pop(key, None)
            if pool is None:
                for other in self._pools.values():
                    other.prune(time.monotonic())
                dialer = Dialer(scheme, netloc, context=context, seconds=self._dial, proxy=proxy)
                pool = _Pool(dialer)
            self._pools[key] = pool
            if len(self._pools) > _MOST_ORIGINS:
                self._pools.pop(next(iter(self._pools))).close()
        return pool


def compose(method: str, target: str, fields: Mapping[str, str | bytes], *, length: int) -> bytes:
    """The head of a request in one piece; http.client's line-by-line code takes three times as long.

    Args:
        method: of the request.
        target: of the request line, printable ASCII.
        fields: the header fields with Host, without Content-Length.
        length: bytes of the body.

    Raises:
        ValueError: a value contains characters that are not allowed in a header.
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
