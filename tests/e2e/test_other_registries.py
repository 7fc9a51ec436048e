"""The command copies to registries other than Debian's and back; larger ones: `make test-registries`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.real.witness import digest_of, flaws, tags_of

if TYPE_CHECKING:
    from tests.e2e.command import Command
    from tests.real.fixtures import StartNginx, StartOther, StartRegistry
    from tests.real.images import Layout
    from tests.real.wire import Endpoint

KINDS = ("multi", "nested", "single", "artifact", "bare")
REGISTRIES = (
    "crane",
    "ocimem",
    *(pytest.param(f"distribution-3{more}", marks=pytest.mark.built) for more in ("", "-s3")),
)


def assert_copy(command: Command, source: str, mirror: Endpoint, *, seen: Endpoint, path: str) -> None:
    """A run copies every tag, complete; the next one finds nothing to do.

    Args:
        command: the command, without files.
        source: the source repository.
        mirror: the destination registry, for `copy/app`.
        seen: the registry to check: the mirror, or the one behind it.
        path: the name of `copy/app` there.
    """
    command.rules({source: f"{mirror.address}/copy/app"})
    command.insecure(source.partition("/")[0], mirror.address)

    first, second = command.run(), command.run()

    assert (first.code, first.finish["copied"]) == (0, len(KINDS)), first.text
    assert (second.code, second.finish["unchanged"]) == (0, len(KINDS)), second.text
    assert tags_of(seen, path) == sorted(KINDS)
    assert [flaw for kind in KINDS for flaw in flaws(seen, f"{path}:{kind}")] == []


@pytest.fixture
def source(docker_registry: StartRegistry, layout: Layout) -> Endpoint:
    """Every kind of image, in docker-registry."""
    registry = docker_registry().endpoint
    for kind in KINDS:
        layout.send(layout.tagged(kind), registry, f"team/app:{kind}")
    return registry


@pytest.mark.parametrize("kind", REGISTRIES)
def test_copy_there_and_back(
    kind: str,
    command: Command,
    source: Endpoint,
    docker_registry: StartRegistry,
    other_registry: StartOther,
) -> None:
    """Every kind of image is copied from docker-registry to another registry and back, byte for byte."""
    other, back = other_registry(kind), docker_registry().endpoint

    assert_copy(command, f"{source.address}/team/app", other, seen=other, path="copy/app")
    assert_copy(command, f"{other.address}/copy/app", back, seen=back, path="copy/app")

    for tag in KINDS:
        assert digest_of(source, f"team/app:{tag}") == digest_of(back, f"copy/app:{tag}")


@pytest.mark.parametrize("status", [429, 503])
def test_copy_through_nginx(
    status: int, command: Command, source: Endpoint, docker_registry: StartRegistry, behind_nginx: StartNginx
) -> None:
    """Everything is copied through nginx with TLS, another path and a rate limit, in one pass, and back."""
    registry = docker_registry().endpoint
    manner = {
        "tls": True,
        "path": "hosted",
        "rate": "40r/s",
        "burst": 10,
        "status": status,
        "buffering": True,
    }
    front, back = behind_nginx(registry, **manner), docker_registry().endpoint

    assert_copy(command, f"{source.address}/team/app", front, seen=registry, path="hosted/copy/app")
    assert_copy(command, f"{front.address}/copy/app", back, seen=back, path="copy/app")


def test_small_bodies_at_nginx(
    command: Command, layout: Layout, docker_registry: StartRegistry, behind_nginx: StartNginx
) -> None:
    """Debian's nginx limits bodies to 1 MB: a larger blob is sent in chunks that fit, which is logged."""
    source, registry = docker_registry().endpoint, docker_registry().endpoint
    front = behind_nginx(registry, body="1m")
    artifact = layout.make_artifact(b"0123456789abcdef" * (3 << 16), kind="application/vnd.example.large")
    layout.send(artifact, source, "team/app:large")
    command.rules({f"{source.address}/team/app": f"{front.address}/copy/app"})
    command.insecure(source.address, front.address)

    result = command.run()

    assert (result.code, result.finish["copied"]) == (0, 1), result.text
    assert flaws(registry, "copy/app:large") == []
    assert digest_of(registry, "copy/app:large") == artifact["digest"]
