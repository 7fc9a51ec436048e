"""Docker Hub on the scripted registry: names, tokens of an account, separate storage, pull limits."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.proxy import Tunnel
from tests.real.servers import make_certificate
from tests.registry.content import image, layer
from tests.registry.faults import Fault, Reply, throttle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.command import Command
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

API, AUTH = "registry-1.docker.io", "auth.docker.io"
LOGIN = {"username": "ann", "password": "pass"}
HUB = {
    "auth": "token",
    "username": "ann",
    "anonymous": True,
    "token_elsewhere": True,
    "elsewhere_as": AUTH,
    "redirect": "get",
    "pulls": 100,
    "pulls_of_account": 200,
}
ABUSE = "<html><body><h1>429 Too Many Requests</h1>You have sent too many requests.</body></html>"


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate for Docker Hub's hosts, its key, and the CA."""
    folder = tmp_path_factory.mktemp("hub")
    make_certificate(folder, API, AUTH)
    return folder


class Hub:
    """The scripted registry behind Docker Hub's names, and the credentials file for it."""

    def __init__(self, registry: Registry, tunnel: Tunnel, ca: Path) -> None:
        """Args: tunnel: the proxy that resolves the names."""
        self.registry, self.tunnel, self._ca = registry, tunnel, ca

    def write(self, command: Command, mirror: Registry, *, key: str = "docker.io", **entry: Any) -> None:
        """The credentials file; `entry`: more fields of Docker Hub's key."""
        own = {"ca": str(self._ca), "proxy": self.tunnel.url, **entry}
        command.write("auth.json", {key: own, mirror.address: {"insecure": True}})

    def fill(self, repository: str, count: int) -> None:
        """Images of one layer each."""
        for number in range(count):
            self.registry.add(repository, image(layer(f"{repository} {number}")), f"v{number}")

    @property
    def tokens(self) -> list[str]:
        """The paths and queries of token requests."""
        return [each.target for each in self.registry.requests(path="^/token")]


@contextmanager
def hub_of(registry: Registry, certificates: Path) -> Iterator[Hub]:
    """The registry under the names of Docker Hub."""
    with Tunnel({API: registry.address, AUTH: registry.elsewhere}) as tunnel:
        yield Hub(registry, tunnel, certificates / "trust" / "ca.crt")


@pytest.fixture
def hub(scripted: Scripted, certificates: Path) -> Iterator[Hub]:
    """Docker Hub."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    with hub_of(scripted(tls=context, **HUB), certificates) as made:
        yield made


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("nginx", "library/nginx"),
        ("docker.io/nginx", "library/nginx"),
        ("index.docker.io/library/nginx", "library/nginx"),
        ("registry-1.docker.io/team/app", "team/app"),
    ],
)
def test_all_names_are_one_registry(
    command: Command, scripted: Scripted, hub: Hub, source: str, path: str
) -> None:
    """All names of Docker Hub are one registry, with `library/` for official images."""
    mirror = scripted()
    hub.fill(path, 2)
    command.rules({f"{source}:v0,v1": f"{mirror.address}/copy/app"})
    hub.write(command, mirror, **LOGIN)

    result = command.run()

    assert result.code == 0, result.text
    assert hub.registry.tags(path) == mirror.tags("copy/app")
    assert all(f"repository%3A{path.replace('/', '%2F')}%3Apull" in each for each in hub.tokens)
    assert {f"{API}:443", f"{AUTH}:443"} == set(hub.tunnel.asked)


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "registry-1.docker.io/"])
def test_all_names_are_one_credentials_key(command: Command, scripted: Scripted, hub: Hub, key: str) -> None:
    """Each of its names is the same key of the credentials file."""
    mirror = scripted()
    hub.fill("library/nginx", 1)
    command.rules({"nginx:v0": f"{mirror.address}/copy/nginx"})
    hub.write(command, mirror, key=key, **LOGIN)

    assert command.run().code == 0
    assert "Basic" in {each.headers.get("authorization", "")[:5] for each in hub.registry.requests()}


def test_only_token_server_gets_the_login(command: Command, scripted: Scripted, hub: Hub) -> None:
    """The token server gets the account's login, the registry gets the token, and storage gets neither."""
    mirror = scripted()
    hub.fill("library/nginx", 3)
    command.rules({"nginx:/v./": f"{mirror.address}/copy/nginx"})
    hub.write(command, mirror, **LOGIN)

    result = command.run()

    assert result.code == 0, result.text
    sent = {
        (each.elsewhere, each.path == "/token", each.headers.get("authorization", "").partition(" ")[0])
        for each in hub.registry.requests()
        if each.path != "/v2/" and each.status != 401
    }
    assert sent == {(True, True, "Basic"), (False, False, "Bearer"), (True, False, "")}


