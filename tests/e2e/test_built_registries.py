"""The command copies to registries that Go builds, and from them: `make test-registries`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.real.compiled import compiled
from tests.real.witness import digest_of, flaws, tags_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.command import Command
    from tests.real.fixtures import StartRegistry
    from tests.real.images import Layout
    from tests.real.wire import Endpoint

pytestmark = pytest.mark.built
KINDS = ("multi", "nested", "single", "artifact", "bare")


@pytest.fixture(params=["distribution-3", "crane"])
def other(request: pytest.FixtureRequest) -> Iterator[Endpoint]:
    """A registry of each kind."""
    with compiled(request.param) as registry:
        yield registry


def assert_copy(command: Command, source: str, mirror: Endpoint) -> None:
    """A run copies every tag, complete; the next one finds nothing to do."""
    command.rules({source: f"{mirror.address}/copy/app"})
    command.insecure(source.partition("/")[0], mirror.address)

    first, second = command.run(), command.run()

    assert (first.code, first.finish["copied"]) == (0, len(KINDS)), first.text
    assert (second.code, second.finish["unchanged"]) == (0, len(KINDS)), second.text
    assert tags_of(mirror, "copy/app") == sorted(KINDS)
    assert [flaw for kind in KINDS for flaw in flaws(mirror, f"copy/app:{kind}")] == []


def test_copy_there_and_back(
    command: Command, docker_registry: StartRegistry, layout: Layout, other: Endpoint
) -> None:
    """Every kind of image goes from docker-registry to the other registry and back, byte for byte."""
    source, back = docker_registry().endpoint, docker_registry().endpoint
    for kind in KINDS:
        layout.send(layout.tagged(kind), source, f"team/app:{kind}")

    assert_copy(command, f"{source.address}/team/app", other)
    assert_copy(command, f"{other.address}/copy/app", back)

    digests = {kind: digest_of(back, f"copy/app:{kind}") for kind in KINDS}
    assert digests == {kind: layout.tagged(kind)["digest"] for kind in KINDS}
