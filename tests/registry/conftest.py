"""Fixtures of the conformance suite: a registry of each kind, scripted and real.

`make test-registries` asks those that Go builds; what they answer otherwise is listed in differences.py.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.real.compiled import compiled, distribution
from tests.real.wire import Endpoint, Wire
from tests.registry.differences import difference

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = ("scripted", "docker-registry", pytest.param("distribution-3", marks=pytest.mark.built))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Expect the failures that are a registry's known differences, and only those."""
    for item in items:
        if reason := difference(item.name):
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


@pytest.fixture(params=[*KINDS, pytest.param("crane", marks=pytest.mark.built)])
def open_registry(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a registry of each kind, without authentication."""
    with ExitStack() as stack:
        if request.param == "scripted":
            registry = request.getfixturevalue("scripted")()
        elif request.param == "docker-registry":
            registry = request.getfixturevalue("docker_registry")(memory=True)
        else:
            registry = stack.enter_context(compiled(request.param))
        yield str(registry.address)


@pytest.fixture
def wire(open_registry: str) -> Iterator[Wire]:
    """A connection to it."""
    with Wire(Endpoint(address=open_registry)) as opened:
        yield opened


@pytest.fixture(params=KINDS)
def locked(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a registry of each kind that wants Basic, user:pass; crane's wants nothing."""
    users = {"user": "pass"}
    with ExitStack() as stack:
        if request.param == "scripted":
            registry = request.getfixturevalue("scripted")(auth="basic")
        elif request.param == "docker-registry":
            registry = request.getfixturevalue("docker_registry")(users=users, memory=True)
        else:
            registry = stack.enter_context(distribution(users))
        yield str(registry.address)
