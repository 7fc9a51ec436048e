"""The certificate and the clock of a registry, for `check`.

An expiring certificate or a wrong clock would fail every request of a night, in words that name neither.
Source: OCI distribution specification, "Determining Support".
"""

from __future__ import annotations

import ssl
import time
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pipeline.dataclass import dataclass
from pipeline.http.proxies import choose_proxy
from pipeline.registry.request import Request
from pipeline.registry.request_info import RequestInfo
from pipeline.registry.responses import is_page, parse_date, parse_size
from pipeline.registry.session import RegistrySession, finish

if TYPE_CHECKING:
    from pipeline.http.transport import Answer
    from pipeline.model.reference import Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What the first answer of a registry reveals, whatever its status."""

    scheme: str
    """`https` or `http`."""
    insecure: bool = False
    """Whether plain HTTP is allowed."""
    proxy: str = ""
    """`host:port` of the proxy; empty: none."""
    expires: datetime | None = None
    """Of its certificate; None: plain HTTP, or the certificate is not verified."""
    ahead: float = 0.0
    """Minimum seconds by which this machine's clock is ahead of the registry's; negative: behind."""


def probe(session: RegistrySession, repository: Repository, *, insecure: bool) -> Probe:
    """Ask once, without credentials and retries.

    Raises:
        RegistryError: there was no answer, or a web page.
    """
    info = RequestInfo(operation="reach the registry", kind="read", repository=repository)
    call = Request(info=info, method="GET", url="/v2/", insecure=insecure, follow=False)
    before = time.time()
    response = session.send(call)
    after = time.time()
    expires = _expiry(response)
    body = finish(response)
    if response.status_code == HTTPStatus.OK and is_page(body, response.headers.get("Content-Type", "")):
        raise session.error(info, response, body)
    return Probe(
        scheme=urlsplit(response.url).scheme,
        insecure=insecure,
        proxy=_proxy(response.url, session.settings.proxy),
        expires=expires,
        ahead=_ahead(response, before, after),
    )


def _expiry(response: Answer) -> datetime | None:
    """When the certificate expires; the ssl module does not parse one that it did not verify."""
    sock = response.sock
    certificate = sock.getpeercert() if isinstance(sock, ssl.SSLSocket) else None
    ends = (certificate or {}).get("notAfter")
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC) if isinstance(ends, str) else None


def _proxy(url: str, setting: str | None) -> str:
    """Where the proxy for `url` listens; its name and password stay out of it."""
    return urlsplit(choose_proxy(url, setting)).netloc.rpartition("@")[2]


def _ahead(response: Answer, before: float, after: float) -> float:
    """The minimum difference of the clocks: the answer was made between `before` and `after`.

    A cache's answer is as old as its Age; a Date has no fractions of a second.
    """
    date = parse_date(response.headers.get("Date", ""))
    if date is None:
        return 0.0
    theirs = date.timestamp() + max(0, parse_size(response.headers.get("Age", "")))
    if theirs + 1 < before:
        return before - theirs - 1
    return min(0.0, after - theirs)
