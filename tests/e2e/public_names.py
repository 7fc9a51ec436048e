"""Registries of this machine under public names, so that published files and commands run unchanged.

A proxy connects each name to a scripted registry that has a certificate for it. Token servers are at
`auth.` and the name.
"""

from __future__ import annotations

import ssl
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from tests.e2e.proxy import Tunnel
from tests.real.servers import make_certificate
from tests.registry.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

HUB = "registry-1.docker.io"


class Names:
    """A registry for each name, and the environment that directs a command to them."""

    def __init__(self, registries: dict[str, Registry], environ: dict[str, str]) -> None:
        """See the class."""
        self._registries, self.environ = registries, environ

    def __getitem__(self, host: str) -> Registry:
        """The registry of a name as written in references."""
        return self._registries[host_of_requests(host)]


def host_of_requests(host: str) -> str:
    """The host that requests to a registry use: without port, and for Docker Hub that of its API."""
    name = host.partition(":")[0]
    return HUB if name in {"docker.io", "registry.hub.docker.com"} else name


def certify(folder: Path, hosts: Iterable[str]) -> Path:
    """Make the certificates of all these registries in that folder."""
    names = sorted({*map(host_of_requests, hosts)})
    make_certificate(folder, *names, *(f"auth.{name}" for name in names))
    return folder


@contextmanager
def serve(certificates: Path, hosts: Iterable[str], **options: Any) -> Iterator[Names]:
    """Registries while the context lasts.

    Args:
        certificates: the folder of `certify`.
        hosts: the names as written in references.
        options: options of the scripted registry.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    with ExitStack() as stack:
        registries: dict[str, Registry] = {}
        addresses: dict[str, str] = {}
        for name in {*map(host_of_requests, hosts)}:
            made = Registry(tls=context, elsewhere_as=f"auth.{name}", token_elsewhere=True, **options)
            registries[name] = stack.enter_context(made)
            addresses |= {name: made.address, f"auth.{name}": made.elsewhere}
        tunnel = stack.enter_context(Tunnel(addresses))
        trust = certificates / "trust" / "ca.crt"
        yield Names(registries, {"HTTPS_PROXY": tunnel.url, "SSL_CERT_FILE": str(trust)})
    assert [error for registry in registries.values() for error in registry.errors()] == []
