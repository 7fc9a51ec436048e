"""Fixtures of the conformance suite: a registry of each kind, the scripted one and the real one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.real.wire import Endpoint, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = ("scripted", "docker-registry")


@pytest.fixture(params=KINDS)
def open_registry(request: pytest.FixtureRequest) -> str:
    """The address of a registry of each kind, without authentication."""
    if request.param == "scripted":
        registry = request.getfixturevalue("scripted")()
    else:
        registry = request.getfixturevalue("docker_registry")(memory=True)
    return str(registry.address)


@pytest.fixture
def wire(open_registry: str) -> Iterator[Wire]:
    """A connection to it."""
    with Wire(Endpoint(address=open_registry)) as opened:
        yield opened


@pytest.fixture(params=KINDS)
def locked(request: pytest.FixtureRequest) -> str:
    """The address of a registry of each kind that wants Basic, user:pass."""
    if request.param == "scripted":
        registry = request.getfixturevalue("scripted")(auth="basic")
    else:
        registry = request.getfixturevalue("docker_registry")(users={"user": "pass"}, memory=True)
    return str(registry.address)
