"""Registries of this machine under public names, so that files and commands of others run as they stand.

A proxy leads each name to a scripted registry that has a certificate for it. `docker.io` is asked as
`registry-1.docker.io`, as everywhere.
"""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.e2e.proxy import Tunnel
from tests.real.servers import make_certificate
from tests.registry.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

HUB = "registry-1.docker.io"


@contextmanager
def serve(
    folder: Path, sides: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[dict[str, Registry], dict[str, str]]]:
    """A registry for each side, under all names of it; and the environment that leads a command there."""
    certificate, key = make_certificate(folder, *(name for names in sides.values() for name in names))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    registries = {side: Registry(tls=context) for side in sides}
    addresses = {name: registries[side].address for side, names in sides.items() for name in names}
    try:
        for registry in registries.values():
            registry.start()
        with Tunnel(addresses) as tunnel:
            trust = folder / "trust" / "ca.crt"
            yield registries, {"HTTPS_PROXY": tunnel.url, "SSL_CERT_FILE": str(trust)}
    finally:
        for registry in registries.values():
            registry.stop()
    assert [error for registry in registries.values() for error in registry.errors()] == []
