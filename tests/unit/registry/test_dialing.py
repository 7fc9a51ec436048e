"""How connections to an origin are made, and how requests name it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pipeline.model.reference import Repository
from pipeline.registry.clients import Clients
from tests.registry.content import digest_of
from tests.unit.records.stores import python
from tests.unit.registry.asking import ANONYMOUS, QUICK
from tests.unit.registry.names import lead_here

if TYPE_CHECKING:
    from tests.unit.registry.names import Origin


@pytest.mark.parametrize(
    ("scheme", "netloc", "host"),
    [
        ("https", "registry.example", "registry.example"),
        ("https", "registry.example:443", "registry.example"),
        ("https", "registry.example:80", "registry.example:80"),
        ("http", "registry.example:80", "registry.example"),
        ("http", "registry.example:5000", "registry.example:5000"),
        ("http", "[fd00::1]:80", "[fd00::1]"),
        ("http", "[fd00::80]", "[fd00::80]"),
    ],
)
def test_default_port_is_omitted_from_host(
    monkeypatch: pytest.MonkeyPatch, scheme: str, netloc: str, host: str
) -> None:
    """The default port is omitted, since signed URLs do not include it (boto, AWS's SDKs)."""
    heads: list[bytes] = []

    def serve(there: Origin, head: bytes, _body: bytes) -> bytes:
        assert there[0] == scheme
        heads.append(head)
        return b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"

    lead_here(monkeypatch, serve)
    made = Clients(QUICK, lambda _: ANONYMOUS)
    made.at(netloc)._session._schemes[True] = scheme
    made.at(netloc).head_blob(Repository(netloc, "team/app"), digest_of(b""))

    (head,) = heads
    assert f"\r\nHost: {host}\r\n".encode() in head


@pytest.mark.parametrize("proxy", ["", "http://127.0.0.1:1"])
def test_requests_is_imported_only_for_a_proxy(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests is imported only if there is a proxy."""
    for name in os.environ:
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    if proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
    script = """
import sys, pipeline.stages.run
from pipeline.errors import RegistryError
from pipeline.model.reference import Repository
from tests.unit.registry.asking import QUICK, ANONYMOUS
from pipeline.registry.clients import Clients
try:
    Clients(QUICK, lambda _: ANONYMOUS).at("r.invalid").head_blob(Repository("r.invalid", "a"), "sha256:1")
except RegistryError:
    print("requests" in sys.modules)
"""
    said, _ = python(script).communicate(timeout=30)

    assert said == f"{bool(proxy)}\n"
