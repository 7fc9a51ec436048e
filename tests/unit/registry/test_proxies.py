"""Any failure of a proxy is reported as a fault of the proxy, and as nothing else."""

from __future__ import annotations

import os
import select
import socket
import ssl
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import RegistryError
from pipeline.model.credential import Credential
from pipeline.model.reference import Reference, Repository
from pipeline.registry.clients import Clients
from pipeline.settings import Retry
from tests.registry.content import digest_of
from tests.unit.registry.asking import ANONYMOUS, QUICK, Sent
from tests.unit.registry.peers import endlessly, peer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.registry.client import Client
    from tests.unit.registry.peers import Script

REGISTRY = "registry.example:5000"
HURRIED = replace(QUICK, timeouts=replace(QUICK.timeouts, read=0.5, stall=0.5))


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without proxies."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def look(asking: Client, monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    """Request a blob through a proxy."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    asking.head_blob(Repository(REGISTRY, "team/app"), digest_of(b""))


@pytest.mark.parametrize(
    ("said", "words", "retryable"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "407", False),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "503", True),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "no HTTP response", True),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", "no HTTP response", True),
    ],
)
def test_failed_tunnel_names_the_proxy(
    monkeypatch: pytest.MonkeyPatch,
    said: bytes,
    words: str,
    retryable: bool,  # noqa: FBT001 - a column
) -> None:
    """A proxy that does not connect, or does not answer HTTP, is named in the hint."""

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
    """TLS within the TLS of a proxy, for which urllib3 has its own kind of socket."""

    @pytest.fixture
    def server(self, certificates: Path) -> ssl.SSLContext:
        """The certificates of the server and the proxy."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
        return context

    @pytest.fixture
    def asking(self, monkeypatch: pytest.MonkeyPatch, ca: Path) -> Client:
        """Verifies only the proxy, with short timeouts."""
        monkeypatch.setenv("SSL_CERT_FILE", str(ca))
        made = Clients(replace(HURRIED, retry=Retry(tries=1)), lambda _: ANONYMOUS)
        return made.at(REGISTRY)

    def test_requests_and_large_bodies_work(
        self, server: ssl.SSLContext, asking: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Requests and large bodies in both directions work on one connection."""
        content, heads, received = b"content" * 100_000, list[bytes](), list[int]()

        def script(sock: socket.socket) -> None:
            if heads[-1].startswith(b"PUT"):
                while sum(received) < len(content):
                    received.append(len(sock.recv(1 << 16)))
                sock.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
            elif heads[-1].startswith(b"POST"):
                sock.sendall(b"HTTP/1.1 202 Go\r\nLocation: /v2/up\r\nContent-Length: 0\r\n\r\n")
            else:
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content)

        place = Repository(REGISTRY, "team/app")
        with within(script, server, monkeypatch, heads=heads) as tunnels:
            with asking.open_blob(place, digest_of(content), size=len(content)) as body:
                assert b"".join(map(bytes, body)) == content
            upload = asking.begin_upload(place, digest_of(content))
            assert upload
            upload.put(Sent(content))

        assert (sum(received), len(tunnels)) == (len(content), 1)

    def test_truncated_body_is_a_lost_connection(
        self, server: ssl.SSLContext, asking: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A body that breaks off is a lost connection."""

        def script(sock: socket.socket) -> None:
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
            sock.sendall(b"abc")
            socket.socket.shutdown(sock, socket.SHUT_RDWR)

        with within(script, server, monkeypatch), pytest.raises(RegistryError) as caught:
            asking.get_manifest(Reference(Repository(REGISTRY, "a/b"), "v1"), limit=1000)

        assert (caught.value.fault.code, caught.value.fault.words) == (
            "CONNECTION_LOST",
            "the response ended early",
        )

    def test_dripping_peer_misses_its_deadline(
        self, server: ssl.SSLContext, asking: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A dripping peer behind it has the same deadline, and other deadlines still work."""
        drip = endlessly(b"HTTP/1.1 200 OK\r\nX: ", b"x")
        with within(drip, server, monkeypatch):
            for _ in range(2):
                with pytest.raises(RegistryError) as caught:
                    asking.head_blob(Repository(REGISTRY, "team/app"), digest_of(b""))

                assert caught.value.fault.code == "TIMEOUT"

    def test_surplus_bytes_are_not_the_next_response(
        self, server: ssl.SSLContext, asking: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Surplus bytes after a response are not taken for the next one."""
        fine = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"

        def script(sock: socket.socket) -> None:
            sock.sendall(fine)
            sock.sendall(fine.replace(b"3", b"4"))

        place = Repository(REGISTRY, "team/app")
        with within(script, server, monkeypatch) as tunnels:
            sizes = [asking.head_blob(place, digest_of(b"")) for _ in range(2)]

        assert (sizes, len(tunnels)) == ([3, 3], 2)


@contextmanager
def within(
    script: Script, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, *, heads: list[bytes] | None = None
) -> Iterator[list[bytes]]:
    """A server over TLS behind a proxy over TLS; yields the requests to the proxy."""
    tunnels: list[bytes] = []
    with peer(script, tls=tls, heads=heads) as server:
        host, _, port = server.rpartition(":")

        def tunnel(sock: socket.socket) -> None:
            with socket.create_connection((host, int(port)), timeout=10) as inner:
                sock.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                relay(sock, inner)
            socket.socket.shutdown(sock, socket.SHUT_RDWR)

        with peer(tunnel, tls=tls, heads=tunnels) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"https://{proxy}")
            yield tunnels


def relay(outer: socket.socket, inner: socket.socket) -> None:
    """Forward bytes in both directions until one side closes."""
    while True:
        pending = outer.pending() if isinstance(outer, ssl.SSLSocket) else 0
        for sock in [outer] if pending else select.select([outer, inner], [], [])[0]:
            piece = sock.recv(1 << 14)
            if not piece:
                return
            (inner if sock is outer else outer).sendall(piece)
