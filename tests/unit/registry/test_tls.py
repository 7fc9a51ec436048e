from __future__ import annotations

import socket
import ssl
import struct
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import RegistryError
from pipeline.http.proxies import find_proxy
from pipeline.http.tls import make_context
from pipeline.model.credential import Credential
from pipeline.model.reference import Repository
from pipeline.registry.clients import Clients
from pipeline.settings import Retry
from tests.registry.content import digest_of
from tests.unit.records.stores import python
from tests.unit.registry.asking import QUICK, repository
from tests.unit.registry.peers import peer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

    Resuming = tuple[Callable[[], AbstractContextManager[str]], list[bool | None]]

BLOB = b"content"
DIGEST = digest_of(BLOB)


def look(registry: Registry, *, insecure: bool = False) -> int | None:
    """Look for a blob, as in a new process."""
    asking = Clients(QUICK, lambda _: Credential(origin="none", insecure=insecure)).at(registry.address)
    registry.add_blob("team/app", BLOB)
    return asking.head_blob(repository(registry), DIGEST)


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment without trusted CAs, and a new home directory."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


class TestHome:
    def test_missing_home_directory(self, scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a home directory, as for a container's unknown user, requests work."""
        monkeypatch.delenv("HOME")
        monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)

        assert look(scripted(), insecure=True) == len(BLOB)

    def test_unreadable_home_directory(self, tmp_path: Path) -> None:
        """The same with another user's home directory."""
        (tmp_path / "home").mkdir(mode=0)
        script = "from pipeline.http.tls import make_context; print(make_context('r.io', insecure=False))"
        process = python(script, without_override=True)
        said, _ = process.communicate(timeout=30)

        assert process.returncode == 0, said


