"""Credentials go only to their origin: every place where a registry can name a URL, with every URL.

Every name resolves to one address. The target of a request is observed where the connection is made, not
parsed from its URL as the code under test does.
"""

from __future__ import annotations

import base64
import itertools
import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import pytest
from urllib3.util import parse_url

from pipeline.errors import RegistryError
from pipeline.model.credential import Credential
from pipeline.model.reference import Reference, Repository
from pipeline.registry.clients import Clients
from pipeline.settings import Retry, Settings
from tests.unit.registry.asking import Sent
from tests.unit.registry.names import lead_here

if TYPE_CHECKING:
    from collections.abc import Callable

Origin = tuple[str, str, int]
Where = Literal[
    "manifest redirect", "blob redirect", "head redirect", "location", "link", "realm", "ping redirect"
]

HOST, LEGIT = "registry.example", "https://auth.example/token"
DIGEST = f"sha256:{'1' * 64}"
PASSWORD, TOKEN, IDENTITY, READY = "p4ssw0rd", "t0ken-of-us", "1dentity-token", "r3ady-token"
BASIC = base64.b64encode(f"user:{PASSWORD}".encode()).decode()

WHERE: tuple[Where, ...] = (
    "manifest redirect",
    "blob redirect",
    "head redirect",
    "location",
    "link",
    "realm",
    "ping redirect",
)
CREDENTIALS = {
    "basic": Credential(origin="tests", username="user", password=PASSWORD),
    "bearer": Credential(origin="tests", username="user", password=PASSWORD),
    "identity": Credential(origin="tests", identity_token=IDENTITY),
    "ready": Credential(origin="tests", registry_token=READY),
}
SCHEMES = ("https://", "http://", "//", "HTTPS:", "null://")
OWN = (HOST, HOST.upper(), f"{HOST}:443", f"{HOST}:80")
PUBLIC = (
    f"{HOST}:8443",
    f"x.{HOST}",
    f"{HOST}.",
    f"{HOST}.evil.test",
    "evil.test",
    f"evil.test#@{HOST}",
    f"evil.test?@{HOST}",
    "203.0.113.9",
)
TRICKS = (
    f"{HOST}@evil.test",
    f"evil.test@{HOST}",
    f"evil.test\\@{HOST}",
    f"{HOST}\\@evil.test",
    f"{HOST}:443@evil.test",
    f"evil.test%23@{HOST}",
    f"{HOST}%00.evil.test",
    f"{HOST}\t.evil.test",
    "ev\xedl.test",
    "[::1",
    f"{HOST}:99999",
    "",
)
NEAR = (
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0.0.0.0",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "localhost",
    "x.localhost.",
    "169.254.169.254",
    "169.254.43518",
    "[fe80::1]",
    "[::ffff:169.254.169.254]",
    "[fd00:ec2::254]",
    "100.100.100.200",
    "metadata.google.internal",
)
PRIVATE = ("10.0.0.5", "192.168.1.1:5000", "[fd12::1]", "100.64.0.1")
LURES = ("", f'Basic realm="{HOST}"', f'Bearer realm="{LEGIT}"', 'Bearer realm="https://evil.test/token"')
"""What another host answers: success, or a challenge."""
TARGETS = (*itertools.product((*OWN, *PUBLIC), LURES), *((host, "") for host in (*TRICKS, *NEAR, *PRIVATE)))


def origin(url: str) -> Origin:
    """The target of a request."""
    parts = urlsplit(url)
    target = parse_url(f"{parts.scheme}://{parts.netloc}")
    default = 443 if target.scheme == "https" else 80
    return target.scheme or "", (target.host or "").lower(), target.port or default


@dataclass
class Network:
    """A registry, its token server, and other hosts."""

    base: str
    where: Where
    target: str
    scheme: str
    """The realm of the registry's challenge."""
    lure: str
    hides: int = 401
    """The registry's answer without authentication."""
    sent: list[tuple[Origin, str]] = field(default_factory=list)
    """The target, and all bytes that were sent."""

    def serve(self, there: Origin, head: bytes, body: bytes) -> bytes:
        """The answer to a request."""
        text = head.decode("latin-1")
        method, target, _ = text.split(" ", 2)
        self.sent.append((there, f"{text}\n{body.decode()}"))
        status, fields, said = self._answer(there, method, target, known="\r\nAuthorization: " in text)
        length = 0 if method == "HEAD" else len(said)
        lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in fields.items())]
        return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode("latin-1") + said[:length]

    def _answer(self, there: Origin, method: str, url: str, *, known: bool) -> tuple[int, Any, bytes]:
        if urlsplit(url).path == "/token":
            return 200, {}, json.dumps({"token": TOKEN}).encode()
        if there == origin(self.base):
            return self._registry(method, url, known=known)
        if self.lure:
            return 401, {"WWW-Authenticate": self.lure}, b""
        return (201 if method == "PUT" else 200), {}, b"{}"

    def _registry(self, method: str, url: str, *, known: bool) -> tuple[int, Any, bytes]:
        realm = self.target if self.where == "realm" else LEGIT
        path = urlsplit(url).path
        if self.where == "ping redirect" and "moved" not in url and not known:
            return (307, {"Location": self.target}, b"") if path == "/v2/" else (self.hides, {}, b"")
        if not known:
            challenge = f'Bearer realm="{realm}"' if self.scheme == "bearer" else 'Basic realm="x"'
            return 401, {"WWW-Authenticate": challenge}, b""
        if method == "POST":
            return 202, {"Location": self.target if self.where == "location" else "/v2/a/b/up"}, b""
        if path.endswith("/tags/list"):
            return 200, {"Link": f'<{self.target}>; rel="next"'}, b'{"tags": ["v1"]}'
        leads = {"manifests": "manifest redirect", "blobs": "blob redirect"}
        if self.where in {leads.get(path.split("/")[4]), "head redirect"} and "moved" not in url:
            return 307, {"Location": self.target}, b""
        return (201 if method == "PUT" else 200), {}, b"{}"


