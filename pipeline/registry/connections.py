"""Connections that can read an answer which comes before the body is sent, and pools that drop idle ones.

A server may refuse in the middle of a body (401, 413, 429) and close. Over TLS the stock stack loses that
answer behind an SSLEOFError; on a connection that has already answered one request it can be read: look
before each send whether something lies there. After a body that was not sent in full the connection is
closed, else the server would take the next request for the rest of the body.
"""

from __future__ import annotations

import http
import http.client
import socket
import ssl
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ProtocolError, SSLError
from urllib3.util import Timeout
from urllib3.util.ssl_match_hostname import CertificateError
from urllib3.util.wait import wait_for_read

from pipeline.registry.deadlines import Deadline, OverdueError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from requests import PreparedRequest
    from urllib3.poolmanager import PoolManager
    from urllib3.response import HTTPResponse

_MAX_IDLE = 30.0
"""Seconds: servers drop idle connections after 60, and some balancers do it without a word."""
_MAX_LINE = 1 << 16
_MAX_FIELDS = 101
"""Lines of one head at most, the empty one included; as http.client has it."""
_NO_BODY = frozenset({http.HTTPStatus.NO_CONTENT, http.HTTPStatus.NOT_MODIFIED})
_KEEP_ALIVE = [
    *HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 6))
        if hasattr(socket, name)
    ),
]


class _Head(http.client.HTTPResponse):
    """An answer whose head is read by ourselves, in a quarter of the time that the parser of mails takes.

    Two gaps of http.client are closed. It takes a head that breaks off for one that is over, so that a Link
    or a length would be lost, and a chunk of -1 bytes for all that the peer will ever send, held in memory.
    """

    def begin(self) -> None:
        """Read the head; what follows from it is as in http.client."""
        if self.headers is not None:
            return
        version, status, reason = self._read_status()
        while status == http.HTTPStatus.CONTINUE:
            self._read_fields()
            version, status, reason = self._read_status()
        if not version.startswith(("HTTP/1.", "HTTP/0.9")):
            raise http.client.UnknownProtocol(version)
        self.code = self.status = status
        self.reason, self.version = reason.strip(), 10 if version in ("HTTP/1.0", "HTTP/0.9") else 11
        self.headers = self.msg = fields = self._read_fields()
        self.chunked = fields.get("transfer-encoding", "").lower() == "chunked"
        self.chunk_left = None
        length = fields.get("content-length", "")
        self.length = int(length) if length.isascii() and length.isdigit() and not self.chunked else None
        method = self._method
        if status in _NO_BODY or status < http.HTTPStatus.OK or method == "HEAD":
            self.length = 0
        closes = self._check_close()
        self.will_close = closes or (self.length is None and not self.chunked)

    def _read_fields(self) -> http.client.HTTPMessage:
        fields = http.client.HTTPMessage()
        name = value = ""
        for _ in range(_MAX_FIELDS):
            line = self.fp.readline(_MAX_LINE + 1)
            if len(line) > _MAX_LINE:
                raise http.client.LineTooLong("header line")
            if not line.endswith(b"\n"):
                self.close()
                raise http.client.RemoteDisconnected("the head of the answer broke off")
            text = line.rstrip(b"\r\n").decode("iso-8859-1")
            if text.startswith((" ", "\t")):
                value += f" {text.strip()}"
                continue
            if name:
                fields[name] = value
            if not text:
                return fields
            name, _, value = text.partition(":")
            value = value.strip()
        raise http.client.HTTPException(f"got more than {_MAX_FIELDS} headers")

    def _read_next_chunk_size(self) -> int:
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]  # its stubs have no private names
        if size < 0:
            raise ValueError("a chunk of less than nothing")  # becomes an IncompleteRead there
        return size


class HandshakeError(ConnectionError):
    """Whoever answers there hung up, or said nothing, when a TLS connection was asked for."""


