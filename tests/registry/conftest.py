"""Fixtures of the conformance suite: a registry of each kind, scripted and real.

differences.py lists what other registries answer differently; `make test-registries` tests the larger ones.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.real.compiled import distribution
from tests.real.wire import Endpoint, Wire
from tests.registry.differences import difference

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = ("scripted", "docker-registry", pytest.param("distribution-3", marks=pytest.mark.built))
OTHERS = ("crane", "ocimem", "nginx", pytest.param("distribution-3-s3", marks=pytest.mark.built))
"""Registries without users, or with the users of the registry behind them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Expect the failures that are a registry's known differences, and only those."""
    for item in items:
        if reason := difference(item.name):
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


@pytest.fixture(params=[*KINDS, *OTHERS])
def endpoint(request: pytest.FixtureRequest) -> Endpoint:
    """A registry of each kind, without authentication; nginx is in front of docker-registry."""
    if request.param == "scripted":
        return Endpoint(address=request.getfixturevalue("scripted")().address)
    if request.param not in {"docker-registry", "nginx"}:
        started: Endpoint = request.getfixturevalue("other_registry")(request.param)
        return started
    debian: Endpoint = request.getfixturevalue("docker_registry")(memory=True).endpoint
    if request.param == "docker-registry":
        return debian
    behind: Endpoint = request.getfixturevalue("behind_nginx")(
        debian, tls=True, path="hosted", buffering=True
    )
    return behind


@pytest.fixture
def open_registry(endpoint: Endpoint) -> str:
    """The registry's address."""
    return endpoint.address


@pytest.fixture
def wire(endpoint: Endpoint) -> Iterator[Wire]:
    """A connection to the registry."""
    with Wire(endpoint) as opened:
        yield opened


@pytest.fixture(params=KINDS)
def locked(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a registry of each kind that requires Basic, user:pass."""
    users = {"user": "pass"}
    with ExitStack() as stack:
        if request.param == "scripted":
            registry = request.getfixturevalue("scripted")(auth="basic")
        elif request.param == "docker-registry":
            registry = request.getfixturevalue("docker_registry")(users=users, memory=True)
        else:
            registry = stack.enter_context(distribution(users))
        yield str(registry.address)
