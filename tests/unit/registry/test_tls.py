from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.errors import RegistryError
from pipeline.model.credential import Credential
from pipeline.registry.client import Clients
from pipeline.registry.tls import find_proxies
from tests.registry.content import digest_of
from tests.unit.registry.asking import QUICK, repository

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry.registry import Registry

BLOB = b"content"
DIGEST = digest_of(BLOB)


def look(registry: Registry, *, insecure: bool = False) -> int | None:
    """Ask for a blob, as a process that begins now."""
    asking = Clients(QUICK, lambda _: Credential(origin="none", insecure=insecure)).at(registry.address)
    registry.add_blob("team/app", BLOB)
    return asking.head_blob(repository(registry), DIGEST)


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment that trusts nobody in particular, and a home of its own."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


class TestTrust:
    def test_unknown(self, tls_registry: Registry) -> None:
        """A certificate that nobody vouches for is refused, once, with what to do."""
        with pytest.raises(RegistryError, match=r"certs\.d") as caught:
            look(tls_registry)

        assert (caught.value.fault.code, caught.value.fault.retryable) == ("CERTIFICATE", False)

    @pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
    def test_file(self, tls_registry: Registry, ca: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        """A CA bundle named in the environment is trusted."""
        monkeypatch.setenv(name, str(ca))

        assert look(tls_registry) == len(BLOB)

    def test_folder(self, tls_registry: Registry, ca: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A folder of CAs is trusted, without hashed names."""
        monkeypatch.setenv("SSL_CERT_DIR", str(ca.parent))

        assert look(tls_registry) == len(BLOB)

    def test_certs_d(self, tls_registry: Registry, ca: Path, tmp_path: Path) -> None:
        """A CA in certs.d is trusted for that registry."""
        folder = tmp_path / "home/.config/containers/certs.d" / tls_registry.address
        folder.mkdir(parents=True)
        (folder / "ca.crt").write_bytes(ca.read_bytes())

        assert look(tls_registry) == len(BLOB)

    def test_insecure(self, tls_registry: Registry) -> None:
        """With `insecure` the certificate is not looked at."""
        assert look(tls_registry, insecure=True) == len(BLOB)

    def test_broken_file(
        self, tls_registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A CA bundle that is none is named."""
        bundle = tmp_path / "bundle.pem"
        bundle.write_text("nothing")
        monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
        with pytest.raises(RegistryError, match=r"bundle\.pem"):
            look(tls_registry)


class TestProxies:
    def test_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Proxies come from the environment, exceptions too, and loopback is always one."""
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
        monkeypatch.setenv("NO_PROXY", "inside.example")

        assert find_proxies("https://quay.io/v2/")["https"] == "http://proxy.example:3128"
        assert find_proxies("https://inside.example/v2/") == {}
        assert find_proxies("https://127.0.0.1:5000/v2/") == {}
        assert find_proxies("https://localhost/v2/") == {}
