"""Open connections with urllib3, directly and through proxies: sockets, TLS, CONNECT and SOCKS.

requests and urllib3 decide how to reach a host and verify it; connection.py uses the socket.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from typing import TYPE_CHECKING, Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, ProxyError, SSLError
from urllib3.util.proxy import connection_requires_http_tunnel
from urllib3.util.ssl_match_hostname import CertificateError

from pipeline.http.deadlines import Deadline
from pipeline.http.proxies import choose_proxy, make_manager

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEEP_ALIVE = [
    *HTTPConnection.default_socket_options,
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 6))
        if hasattr(socket, name)
    ),
]


class HandshakeError(ConnectionError):
    """The peer closed the connection or did not answer during the TLS handshake."""


class _PlainConnection(HTTPConnection):
    """A plain connection."""

    def _tunnel(self) -> None:
        """Open a tunnel within the connect timeout, even if the proxy's response arrives slowly."""
        assert isinstance(self.timeout, int | float)
        with Deadline(self.sock, self.timeout):
            super()._tunnel()


class _TLSConnection(_PlainConnection, HTTPSConnection):
    """The same over TLS."""

    def connect(self) -> None:
        """Connect; an end during the handshake has its own error: usually the peer does not speak TLS."""
        try:
            super().connect()
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError, TimeoutError) as error:
            if self._tunnel_host:
                raise  # it may have been the proxy
            silent = isinstance(error, TimeoutError)
            words = "no response to" if silent else "the server closed the connection during"
            raise HandshakeError(f"{words} the TLS handshake") from error


class _PlainPool(HTTPConnectionPool):
    """Makes our connections; transport.py keeps the open ones."""

    ConnectionCls = _PlainConnection


class _TLSPool(HTTPSConnectionPool):
    """The same over TLS."""

    ConnectionCls = _TLSConnection


_PORTS = {"http": ":80", "https": ":443"}
"""Default ports, omitted in Host as by http.client and curl, because they are not in signed URLs."""
_POOLS: dict[str, Any] = {"http": _PlainPool, "https": _TLSPool}


class Dialer:
    """Opens connections to one origin.

    Args:
        scheme: `http` or `https`.
        netloc: host, and port if it is not the default.
        context: for TLS.
        seconds: timeout to connect, for the proxy, and for the TLS handshake.
        proxy: URL of the proxy; empty: none; None: as the environment says.
    """

    def __init__(
        self, scheme: str, netloc: str, *, context: ssl.SSLContext, seconds: float, proxy: str | None = None
    ) -> None:
        """Choose the proxy, but do not connect yet."""
        self._seconds = seconds
        origin = f"{scheme}://{netloc}"
        through = choose_proxy(origin, proxy)
        manager = make_manager(through, socket_options=_KEEP_ALIVE)
        if not through.startswith("socks"):
            manager.pool_classes_by_scheme = _POOLS
        options = {"ssl_context": context} if scheme == "https" else {}
        self._pool: Any = manager.connection_from_url(origin, pool_kwargs=options)
        self._tunnels = connection_requires_http_tunnel(self._pool.proxy, self._pool.proxy_config, scheme)
        forwarded = self._pool.proxy is not None and not self._tunnels
        self.prefix = origin if forwarded else ""
        """Precedes the path in the request line, for a proxy that forwards requests."""
        host = netloc.removesuffix(_PORTS[scheme]).removesuffix(":")
        self.fields: Mapping[str, str] = {"Host": host, **(self._pool.proxy_headers if forwarded else {})}
        """Headers of every request."""

    def dial(self) -> HTTPConnection:
        """Open a new connection.

        Raises:
            HTTPError, OSError: it failed; HandshakeError is one of them.
        """
        connection: HTTPConnection = self._pool._new_conn()  # noqa: SLF001 - it has the options for TLS
        connection.timeout = self._seconds
        try:
            if self._tunnels:
                self._pool._prepare_proxy(connection)  # noqa: SLF001 - it sets up the tunnel
            else:
                connection.connect()
        except (OSError, HTTPError, http.client.HTTPException, CertificateError) as error:
            reached = connection.has_connected_to_proxy
            connection.close()
            if connection.proxy and not reached:
                raise ProxyError("Cannot connect to proxy.", error) from error
            if isinstance(error, CertificateError):
                raise SSLError(error) from error
            if isinstance(error, http.client.HTTPException) and not isinstance(error, OSError):
                raise ProxyError("No tunnel.", OSError("no HTTP response from the proxy")) from error
            raise
        except BaseException:
            connection.close()
            raise
        return connection
