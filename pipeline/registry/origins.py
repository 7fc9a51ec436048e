"""URLs that a registry hands out: what they stand for, and which of them are refused.

Redirects, upload locations and token realms are opaque, but where they lead decides what may be sent there:
credentials stay at their origin (CVE-2020-15157 is what happens else).
"""

from __future__ import annotations

import ipaddress
from urllib.parse import quote, urljoin, urlsplit

_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))


class StrayError(ValueError):
    """A URL is refused; the message says why, and holds no query."""


def origin_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: what credentials belong to (RFC 6454)."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def resolve(base: str, location: str, *, insecure: bool) -> str:
    """The absolute URL that `location`, handed out in the answer to a request to `base`, stands for.

    http on the same host under https is the mistake of a proxy in between: our own origin is kept.

    Raises:
        StrayError: the URL is broken, leaves https although not `insecure`, or aims at a link-local address.
    """
    try:
        url = urljoin(base, quote(location.encode("latin-1", "replace"), safe=_PRINTABLE))
        ours, target = urlsplit(base), urlsplit(url)
        host, _ = target.hostname or "", target.port  # the port is checked where it is read
    except ValueError:
        raise StrayError("the registry names a URL that cannot be used") from None
    if target.scheme not in {"http", "https"} or not host:
        raise StrayError("the registry names a URL that cannot be used")
    if ours.scheme == "https" and target.scheme == "http":
        if host == ours.hostname:
            return target._replace(scheme="https", netloc=ours.netloc).geturl()
        if not insecure:
            raise StrayError(f"the registry leads away from https, to {host}")
    address = _address(host)
    if address and address.is_link_local and host != ours.hostname:
        # Clouds keep the credentials of their machines there.
        raise StrayError(f"the registry leads to the link-local address {host}")
    return url


def resolve_realm(base: str, realm: str, *, insecure: bool) -> str:
    """The URL of the token server that a challenge in the answer to `base` names: credentials go there.

    Raises:
        StrayError: as `resolve`, or a private address on another host, unless the registry is such itself.
    """
    url = resolve(base, realm, insecure=insecure)
    host, ours = urlsplit(url).hostname or "", urlsplit(base).hostname or ""
    if host != ours and _is_private(host) and not _is_private(ours):
        raise StrayError(f"the registry names a token server at the private address {host}")
    return url


def _is_private(host: str) -> bool:
    address = _address(host)
    return host == "localhost" if address is None else address.is_private


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
