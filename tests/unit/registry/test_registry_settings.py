"""A user's settings for one registry: trusted CAs, client certificates, and proxies."""

from __future__ import annotations

import os
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import RegistryError
from pipeline.model.credential import Credential
from pipeline.model.reference import Repository
from pipeline.model.registry_settings import RegistrySettings
from pipeline.registry.clients import Clients
from pipeline.settings import Retry
from tests.real.tools import run
from tests.registry.content import digest_of
from tests.unit.registry.asking import QUICK, repository
from tests.unit.registry.peers import peer

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from pipeline.registry.client import Client
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

BLOB = b"content"
DIGEST = digest_of(BLOB)
FOUND = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment without its own CAs and proxies, with a new home folder."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("SSL_CERT", "REQUESTS_CA")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def client(registry: str, settings: RegistrySettings, *, insecure: bool = False, of: str = "") -> Client:
    """A client of a process with these settings for `registry`, or for another one, `of`."""
    hurried = replace(QUICK, retry=Retry(tries=1))
    made = Clients(
        hurried,
        lambda _: Credential(origin="none", insecure=insecure),
        settings_of=lambda name: settings if name == (of or registry) else RegistrySettings(),
    )
    return made.at(registry)


@pytest.fixture
def identity(tmp_path: Path) -> tuple[str, str]:
    """A self-signed client certificate and its key."""
    cert, key = tmp_path / "client.pem", tmp_path / "client.key"
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    run("openssl", "req", "-x509", *new_key, "-subj", "/CN=bob", "-keyout", str(key), "-out", str(cert))
    return str(cert), str(key)


class TestTrust:
    def test_own_ca_is_trusted(self, tls_registry: Registry, ca: Path) -> None:
        """A registry's own CA is trusted in addition to the system's, for that registry."""
        tls_registry.add_blob("team/app", BLOB)
        asking = client(tls_registry.address, RegistrySettings(ca=str(ca)))

        assert asking.head_blob(repository(tls_registry), DIGEST) == len(BLOB)

    def test_own_ca_is_not_trusted_for_others(self, tls_registry: Registry, ca: Path) -> None:
        """The CA is not trusted for any other registry."""
        asking = client(tls_registry.address, RegistrySettings(ca=str(ca)), of="other.test")

        with pytest.raises(RegistryError, match="certificate refused"):
            asking.head_blob(repository(tls_registry), DIGEST)

    def test_own_ca_is_trusted_for_named_hosts(
        self, scripted: Scripted, certificates: Path, ca: Path
    ) -> None:
        """The CA is trusted for hosts that the registry names, such as storage of the same company."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
        registry = scripted(tls=context, redirect="get", second_host="127.0.0.1")
        registry.add_blob("team/app", BLOB)
        asking = client(registry.address, RegistrySettings(ca=str(ca)))

        with asking.open_blob(repository(registry), DIGEST, size=len(BLOB)) as body:
            assert b"".join(map(bytes, body)) == BLOB


class TestIdentity:
    @pytest.mark.parametrize("by", ["settings", "certs.d"])
    def test_certificate_is_sent_only_to_the_registry(
        self, certificates: Path, ca: Path, identity: tuple[str, str], tmp_path: Path, by: str
    ) -> None:
        """A client certificate is sent to the registry's own origin, and not to any host that it names."""
        shown: list[tuple[str, bool]] = []
        tls = _asking_who(certificates, identity[0])

        def storage(sock: socket.socket) -> None:
            shown.append(("storage", _knows(sock)))
            sock.sendall(FOUND + BLOB)

        def registry(sock: socket.socket) -> None:
            shown.append(("registry", _knows(sock)))
            location = f"https://localhost:{behind.rpartition(':')[2]}/blob"
            head = f"HTTP/1.1 307 There\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
            sock.sendall(head.encode())

        with peer(storage, tls=tls) as behind, peer(registry, tls=tls) as address:
            settings = RegistrySettings(ca=str(ca), cert=identity[0], key=identity[1])
            if by == "certs.d":
                settings = RegistrySettings()
                folder = tmp_path / "home/.config/containers/certs.d" / address
                folder.mkdir(parents=True)
                (folder / "client.cert").symlink_to(identity[0])
                (folder / "client.key").symlink_to(identity[1])
                (folder / "ca.crt").symlink_to(ca)
            asking = client(address, settings)
            with asking.open_blob(Repository(address, "a/b"), DIGEST, size=len(BLOB)) as body:
                assert b"".join(map(bytes, body)) == BLOB

        assert shown == [("registry", True), ("storage", False)]


def _asking_who(certificates: Path, client_certificate: str) -> ssl.SSLContext:
    """The TLS context of servers that request a client certificate but do not require it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    context.load_verify_locations(client_certificate)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _knows(sock: socket.socket) -> bool:
    """Whether the other side has sent a certificate."""
    assert isinstance(sock, ssl.SSLSocket)
    return bool(sock.getpeercert())


class TestProxy:
    def test_own_proxy_wins_over_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A registry's own proxy, with its login, wins over the environment's, even over plain HTTP."""
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        heads: list[bytes] = []
        with peer(lambda sock: sock.sendall(FOUND), heads=heads) as proxy:
            settings = RegistrySettings(proxy=f"http://bob:hunter2@{proxy}")
            asking = client("127.0.0.1:9", settings, insecure=True)
            asking._session._schemes[True] = "http"

            assert asking.head_blob(Repository("127.0.0.1:9", "a/b"), DIGEST) == len(BLOB)

        assert heads[0].startswith(b"HEAD http://127.0.0.1:9/v2/a/b/blobs/")
        assert b"Basic " in heads[0]

    def test_none_bypasses_the_environments_proxy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """`none` bypasses the environment's proxy."""
        monkeypatch.setattr("pipeline.http.proxies.is_local", lambda _: False)
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        with peer(lambda sock: sock.sendall(FOUND)) as registry:
            asking = client(registry, RegistrySettings(proxy=""), insecure=True)
            asking._session._schemes[True] = "http"

            assert asking.head_blob(Repository(registry, "a/b"), DIGEST) == len(BLOB)

    def test_dead_proxy_error_names_its_setting(self) -> None:
        """The error of a dead proxy names its setting, but not its password."""
        settings = RegistrySettings(proxy="http://bob:hunter2@127.0.0.1:9")
        with pytest.raises(RegistryError) as caught:
            client("registry.test", settings).head_blob(Repository("registry.test", "a/b"), DIGEST)

        assert "proxy in the auth file" in caught.value.fault.hint
        assert "hunter2" not in str(caught.value)