class TestThisMachine:
    """Registries written as local ones, without an entry that allows plain HTTP."""

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
    def test_plain_http_after_a_plain_answer(self, host: str) -> None:
        """A plain HTTP registry is used over HTTP once its response to TLS has shown it."""
        with plain(b"HTTP/1.1 400 Bad Request\r\n\r\n") as (port, asked):
            assert look_at(f"{host}:{port}") == len(BLOB)

        assert [head[:4] for head in asked[1:]] == [b"HEAD"]

    def test_refused_certificate_never_leads_to_plain_http(self, tls_registry: Registry) -> None:
        """A registry with a refused certificate is never used over plain HTTP."""
        with pytest.raises(RegistryError) as caught:
            look(tls_registry)

        assert caught.value.fault.code == "CERTIFICATE"
        assert not tls_registry.requests()

    def test_closed_handshake_never_leads_to_plain_http(self) -> None:
        """A registry that closes during the TLS handshake is not used over plain HTTP."""
        with plain(b"") as (port, asked), pytest.raises(RegistryError, match="TLS handshake"):
            look_at(f"127.0.0.1:{port}")

        assert not any(head.startswith(b"HEAD") for head in asked)

    def test_other_names_are_used_only_over_tls(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A registry with a name other than localhost is used only over TLS, whatever its address."""
        connect = socket.create_connection
        with plain(b"HTTP/1.1 400 Bad Request\r\n\r\n") as (port, asked):
            monkeypatch.setattr(
                "urllib3.util.connection.create_connection", lambda *_, **__: connect(("127.0.0.1", port))
            )
            with pytest.raises(RegistryError, match="WRONG_VERSION_NUMBER"):
                look_at("registry.test")

        assert not any(head.startswith(b"HEAD") for head in asked)


def look_at(registry: str) -> int | None:
    """HEAD of a blob without an entry that allows plain HTTP."""
    asking = Clients(replace(QUICK, retry=Retry(tries=1)), lambda _: Credential(origin="none")).at(registry)
    return asking.head_blob(Repository(registry, "team/app"), DIGEST)


@contextmanager
def plain(to_tls: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A server on all addresses of this machine that has every blob and answers the TLS handshake this way.

    Yields its port, and the list of received bytes.
    """
    asked: list[bytes] = []

    def serve() -> None:
        with suppress(OSError):
            while True:
                sock, _ = server.accept()
                with sock:
                    asked.append(sock.recv(1 << 16))
                    found = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(BLOB)
                    sock.sendall(found if asked[-1].startswith(b"HEAD") else to_tls)

    with socket.create_server(("", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1], asked
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


class TestTrust:
    def test_untrusted_certificate_is_refused(self, tls_registry: Registry) -> None:
        """An untrusted certificate is refused once, with what to do."""
        with pytest.raises(RegistryError, match=r"certs\.d") as caught:
            look(tls_registry)

        assert (caught.value.fault.code, caught.value.fault.retryable) == ("CERTIFICATE", False)

    @pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
    def test_ca_bundle_of_the_environment_is_trusted(
        self, tls_registry: Registry, ca: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        """A CA bundle named in the environment is trusted."""
        monkeypatch.setenv(name, str(ca))

        assert look(tls_registry) == len(BLOB)

    def test_ca_folder_is_trusted(
        self, tls_registry: Registry, ca: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A folder of CAs is trusted, without hashed names."""
        monkeypatch.setenv("SSL_CERT_DIR", str(ca.parent))

        assert look(tls_registry) == len(BLOB)

    def test_ca_in_certs_d_is_trusted(self, tls_registry: Registry, ca: Path, tmp_path: Path) -> None:
        """A CA in certs.d is trusted for that registry."""
        folder = tmp_path / "home/.config/containers/certs.d" / tls_registry.address
        folder.mkdir(parents=True)
        (folder / "ca.crt").write_bytes(ca.read_bytes())

        assert look(tls_registry) == len(BLOB)

    def test_equal_files_share_one_context(
        self, ca: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Registries with the same files share one context, others do not."""
        plain = make_context("one.test", insecure=False)
        own = tmp_path / "home/.config/containers/certs.d/own.test"
        own.mkdir(parents=True)
        (own / "ca.crt").write_bytes(ca.read_bytes())

        assert make_context("two.test", insecure=False) is plain
        assert make_context("two.test", insecure=True) is not plain
        assert make_context("own.test", insecure=False) is not plain
        monkeypatch.setenv("SSL_CERT_FILE", str(ca))
        assert make_context("one.test", insecure=False) is not plain

    def test_insecure_does_not_verify(self, tls_registry: Registry) -> None:
        """With `insecure` the certificate is not verified."""
        assert look(tls_registry, insecure=True) == len(BLOB)

    def test_invalid_ca_bundle_is_named(
        self, tls_registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An invalid CA bundle is named."""
        bundle = tmp_path / "bundle.pem"
        bundle.write_text("nothing")
        monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
        with pytest.raises(RegistryError, match=r"bundle\.pem"):
            look(tls_registry)


class TestProxies:
    def test_proxies_of_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Proxies and exceptions are taken from the environment; loopback is always an exception."""
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
        monkeypatch.setenv("NO_PROXY", "inside.example")

        assert find_proxy("https://quay.io/v2/") == "http://proxy.example:3128"
        assert find_proxy("https://inside.example/v2/") == ""
        assert find_proxy("https://127.0.0.1:5000/v2/") == ""
        assert find_proxy("https://localhost/v2/") == ""


@pytest.fixture
def resuming(certificates: Path) -> Resuming:
    """Servers that close after each answer, and whether each connection resumed a TLS session."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    reused: list[bool | None] = []

    def script(sock: socket.socket) -> None:
        assert isinstance(sock, ssl.SSLSocket)
        reused.append(sock.session_reused)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\n")

    return partial(peer, script, tls=context), reused


class TestSessions:
    @pytest.mark.parametrize("trust", ["insecure", "verified"])
    def test_tls_session_is_resumed(
        self, resuming: Resuming, ca: Path, monkeypatch: pytest.MonkeyPatch, trust: str
    ) -> None:
        """A connection resumes the TLS session of an earlier one, without another signature."""
        server, reused = resuming
        monkeypatch.setenv("SSL_CERT_FILE", str(ca))
        with server() as address:
            credential = Credential(origin="none", insecure=trust == "insecure")
            asking = Clients(QUICK, lambda _: credential).at(address)
            sizes = [asking.head_blob(Repository(address, "team/app"), DIGEST) for _ in range(3)]

        assert (sizes, reused) == ([7, 7, 7], [False, True, True])

    def test_tls_session_is_only_for_its_server(self, resuming: Resuming) -> None:
        """A session is only offered to its own server, and never replaces verification."""
        server, reused = resuming
        with server() as one, server() as other:
            careless = Clients(QUICK, lambda _: Credential(origin="none", insecure=True))
            for address in (one, other):
                careless.at(address).head_blob(Repository(address, "team/app"), DIGEST)
            careful = Clients(QUICK, lambda _: Credential(origin="none"))
            with pytest.raises(RegistryError) as caught:
                careful.at(one).head_blob(Repository(one, "team/app"), DIGEST)

        assert (caught.value.fault.code, reused) == ("CERTIFICATE", [False, False])


_HELLO = b"\x16"
"""The first byte of a TLS client."""
GO = b"Client sent an HTTP request to an HTTPS server."
NGINX = b"<html><title>400 The plain HTTP request was sent to HTTPS port</title></html>"


@contextmanager
def tls_refused(probe: Callable[[socket.socket, bytes], None]) -> Iterator[str]:
    """A server that hands each connection and its first bytes to `probe`; yields its address."""

    def accept() -> None:
        with suppress(OSError):
            while True:
                sock, _ = server.accept()
                with suppress(OSError), sock:
                    probe(sock, sock.recv(4096))

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield "{}:{}".format(*server.getsockname())
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def hang_up(_sock: socket.socket, _first: bytes) -> None:
    """Close."""


def reset(sock: socket.socket, _first: bytes) -> None:
    """Close with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def wait(sock: socket.socket, _first: bytes) -> None:
    """Send nothing until the other side closes."""
    while sock.recv(4096):
        pass


def complain(words: bytes) -> Callable[[socket.socket, bytes], None]:
    """A TLS server whose handshake fails: it only answers plain HTTP, with `words`."""

    def probe(sock: socket.socket, first: bytes) -> None:
        if not first.startswith(_HELLO):
            head = b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
            sock.sendall(head % len(words) + words)

    return probe


def die(sock: socket.socket, first: bytes) -> None:
    """A plain HTTP server that ends after the start of TLS."""
    if first.startswith(_HELLO):
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


class TestWrongScheme:
    @pytest.mark.parametrize("probe", [hang_up, reset, wait])
    def test_hint_for_a_peer_without_tls(self, probe: Callable[[socket.socket, bytes], None]) -> None:
        """If a peer hangs up or is silent at the start of TLS, the error says how to allow plain HTTP."""
        with tls_refused(probe) as address, pytest.raises(RegistryError) as caught:
            ask(address, insecure=False)

        assert caught.value.fault.retryable
        assert '"insecure": true for this registry in the auth file' in caught.value.fault.hint

    @pytest.mark.parametrize("probe", [hang_up, reset, wait])
    def test_no_hint_if_plain_http_is_allowed(self, probe: Callable[[socket.socket, bytes], None]) -> None:
        """If plain HTTP is allowed, the error does not suggest it."""
        with tls_refused(probe) as address, pytest.raises(RegistryError) as caught:
            ask(address, insecure=True)

        assert "neither HTTPS nor plain HTTP" in caught.value.fault.hint

    def test_vanished_plain_http_server_is_retried(self) -> None:
        """A plain HTTP server that goes away at that moment has no wrong certificate: it is retried."""
        with tls_refused(die) as address, pytest.raises(RegistryError) as caught:
            ask(address, insecure=True)

        assert (caught.value.fault.code, caught.value.fault.retryable) == ("CONNECTION_LOST", True)

    @pytest.mark.parametrize("words", [GO, NGINX])
    def test_failed_handshake_is_not_plain_http(self, words: bytes) -> None:
        """A TLS port whose handshake fails once is not taken for plain HTTP and may be retried."""
        with tls_refused(complain(words)) as address, pytest.raises(RegistryError) as caught:
            ask(address, insecure=True)

        assert (caught.value.fault.code, caught.value.fault.retryable) == ("CONNECTION_LOST", True)

    def test_other_400_is_a_registrys_answer(self) -> None:
        """Any other 400 by plain HTTP is a registry's answer."""
        with tls_refused(complain(b"no such blob")) as address, pytest.raises(RegistryError) as caught:
            ask(address, insecure=True)

        assert (caught.value.fault.status, caught.value.fault.retryable) == (400, False)


def ask(address: str, *, insecure: bool) -> None:
    """Look for a blob there, with short timeouts."""
    settings = replace(QUICK, timeouts=replace(QUICK.timeouts, connect=0.3, read=0.3))
    asking = Clients(settings, lambda _: Credential(origin="none", insecure=insecure)).at(address)
    asking.head_blob(Repository(address, "team/app"), DIGEST)
