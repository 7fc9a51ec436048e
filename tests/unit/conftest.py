"""Fixtures of all unit tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.real.servers import make_certificate

if TYPE_CHECKING:
    from pathlib import Path


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
