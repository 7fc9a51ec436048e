"""How an origin is named in the requests to it."""

from __future__ import annotations

import ssl

import pytest

from pipeline.registry.connections import Way


@pytest.mark.parametrize(
    ("scheme", "netloc", "host"),
    [
        ("https", "registry.example", "registry.example"),
        ("https", "registry.example:443", "registry.example"),
        ("https", "registry.example:80", "registry.example:80"),
        ("https", "registry.example:", "registry.example"),
        ("http", "registry.example:80", "registry.example"),
        ("http", "registry.example:5000", "registry.example:5000"),
        ("http", "[fd00::1]:80", "[fd00::1]"),
        ("http", "[fd00::80]", "[fd00::80]"),
    ],
)
def test_host(scheme: str, netloc: str, host: str) -> None:
    """The port of the scheme itself is not said: who signs a URL with it leaves it out (boto, AWS's SDKs)."""
    way = Way(scheme, netloc, context=ssl.create_default_context(), dial=5)

    assert way.fields["Host"] == host
