"""Which proxy leads where, by the environment variables of Go, curl and requests, and of which kind it is.

requests' own reading of the environment is off: it would also let a netrc entry replace our Authorization
header.
"""

from __future__ import annotations

import ipaddress
import os
from typing import Any
from urllib.parse import urlsplit

from urllib3 import PoolManager


def find_proxy(url: str) -> str:
    """URL of the environment's proxy for `url`; empty: none. Loopback is never proxied, as in Go."""
    named = any(name.lower().endswith("_proxy") for name in os.environ)
    if not named or is_local(urlsplit(url).hostname or ""):
        return ""
    from requests.utils import get_environ_proxies, prepend_scheme_if_needed, select_proxy  # noqa: PLC0415 - 20 ms, for those who have a proxy

    chosen = select_proxy(url, get_environ_proxies(url))
    return prepend_scheme_if_needed(chosen, "http") if chosen else ""


def is_local(host: str) -> bool:
    """Whether `host` names this machine: `localhost` or a loopback address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def make_manager(proxy: str, **options: Any) -> PoolManager:
    """What opens connections through a proxy, by its URL, or directly where that is empty.

    requests knows the kinds of proxies and their credentials.
    """
    if not proxy:
        return PoolManager(**options)
    from requests.adapters import HTTPAdapter  # noqa: PLC0415 - 20 ms, for those who have a proxy

    manager = HTTPAdapter().proxy_manager_for(proxy, **options)
    assert isinstance(manager, PoolManager)
    return manager
