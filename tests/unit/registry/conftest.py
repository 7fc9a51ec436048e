"""Fixtures for the tests of the registry protocol."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry


@pytest.fixture
def unused_port() -> int:
    """A loopback port without a listener."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def tls_registry(scripted: Scripted, certificates: Path) -> Registry:
    """A registry over TLS with an untrusted certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    return scripted(tls=context)
