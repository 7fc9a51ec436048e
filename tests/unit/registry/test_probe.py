"""What a probe finds about a registry: scheme, certificate, clock, proxy."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from email.utils import formatdate
from time import time
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import RegistryError
from pipeline.http import proxies
from tests.real.tools import run
from tests.registry.faults import Fault, Reply
from tests.unit.registry.asking import client, clients, repository

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry


def test_certificate_expiry_is_reported(
    tls_registry: Registry, certificates: Path, ca: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The expiry of a verified certificate is reported."""
    monkeypatch.setenv("SSL_CERT_FILE", str(ca))
    said = run("openssl", "x509", "-noout", "-enddate", "-in", str(certificates / "server.crt"))

    found = client(tls_registry).probe(repository(tls_registry), insecure=False)

    assert found.scheme == "https"
    assert found.expires is not None
    assert said.strip() == f"notAfter={found.expires:%b %e %H:%M:%S %Y} GMT"


def test_unverified_certificate_is_not_reported(tls_registry: Registry) -> None:
    """Nothing is reported about a certificate that is not verified."""
    found = client(tls_registry).probe(repository(tls_registry), insecure=True)

    assert (found.scheme, found.expires) == ("https", None)


@pytest.mark.parametrize("status", [200, 401, 404, 503])
def test_any_status_is_reachable(scripted: Scripted, status: int) -> None:
    """Any answer counts as reachable, and no login is sent."""
    registry = scripted()
    registry.fault(Fault(action=Reply(status=status), path="^/v2/$", times=None))

    found = client(registry).probe(repository(registry), insecure=True)

    assert (found.scheme, found.proxy) == ("http", "")
    (asked,) = registry.requests()
    assert "authorization" not in asked.headers


@pytest.mark.parametrize("body", ["", "{}"])
def test_json_with_html_content_type_is_an_answer(scripted: Scripted, body: str) -> None:
    """JSON with the Content-Type of a web page is a registry's answer."""
    registry = scripted()
    registry.fault(Fault(action=Reply(status=200, headers={"Content-Type": "text/html"}, body=body)))

    assert client(registry).probe(repository(registry), insecure=True).scheme == "http"


def test_web_page_is_an_error(scripted: Scripted) -> None:
    """A web page instead of a registry's answer is an error with its title."""
    registry = scripted()
    headers = {"Content-Type": "text/html; charset=utf-8"}
    body = "<html><title>Welcome to our wifi</title></html>"
    registry.fault(Fault(action=Reply(status=200, headers=headers, body=body)))

    with pytest.raises(RegistryError, match="Welcome to our wifi") as caught:
        client(registry).probe(repository(registry), insecure=True)

    assert caught.value.fault.code == "NOT_A_REGISTRY"


@pytest.mark.parametrize(
    ("skew", "age", "ahead"), [(0, 0, 0), (7200, 0, -7200), (-7200, 0, 7200), (-7200, 7200, 0)]
)
def test_clock_difference_from_date_and_age(scripted: Scripted, skew: int, age: int, ahead: int) -> None:
    """The Date of an answer shows the difference of the clocks; a cached answer's Age counts."""
    registry = scripted()
    headers = {"Date": formatdate(time() + skew, usegmt=True), "Age": str(age)}
    registry.fault(Fault(action=Reply(status=200, headers=headers), path="^/v2/$"))

    found = client(registry).probe(repository(registry), insecure=True)

    assert abs(found.ahead - ahead) < 5


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 99 Nov 2026 00:00:00 GMT"])
def test_no_clock_without_a_valid_date(scripted: Scripted, date: str) -> None:
    """Without a valid Date the clocks are not compared."""
    registry = scripted()
    registry.fault(Fault(action=Reply(status=200, headers={"Date": date}), path="^/v2/$"))

    assert client(registry).probe(repository(registry), insecure=True).ahead == 0


def test_proxy_is_named_without_password(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finding about a registry behind a proxy names the proxy without its password."""
    proxy = scripted()
    monkeypatch.setenv("http_proxy", f"http://bob:pw-word@{proxy.address}")
    made = clients(proxy)
    at = made.at("registry.invalid")
    at._session._schemes[True] = "http"

    found = at.probe(repository(proxy), insecure=True)

    assert found.proxy == proxy.address


def test_unreachable_registry_is_probed_once(scripted: Scripted) -> None:
    """An unreachable registry is not probed twice."""
    registry = scripted()
    registry.stop()

    with pytest.raises(RegistryError) as caught:
        client(registry).probe(repository(registry), insecure=True)

    assert caught.value.fault.code == "UNREACHABLE"


@contextmanager
def tunnel(target: str) -> Iterator[str]:
    """The address of a proxy that connects every request with `target`."""
    host, _, port = target.rpartition(":")

    def pump(read: socket.socket, write: socket.socket) -> None:
        with suppress(OSError):
            while piece := read.recv(1 << 16):
                write.sendall(piece)

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            near, _ = listener.accept()
            with near, socket.create_connection((host, int(port))) as far:
                near.recv(1 << 16)
                near.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                threading.Thread(target=pump, args=(far, near), daemon=True).start()
                pump(near, far)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_certificate_through_a_proxy_is_the_registrys(
    tls_registry: Registry, ca: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a tunnelling proxy the certificate is the registry's."""
    monkeypatch.setenv("SSL_CERT_FILE", str(ca))
    monkeypatch.setattr(proxies, "is_local", lambda _: False)
    with tunnel(tls_registry.address) as proxy:
        monkeypatch.setenv("https_proxy", f"http://bob:pw-word@{proxy}")

        found = client(tls_registry).probe(repository(tls_registry), insecure=False)

    assert found.proxy == proxy
    assert found.expires is not None
