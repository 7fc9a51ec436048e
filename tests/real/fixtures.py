"""Fixtures that give real registries to tests, and skip if this machine cannot run them.

A skip says what is missing and how to get it; with CI=true `tests.no_skips` makes it a failure.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests.real.compiled import compiled
from tests.real.golang import has_go
from tests.real.nginx import ADVICE, NGINX, Manner, nginx
from tests.real.servers import DockerRegistry
from tests.real.tools import advice, missing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.real.wire import Endpoint


class StartRegistry(Protocol):
    """The fixture `docker_registry`: each call starts another server for this test."""

    def __call__(self, **options: Any) -> DockerRegistry:
        """Start a server; the options are those of `DockerRegistry`."""


class StartOther(Protocol):
    """The fixture `other_registry`: each call starts another server for this test."""

    def __call__(self, kind: str) -> Endpoint:
        """Start one built with Go; the kinds are those of `compiled`."""


class StartNginx(Protocol):
    """The fixture `behind_nginx`: each call starts another server for this test."""

    def __call__(self, upstream: Endpoint, **manner: Any) -> Endpoint:
        """Start nginx in front of a registry; the options are those of `Manner`."""


@pytest.fixture(scope="session")
def needs_real() -> None:
    """The programs of `tests.real.tools`, for a test that needs them without a server."""
    if absent := missing():
        pytest.skip(advice(absent))


@pytest.fixture
def docker_registry(needs_real: None) -> Iterator[StartRegistry]:
    """A maker of docker-registry servers, all stopped after the test."""
    with ExitStack() as servers:

        def start(**options: Any) -> DockerRegistry:
            return servers.enter_context(DockerRegistry(**options))

        yield start


@pytest.fixture
def other_registry() -> Iterator[StartOther]:
    """A maker of registries built with Go, all stopped after the test."""
    if not has_go():
        pytest.skip("Go missing, which builds other registries: https://go.dev/dl")
    with ExitStack() as servers:
        yield lambda kind: servers.enter_context(compiled(kind))


@pytest.fixture
def behind_nginx() -> Iterator[StartNginx]:
    """A maker of nginx servers, all stopped after the test."""
    if NGINX is None:
        pytest.skip(ADVICE)
    with ExitStack() as servers:
        yield lambda upstream, **manner: servers.enter_context(nginx(upstream, Manner(**manner)))
