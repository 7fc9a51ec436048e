"""Fixtures of the registry protocol's tests."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from tests.real.servers import make_certificate

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry


@pytest.fixture
def unused_port() -> int:
    """A port of loopback at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate for loopback, its key, and the CA in a folder of its own."""
    folder = tmp_path_factory.mktemp("certificates")
    make_certificate(folder)
    return folder


@pytest.fixture
def ca(certificates: Path) -> Path:
    """The CA of `tls_registry`."""
    return certificates / "trust" / "ca.crt"


@pytest.fixture
def tls_registry(scripted: Scripted, certificates: Path) -> Registry:
    """A registry that speaks TLS, by a certificate that nobody knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    return scripted(tls=context)
