"""Fixtures that hand real registries to tests, and skip where this machine cannot have them.

A skip says what is missing and how to get it; with CI=true `tests.no_skips` makes it a failure.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests.real.servers import DockerRegistry
from tests.real.tools import advice, missing

if TYPE_CHECKING:
    from collections.abc import Iterator


class StartRegistry(Protocol):
    """The fixture `docker_registry`: each call starts another server for this test."""

    def __call__(self, **options: Any) -> DockerRegistry:
        """Start a server; the options are those of `DockerRegistry`."""


@pytest.fixture(scope="session")
def needs_real() -> None:
    """The programs of `tests.real.tools`; a test that wants them without a server asks for this."""
    if absent := missing():
        pytest.skip(advice(absent))


@pytest.fixture
def docker_registry(needs_real: None) -> Iterator[StartRegistry]:
    """A maker of docker-registry servers, all stopped after the test."""
    with ExitStack() as servers:

        def start(**options: Any) -> DockerRegistry:
            return servers.enter_context(DockerRegistry(**options))

        yield start
