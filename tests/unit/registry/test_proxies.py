"""What a proxy does wrong is a fault of the proxy, whatever it is, and ends no task in another way."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import RegistryError
from pipeline.model.credential import Credential
from pipeline.model.reference import Repository
from pipeline.registry.client import Clients
from tests.registry.content import digest_of
from tests.unit.registry.asking import QUICK
from tests.unit.registry.peers import peer

if TYPE_CHECKING:
    from pipeline.registry.client import Client

REGISTRY = "registry.example:5000"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without proxies."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def look(asking: Client, monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    """Ask for a blob through a proxy."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    asking.head_blob(Repository(REGISTRY, "team/app"), digest_of(b""))


@pytest.mark.parametrize(
    ("said", "words", "retryable"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "407", False),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "503", True),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "no answer of HTTP", True),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", "no answer of HTTP", True),
    ],
)
def test_no_tunnel(
    monkeypatch: pytest.MonkeyPatch,
    said: bytes,
    words: str,
    retryable: bool,  # noqa: FBT001 - a column
) -> None:
    """A proxy that makes no connection, or answers what is no HTTP, is named as what to look after."""

    def script(sock: socket.socket) -> None:
        sock.sendall(said)
        sock.shutdown(socket.SHUT_RDWR)

    asking = Clients(QUICK, lambda _: Credential(origin="none")).at(REGISTRY)
    with peer(script) as address, pytest.raises(RegistryError, match=words) as caught:
        look(asking, monkeypatch, f"http://{address}")

    fault = caught.value.fault
    assert ("UNREACHABLE", retryable) == (fault.code, fault.retryable)
    assert "HTTPS_PROXY" in fault.hint
