"""What a proxy does wrong is a fault of the proxy, whatever it is, and ends no task in another way."""

from __future__ import annotations

import os
import socket
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import pytest
from urllib3.exceptions import IncompleteRead
from urllib3.util.ssltransport import SSLTransport

from pipeline.errors import RegistryError
from pipeline.model.credential import Credential
from pipeline.model.reference import Repository
from pipeline.registry.client import Clients
from pipeline.registry.deadlines import Deadline, OverdueError
from pipeline.registry.http1 import Reply
from tests.registry.content import digest_of
from tests.unit.registry.asking import QUICK
from tests.unit.registry.peers import endlessly, peer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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


class TestWithin:
    """TLS within the TLS of a proxy, for which urllib3 has a socket of its own kind."""

    @pytest.fixture
    def server(self, certificates: Path) -> ssl.SSLContext:
        """What a server shows."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
        return context

    @pytest.fixture
    def trusting(self) -> ssl.SSLContext:
        """Verifies nobody."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    def test_truncated(self, server: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
        """A body that breaks off there is one that broke off."""

        def script(sock: socket.socket) -> None:
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
            sock.sendall(b"abc")
            socket.socket.shutdown(sock, socket.SHUT_RDWR)

        with peer(script, tls=server) as address, asked(address, trusting) as sock:
            reply = Reply(sock, "GET")

            assert reply.read(5) == b"abc"
            with pytest.raises(IncompleteRead):
                reply.read(5)

    def test_overdue(self, server: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
        """Who drips there has no more time than elsewhere, and all others are looked after as before."""
        drip = endlessly(b"HTTP/1.1 200 OK\r\nX: ", b"x")
        for _ in range(2):
            with (
                peer(drip, tls=server) as address,
                asked(address, trusting) as sock,
                pytest.raises(OverdueError),
                Deadline(sock, 0.1),
            ):
                Reply(sock, "GET")


@contextmanager
def asked(address: str, context: ssl.SSLContext) -> Iterator[socket.socket]:
    """A connection on which a request has gone out."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as inner:
        sock = SSLTransport(inner, context)
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        yield cast("socket.socket", sock)