def use(clients: Clients, where: Where) -> None:
    """The request whose response names the URL."""
    repository = Repository(HOST, "a/b")
    asking = clients.at(HOST, push=True)
    reference = Reference(repository, "v1")

    def listing() -> None:
        page = asking.tags(repository, page="", count=1)
        asking.tags(repository, page=page.next, count=1)

    def upload() -> None:
        begun = asking.begin_upload(repository, DIGEST, mount="a/c")
        if begun:
            begun.put(Sent(b"content"))

    def download() -> None:
        with asking.open_blob(repository, DIGEST, size=-1) as body:
            b"".join(map(bytes, body))

    steps: dict[Where, Callable[[], object]] = {
        "link": listing,
        "manifest redirect": lambda: asking.get_manifest(reference, limit=100),
        "blob redirect": download,
        "head redirect": lambda: asking.head_manifest(reference),
        "location": upload,
        "realm": lambda: asking.head_blob(repository, DIGEST),
        "ping redirect": lambda: asking.head_blob(repository, DIGEST),
    }
    with suppress(RegistryError):
        steps[where]()


def may_have(secret: str, network: Network) -> set[Origin]:
    """The origins that may get a secret, computed independently of the code."""
    registry = origin(network.base)
    if secret in {TOKEN, READY}:
        return {registry}
    realms = {origin(LEGIT)} if network.where != "realm" else set()
    if network.where == "realm":
        for host in (*OWN, *PUBLIC):
            for scheme in ("https", *(["http"] if network.base.startswith("http:") else [])):
                realms.add(origin(f"{scheme}://{host}"))
    return realms | ({registry} if network.scheme == "basic" else set())


@pytest.mark.parametrize("base", [f"https://{HOST}", f"http://{HOST}"])
@pytest.mark.parametrize("kind", CREDENTIALS)
@pytest.mark.parametrize("where", WHERE)
def test_credentials_stay(monkeypatch: pytest.MonkeyPatch, where: Where, kind: str, base: str) -> None:
    """Whatever URLs a registry names, passwords and tokens reach only it and its token server."""
    insecure = base.startswith("http:")
    credential = CREDENTIALS[kind]
    given = Credential(
        origin="tests",
        username=credential.username,
        password=credential.password,
        identity_token=credential.identity_token,
        registry_token=credential.registry_token,
        insecure=insecure,
    )
    secrets = {"basic": (BASIC,), "bearer": (BASIC, TOKEN), "identity": (IDENTITY, TOKEN), "ready": (READY,)}
    reached = set()
    for scheme, (host, lure) in itertools.product(SCHEMES, TARGETS):
        challenge = "basic" if kind == "basic" else "bearer"
        network = Network(base, where, f"{scheme}{host}/token?moved=1", challenge, lure)
        lead_here(monkeypatch, network.serve)
        clients = Clients(Settings(retry=Retry(tries=1)), lambda _: given)
        clients.at(HOST)._session._schemes[True] = "http"

        use(clients, where)

        for there, said in network.sent:
            for secret in (PASSWORD, *secrets[kind]):
                if secret in said:
                    reached.add(secret)
                    assert there in may_have(secret, network), f"{secret} went to {there} by {network.target}"

    # Over plain HTTP no redirect of /v2/ in the list stays at the registry.
    assert reached == set(secrets[kind]) or (insecure and where == "ping redirect" and not reached)


@pytest.mark.parametrize("where", WHERE)
def test_local_hosts_are_never_requested(monkeypatch: pytest.MonkeyPatch, where: Where) -> None:
    """A remote registry cannot cause a request to this machine or its cloud's metadata service."""
    allowed = {origin(f"{scheme}{HOST}:{port}") for scheme in SCHEMES[:2] for port in (80, 443)}
    allowed |= {origin(LEGIT)}
    for scheme, host in itertools.product(SCHEMES, (*NEAR, *TRICKS)):
        network = Network(f"https://{HOST}", where, f"{scheme}{host}/token?moved=1", "bearer", "")
        lead_here(monkeypatch, network.serve)

        use(Clients(Settings(retry=Retry(tries=1)), lambda _: CREDENTIALS["bearer"]), where)

        assert {there for there, _ in network.sent} <= allowed
