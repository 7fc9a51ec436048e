"""Fixtures: scripted registries for the duration of a test."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests.registry.process import start_process
from tests.registry.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.registry.control import Remote


class Scripted(Protocol):
    """Makes a registry in threads of this process; arguments as for Registry."""

    def __call__(self, **options: Any) -> Registry:
        """Start one."""


class ScriptedProcess(Protocol):
    """Starts a registry in its own process; arguments as for start_process."""

    def __call__(self, **options: Any) -> Remote:
        """Start one."""


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    """Registries in threads; an internal failure of one fails the test."""
    with ExitStack() as stack:
        made: list[Registry] = []

        def start(**options: Any) -> Registry:
            registry = stack.enter_context(Registry(**options))
            made.append(registry)
            return registry

        yield start
    failures = [error for registry in made for error in registry.errors()]
    assert not failures


@pytest.fixture
def scripted_process() -> Iterator[ScriptedProcess]:
    """Registries in processes; an internal failure of one fails the test."""
    with ExitStack() as stack:
        made: list[Remote] = []

        def start(**options: Any) -> Remote:
            registry = stack.enter_context(start_process(**options))
            made.append(registry)
            return registry

        yield start
        failures = [error for registry in made for error in registry.errors()]
        assert not failures
