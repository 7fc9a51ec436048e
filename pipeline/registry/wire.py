"""From one request to the head of its answer, on the connections of one thread.

urllib3's pools carry what goes straight to a host: that takes half the time of the same through requests, and
most of a run is such requests. requests carries what passes a proxy, where its comfort pays (CONNECT, the
proxy's credentials, SOCKS). Neither ever repeats, redirects, decodes or remembers anything by itself.
"""

from __future__ import annotations

import re
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import requests

from pipeline.registry import tls
from pipeline.registry.connections import Adapter, Pool
from pipeline.registry.deadlines import Deadline

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Mapping

    from urllib3 import HTTPHeaderDict
    from urllib3.response import HTTPResponse

_MOST_ORIGINS = 16
"""That connections are kept for: some storage has a host name for each of its servers."""


_SENDABLE = re.compile(r"[!-~]+")
_KEPT = "".join(map(chr, range(ord("!"), ord("~") + 1)))


class Answer:
    """A status, headers, and a body that is still to be read, as it comes over the wire: never decoded."""

    __slots__ = ("_patience", "headers", "raw", "status_code", "url", "waited")

    def __init__(self, raw: HTTPResponse, url: str, *, patience: float) -> None:
        """The answer to a request for `url`; `patience`: seconds for one `read`."""
        self.raw = raw
        self.url = url
        self._patience = patience
        self.waited: float = getattr(raw, "waited", 0.0)
        self.status_code: int = raw.status
        self.headers: HTTPHeaderDict = raw.headers

    def read(self, most: int, *, whole: bool = True, seconds: float = 0.0) -> bytes:
        """The next bytes, in the time allowed, however they trickle in; empty: the body is over.

        Args:
            most: bytes.
            whole: wait until there are so many, or the body is over; else take what one recv brings.
            seconds: allowed for it; 0: the answer's usual patience.

        Raises:
            Exception: of STACK_ERRORS; OverdueError among them where time ran out.
        """
        with Deadline(getattr(self.raw, "sock", None), seconds or self._patience):
            return (self.raw.read if whole else self.raw.read1)(most, decode_content=False)

    def close(self) -> None:
        """Be done: the connection goes back where all was read, else it is closed."""
        self.raw.close()
        self.raw.release_conn()


class Wire:
    """The connections of one thread on behalf of one registry.

    Args:
        context: for TLS, the same for all.
        dial: seconds for connecting and the TLS handshake.
    """

    def __init__(self, context: ssl.SSLContext, *, dial: float) -> None:
        """Connect to nothing yet."""
        self._context = context
        self._adapter = Adapter(context, dial=dial)
        self._pools: dict[tuple[str, str], Pool | None] = {}
        """By origin, those used last at the end."""
        self._proxied: requests.Session | None = None

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str | bytes],
        body: bytes | Iterable[bytes] | None,
        timeout: tuple[float, float],
    ) -> Answer:
        """Send a request and read the head of its answer.

        Args:
            method: of the request.
            url: absolute.
            headers: all but Host; Content-Length where the body is an iterable.
            body: None: no body, which is announced as such where a body is usual.
            timeout: seconds for sending a piece, and until the answer's next byte.
        """
        parts = urlsplit(url)
        origin = (parts.scheme, parts.netloc)
        pool = self._pools.pop(origin) if origin in self._pools else self._pool(url, *origin)
        self._pools[origin] = pool
        if len(self._pools) > _MOST_ORIGINS:
            del self._pools[next(iter(self._pools))]  # with its last user go its connections
        if pool is None:
            return self._through_proxy(method, url, headers=headers, body=body, timeout=timeout)
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        if not _SENDABLE.fullmatch(target):
            target = quote(target, safe=_KEPT)
        raw = pool.ask(method, target, headers=headers, body=body, timeout=timeout)
        return Answer(raw, url, patience=timeout[1])

    def _pool(self, url: str, scheme: str, netloc: str) -> Pool | None:
        """The pool of an origin; None: it is behind a proxy."""
        if tls.find_proxies(url):
            return None
        extra: dict[str, Any] = {"ssl_context": self._context} if scheme == "https" else {}
        origin = f"{scheme}://{netloc}"
        pool: Any = self._adapter.poolmanager.connection_from_url(origin, pool_kwargs=extra)
        assert isinstance(pool, Pool)
        return pool

    def _through_proxy(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str | bytes],
        body: Any,
        timeout: tuple[float, float],
    ) -> Answer:
        if self._proxied is None:
            self._proxied = requests.Session()
            self._proxied.trust_env = False
            self._proxied.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
            for scheme in ("https://", "http://"):
                self._proxied.mount(scheme, self._adapter)
        request = requests.Request(method, url, headers=headers, data=body).prepare()
        request.url = url  # requests rewrites %7E, which breaks signed URLs
        proxies = tls.find_proxies(url)
        response = self._proxied.send(
            request, stream=True, timeout=timeout, proxies=proxies, allow_redirects=False
        )
        return Answer(response.raw, url, patience=timeout[1])

    def close(self) -> None:
        """Close all connections: the next request opens a new one."""
        self._adapter.close()
        self._pools.clear()
