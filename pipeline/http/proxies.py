"""Proxies from the environment variables of Go, curl and requests.

requests itself must not read the environment: it would also replace our Authorization header by a netrc
entry.
"""

from __future__ import annotations

import ipaddress
import os
import re
from typing import Any
from urllib.parse import urlsplit

from urllib3 import PoolManager

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_ENTRY = re.compile(r"(?P<host>\[.*\]|[^:\[\]]*):(?P<port>[0-9]+)")


def choose_proxy(url: str, setting: str | None) -> str:
    """URL of the proxy for `url`, empty for none: the user's for the registry, else the environment's."""
    return find_proxy(url) if setting is None else setting


def find_proxy(url: str) -> str:
    """URL of the environment's proxy for `url`; empty: none. This machine is never proxied, as in Go."""
    target = urlsplit(url)
    proxy = _variable(f"{target.scheme}_proxy") or _variable("all_proxy")
    host = target.hostname or ""
    if not proxy or is_local(host):
        return ""
    port = target.port or (443 if target.scheme == "https" else 80)
    if any(_excludes(entry.strip().lower(), host, port) for entry in _variable("no_proxy").split(",")):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def is_local(host: str) -> bool:
    """Whether `host` names this machine: `localhost` or a loopback address."""
    address = address_of(host)
    return address.is_loopback if address else host == "localhost" or host.endswith(".localhost")


def address_of(host: str) -> Address | None:
    """The IP address that `host` is; one in IPv6 notation of IPv4 counts as that."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return (isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped) or address


def _variable(name: str) -> str:
    """An environment variable in upper case or, if that is empty, in lower case."""
    return os.environ.get(name.upper(), "").strip() or os.environ.get(name, "").strip()


def _excludes(entry: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY, in lower case, matches `host` and `port`.

    As in golang.org/x/net/http/httpproxy: `*`, an address, a CIDR block, `name` with its subdomains, `.name`
    and `*.name` for subdomains only; all but blocks may have a `:port`.
    """
    address = address_of(host)
    if entry == "*":
        return True
    if "/" in entry:
        return address is not None and _is_within(address, entry)
    named = _ENTRY.fullmatch(entry)
    name, ports = (named["host"], named["port"]) if named else (entry, None)
    if ports is not None and int(ports) != port:
        return False
    name = name.strip("[]").removeprefix("*" if name.startswith("*.") else "")
    if not name:
        return False
    if address is not None:
        return address == address_of(name)
    return host.endswith(name) if name.startswith(".") else host == name or host.endswith(f".{name}")


def _is_within(address: Address, block: str) -> bool:
    try:
        return address in ipaddress.ip_network(block, strict=False)
    except ValueError:
        return False


def make_manager(proxy: str, **options: Any) -> PoolManager:
    """A pool manager for connections through a proxy; empty URL: direct connections.

    requests knows the kinds of proxies and their credentials.
    """
    if not proxy:
        return PoolManager(**options)
    from requests.adapters import HTTPAdapter  # noqa: PLC0415 - takes 20 ms, needed only with a proxy

    manager = HTTPAdapter().proxy_manager_for(proxy, **options)
    assert isinstance(manager, PoolManager)
    return manager
