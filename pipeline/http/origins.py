"""URLs from a registry: resolve them, and refuse dangerous ones.

Redirects, upload locations and token realms are opaque, but their host decides what may be sent there:
credentials are only sent to their origin (otherwise: CVE-2020-15157).
"""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin, urlsplit

from pipeline.http.proxies import address_of, is_local

if TYPE_CHECKING:
    from collections.abc import Iterable
    from urllib.parse import SplitResult

    from pipeline.http.proxies import Address

PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
SENDABLE = re.compile(r"[!-~]+")
"""Text that needs no quoting in a request line."""
_NETLOC = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
"""Host and port that all parsers read alike: no user, no escapes."""
_METADATA = frozenset({"100.100.100.200", "168.63.129.16", "fd00:ec2::254", "metadata.google.internal"})
"""Metadata services of Alibaba, Azure, Amazon and Google, apart from the common link-local address."""


class RefusedURLError(ValueError):
    """A URL is refused; the message does not contain its query.

    Args:
        words: the reason.
        hint: how to allow it; empty: impossible.
    """

    def __init__(self, words: str, *, hint: str = "") -> None:
        """See the class."""
        super().__init__(words)
        self.hint = hint


def origin_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: the scope of credentials (RFC 6454)."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def resolve(base: str, location: str, *, insecure: bool, redirect: bool = False) -> str:
    """The absolute URL of `location` in the response to a request to `base`.

    http on the same host, after https, is a proxy's mistake: the origin of `base` is kept. Only a `redirect`
    to another port is followed as it is: to storage beside a registry, which gets no credentials.

    Raises:
        RefusedURLError: the URL is broken, leaves https although not `insecure`, or aims at this machine or
            at a link-local address, where clouds keep the credentials of their machines.
    """
    origin = base[: base.find("/", len("https://")) + 1]
    if origin and location.startswith(origin) and SENDABLE.fullmatch(location):
        return location
    try:
        url = urljoin(base, quote(location.encode("latin-1", "replace"), safe=PRINTABLE))
        ours, target = urlsplit(base), urlsplit(url)
        host, _ = target.hostname or "", target.port  # .port raises if it is invalid
    except ValueError:
        raise RefusedURLError("the registry returned an unusable URL") from None
    # urllib3 and urlsplit disagree about the host of `https://evil\@registry/`.
    if target.scheme not in {"http", "https"} or not _NETLOC.fullmatch(target.netloc):
        raise RefusedURLError("the registry returned an unusable URL")
    if ours.scheme == "https" and target.scheme == "http":
        beside = redirect and target.port not in {None, 80, ours.port or 443}
        if host == ours.hostname and not beside:
            return target._replace(scheme="https", netloc=ours.netloc).geturl()
        if not insecure:
            raise RefusedURLError(f"the registry returned a plain HTTP URL on {host}")
    if host != ours.hostname and _locality(host) > _locality(ours.hostname or ""):
        raise RefusedURLError(
            f"the registry returned a URL on {host}, an address of this machine or its cloud"
        )
    return target.scheme + url[len(target.scheme) :]  # urljoin keeps the case of another scheme


def resolve_realm(base: str, realm: str, *, insecure: bool, allowed: Iterable[str] = ()) -> str:
    """The URL of the token server in a challenge of `base`; it gets credentials.

    Args:
        base: of the registry.
        realm: as the challenge names it.
        insecure: whether plain HTTP is allowed.
        allowed: private addresses, as host or host:port, that the user knows as token servers.

    Raises:
        RefusedURLError: as `resolve`, or plain HTTP on another host, or a private address there that is not
            `allowed`, unless the registry is written as such itself.
    """
    url = resolve(base, realm, insecure=insecure)
    target = urlsplit(url)
    host, ours = target.hostname or "", urlsplit(base).hostname or ""
    if host == ours:
        return url
    if target.scheme == "http" and not insecure and not _locality(host):
        raise RefusedURLError(f"the registry names a token server without TLS, at {host}")
    known = _is_private(ours) or any(_is_at(target, place) for place in allowed)
    if _is_private(host) and not known:
        words = f"the registry names a token server at the private address {host}"
        raise RefusedURLError(words, hint=f'if it is the right one, allow it by "realm": ["{target.netloc}"]')
    return url


def _is_at(target: SplitResult, place: str) -> bool:
    """Whether a URL leads to `place`, a host with one port or any."""
    named = urlsplit(f"//{place}")
    host, known = target.hostname or "", named.hostname or ""
    default = 443 if target.scheme == "https" else 80
    same = host == known or (_address(host) is not None and _address(host) == _address(known))
    return same and named.port in {None, target.port or default}


def _locality(host: str) -> int:
    """2: link-local, or a cloud's metadata service; 1: this machine; 0: anywhere else."""
    address = _address(host)
    if host.rstrip(".") in _METADATA or (address and (address.is_link_local or str(address) in _METADATA)):
        return 2
    near = address.is_loopback or address.is_unspecified if address else is_local(host.rstrip("."))
    return 1 if near else 0


def _is_private(host: str) -> bool:
    address = _address(host)
    return is_local(host.rstrip(".")) if address is None else not address.is_global


def _address(host: str) -> Address | None:
    """The IP address of a host in any notation that connect() accepts: 127.1, 0x7f000001."""
    try:
        return address_of(host) or (ipaddress.IPv4Address(socket.inet_aton(host)) if host.isascii() else None)
    except OSError:
        return None
