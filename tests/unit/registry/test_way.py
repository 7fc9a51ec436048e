"""How an origin is reached, and named in the requests to it."""

from __future__ import annotations

import os
import ssl

import pytest

from pipeline.registry.connections import Way
from tests.unit.stores import python


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


@pytest.mark.parametrize("proxy", ["", "http://proxy.example:3128"])
def test_imports(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests is imported where there is a proxy alone."""
    for name in os.environ:
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    if proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
    script = (
        "import ssl, sys, pipeline.stages.run; from pipeline.registry.connections import Way;"
        " Way('https', 'registry.example', context=ssl.create_default_context(), dial=5);"
        " print('requests' in sys.modules)"
    )
    said, _ = python(script).communicate(timeout=30)

    assert said == f"{bool(proxy)}\n"