class Connection(HTTPConnection):
    """A plain connection.

    Args:
        dial: seconds for connecting and the TLS handshake. urllib3 sends bodies under the connect timeout,
            which therefore has to be as long as storage behind a registry may pause.
    """

    response_class = _Head

    def __init__(self, *args: Any, dial: float, **options: Any) -> None:
        """See the class."""
        super().__init__(*args, **options)
        self.idle_since = 0.0
        self._dial = dial
        self._answered = self._cut = False

    def connect(self) -> None:
        """Connect within `dial` seconds."""
        self._answered = self._cut = False
        sending, self.timeout = self.timeout, self._dial
        try:
            super().connect()
        finally:
            self.timeout = sending
        self.sock.settimeout(sending)

    def send(self, data: Any) -> None:
        """Send, unless an answer is there already or the peer is gone: urllib3 then reads what it said."""
        try:
            # Before the first answer a TLS 1.3 socket is readable for session tickets alone.
            if self._answered and self.sock and wait_for_read(self.sock, timeout=0):
                raise ConnectionError
            super().send(data)
        except (ConnectionError, ssl.SSLEOFError) as error:
            if self.sock is None:
                raise  # connecting failed: there is nothing to be read
            self._cut = True
            raise BrokenPipeError(32, "body not sent in full") from error

    def _tunnel(self) -> None:
        """Have a proxy connect us, within the time for connecting."""
        with Deadline(self.sock, self._dial):
            super()._tunnel()

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # urllib3's own override has it too
        """Read the whole of the answer's head in the time for its next byte.

        A connection whose request was cut is closed behind it.
        """
        sock, seconds, response, began = self.sock, self.timeout, None, time.monotonic()
        try:
            with Deadline(sock if isinstance(seconds, int | float) else None, seconds or 0.0):
                response = super().getresponse()
        except OverdueError:
            if response is not None:
                response.close()
            raise
        response.sock = sock  # type: ignore[attr-defined]  # for the deadlines of its body, see wire.py
        response.waited = time.monotonic() - began  # type: ignore[attr-defined]  # likewise
        self._answered = True
        if self._cut and self.sock:
            sock, self.sock = self.sock, None  # the response keeps its own file
            sock.close()
        return response


class TLSConnection(Connection, HTTPSConnection):
    """The same over TLS."""

    def connect(self) -> None:
        """Connect, and tell an end in the handshake from all later ones: mostly there is no TLS at all."""
        try:
            super().connect()
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError, TimeoutError) as error:
            if self._tunnel_host:
                raise  # it may have been the proxy
            silent = isinstance(error, TimeoutError)
            words = "no answer to" if silent else "the server closed the connection at"
            raise HandshakeError(f"{words} the start of TLS") from error


class Pool(HTTPConnectionPool):
    """A pool whose connections are opened anew where they lay idle too long."""

    ConnectionCls = Connection

    def ask(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str | bytes],
        body: Any,
        timeout: tuple[float, float],
    ) -> Any:
        """Send one request and read the head of its answer.

        What `urlopen` does beside that, for those who want requests repeated and redirected, takes as long as
        a small answer; and it encodes what a registry has handed out as a target.

        Raises:
            Exception: as `urlopen` does without retries.
        """
        connection = self._get_conn()
        connection.timeout = timeout[0]
        try:
            return self._make_request(
                connection,
                method,
                target,
                body=body,
                headers=headers,  # type: ignore[arg-type] # http.client takes bytes as they are
                timeout=Timeout(connect=timeout[0], read=timeout[1]),
                response_conn=connection,
                preload_content=False,
                decode_content=False,
            )
        except BaseException as error:
            connection.close()
            self._put_conn(None)
            if isinstance(error, ssl.SSLError | CertificateError):
                raise SSLError(error) from error
            if isinstance(error, OSError | http.client.HTTPException):
                raise ProtocolError("Connection aborted.", error) from error
            raise

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection = super()._get_conn(timeout)
        if isinstance(connection, Connection) and time.monotonic() - connection.idle_since > _MAX_IDLE:
            connection.close()
        return connection

    def _put_conn(self, conn: Any) -> None:
        if isinstance(conn, Connection):
            conn.idle_since = time.monotonic()
        super()._put_conn(conn)


class TLSPool(Pool, HTTPSConnectionPool):
    """The same over TLS."""

    ConnectionCls = TLSConnection

    def _validate_conn(self, conn: Any) -> None:
        """Connect; urllib3 would warn of each unverified connection, which a user has asked for by name."""
        if conn.is_closed:
            conn.connect()


class Adapter(HTTPAdapter):
    """requests' adapter over these connections, with one TLS context for all; it never tries twice.

    Args:
        context: of the registry; loading a CA bundle for each connection would cost more than the request.
        dial: seconds for connecting.
    """

    def __init__(self, context: ssl.SSLContext, *, dial: float) -> None:
        """See the class."""
        self._context, self._dial = context, dial
        # One thread uses an adapter: a pool holds what a copy within one registry has open at a time.
        super().__init__(pool_connections=16, pool_maxsize=4, max_retries=0)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Build the pools from our connections."""
        super().init_poolmanager(*args, **options, socket_options=_KEEP_ALIVE)
        self._fit(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Likewise behind a proxy."""
        known = proxy in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **options, socket_options=_KEEP_ALIVE)
        if not known and not proxy.lower().startswith("socks"):
            self._fit(manager)
        return manager

    def _fit(self, manager: PoolManager) -> None:
        pools: dict[str, Any] = {  # typed as classes by urllib3, which only calls them
            "http": partial(Pool, dial=self._dial),
            "https": partial(TLSPool, dial=self._dial),
        }
        manager.pool_classes_by_scheme = pools

    def build_connection_pool_key_attributes(
        self, request: PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Every https pool uses our context."""
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"ssl_context": self._context} if host["scheme"] == "https" else {}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Nothing: the context knows."""