def test_pulls_stop_at_the_reserve(command: Command, scripted: Scripted, hub: Hub) -> None:
    """Pulls stop at the reserve, counted for the account; the rest fails, and the error says what to do."""
    mirror = scripted()
    hub.fill("team/app", 12)
    hub.registry.set(pulls=8, pulls_of_account=16)
    command.rules({"docker.io/team/app": f"{mirror.address}/copy/app"})
    hub.write(command, mirror, reserve=10, **LOGIN)

    result = command.run("--retries", "0", "--patience", "1s")

    assert result.code == 1, result.text
    assert hub.registry.store.pulled == 6
    assert len(mirror.tags("copy/app")) == 6
    assert "10 pulls are left at the registry, of which 10 are for others (reserve)" in result.text
    assert len(result.events("registry.reserved")) == 1
    assert "lower reserve in the credentials file" in result.text


def test_reserve_does_not_delay_head(command: Command, scripted: Scripted, hub: Hub) -> None:
    """Requests that are not pulls are not delayed: HEAD is free, and equal tags are up to date."""
    mirror = scripted()
    hub.fill("team/app", 4)
    command.rules({"docker.io/team/app": f"{mirror.address}/copy/app"})
    hub.write(command, mirror, reserve=10, **LOGIN)
    assert command.run().code == 0
    hub.registry.set(pulls_of_account=10)

    result = command.run("--patience", "1s")

    assert result.code == 0, result.text
    assert hub.registry.store.pulled == 4


def test_exhausted_limit_advises_login(command: Command, scripted: Scripted, hub: Hub) -> None:
    """Without a login, an exhausted limit fails with its message and the advice to log in."""
    mirror = scripted()
    hub.fill("team/app", 4)
    hub.registry.set(pulls=2, pulls_refused=True)
    command.rules({"docker.io/team/app": f"{mirror.address}/copy/app"})
    hub.write(command, mirror)

    result = command.run("--retries", "0", "--patience", "1s")

    assert result.code == 1, result.text
    assert "You have reached your pull rate limit" in result.text
    assert "docker login docker.io raises the limit" in result.text


def test_abuse_limit_pauses_the_run(command: Command, scripted: Scripted, hub: Hub) -> None:
    """The abuse limit, a web page with 429, pauses the run, which then completes."""
    mirror = scripted()
    hub.fill("team/app", 8)
    reply = Reply(status=429, headers={"Content-Type": "text/html", "Retry-After": "1"}, body=ABUSE)
    hub.registry.fault(Fault(action=reply, path="/v2/team", skip=9, times=6))
    hub.registry.fault(throttle(path="^/token", retry_after="1", skip=1, times=2))
    command.rules({"docker.io/team/app": f"{mirror.address}/copy/app"})
    hub.write(command, mirror, **LOGIN)

    result = command.run("--retries", "0")

    assert result.code == 0, result.text
    assert hub.registry.tags("team/app") == mirror.tags("copy/app")


def test_check_names_docker_hub_settings(command: Command, scripted: Scripted, hub: Hub) -> None:
    """The check names the settings of Docker Hub."""
    mirror = scripted()
    hub.fill("library/nginx", 1)
    command.rules({"nginx:v0": f"{mirror.address}/copy/nginx"})
    hub.write(command, mirror, reserve=100, rate="1000/m", **LOGIN)

    result = command.run("check")

    assert result.code == 0, result.output
    assert "at most 16.6667 requests/s" in result.output
    assert "100 pulls for others" in result.output
    assert f"through the proxy {hub.tunnel.url.removeprefix('http://')}" in result.output
