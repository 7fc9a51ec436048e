"""The real servers behave as tests need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.real.wire import Endpoint, Wire

if TYPE_CHECKING:
    from tests.real.fixtures import StartRegistry


def test_log_is_exact(docker_registry: StartRegistry) -> None:
    """The access log has every request once, with its query and status, and nothing else."""
    registry = docker_registry()

    with Wire(registry.endpoint) as wire:
        digest = wire.send_blob("team/app", b"x" * 100_000)
        wire.ask("GET", f"/v2/team/app/blobs/{digest}")
        wire.ask("HEAD", "/v2/team/app/manifests/none")

    found = [
        (request.method, request.path.partition("?")[0], request.status) for request in registry.requests()
    ]
    session = found[1][1]
    expected = [
        ("POST", "/v2/team/app/blobs/uploads/", 202),
        ("PUT", session, 201),
        ("GET", f"/v2/team/app/blobs/{digest}", 200),
        ("HEAD", "/v2/team/app/manifests/none", 404),
    ]

    assert expected == found
    assert session.startswith("/v2/team/app/blobs/uploads/")


def test_servers_share_no_blobs_or_logs(docker_registry: StartRegistry) -> None:
    """Two servers hold their own blobs and keep their own logs, in memory and in a folder."""
    first, second = docker_registry(), docker_registry(memory=True)

    with Wire(first.endpoint) as wire:
        digest = wire.send_blob("a", b"data")
    with Wire(second.endpoint) as wire:
        absent = wire.ask("HEAD", f"/v2/a/blobs/{digest}").status

    assert absent == 404
    (request,) = second.requests()
    assert ("HEAD", f"/v2/a/blobs/{digest}", 404, "wire") == (
        request.method, request.path, request.status, request.agent
    )  # fmt: skip


def test_only_its_users_are_accepted(docker_registry: StartRegistry) -> None:
    """A server with users accepts each of them and no other user."""
    registry = docker_registry(users={"one": "secret one", "two": "secret:two"})
    attempts = {"one": "secret one", "two": "secret:two", "three": "x", "": ""}

    answers = {}
    for user, password in attempts.items():
        with Wire(Endpoint(address=registry.address, user=user, password=password)) as wire:
            answers[user] = wire.ask("GET", "/v2/").status

    assert answers == {"one": 200, "two": 200, "three": 401, "": 401}


def test_tls_is_trusted_with_its_ca_only(docker_registry: StartRegistry) -> None:
    """A server with TLS is trusted by clients with its CA only."""
    registry = docker_registry(tls=True)
    other = docker_registry(tls=True)

    with Wire(registry.endpoint) as wire:
        status = wire.ask("GET", "/v2/").status
    stranger = Wire(Endpoint(address=registry.address, ca=other.endpoint.ca))

    assert status == 200
    with stranger, pytest.raises(OSError, match="certificate verify failed"):
        stranger.ask("GET", "/v2/")


def test_deletion_must_be_enabled(docker_registry: StartRegistry) -> None:
    """Deletion works if it is enabled, and is refused otherwise."""
    statuses = []
    for delete in (True, False):
        registry = docker_registry(delete=delete)
        with Wire(registry.endpoint) as wire:
            digest = wire.send_blob("a", b"data")
            statuses.append(wire.ask("DELETE", f"/v2/a/blobs/{digest}").status)

    assert statuses == [202, 405]


def test_stopped_server_leaves_nothing(docker_registry: StartRegistry) -> None:
    """A stopped server does not answer any more and leaves no folder."""
    registry = docker_registry()
    folder = registry.storage.parent
    assert folder.exists()

    registry.__exit__()

    assert not folder.exists()
    with Wire(registry.endpoint) as wire, pytest.raises(ConnectionRefusedError):
        wire.ask("GET", "/v2/")


def test_content_survives_a_restart(docker_registry: StartRegistry) -> None:
    """A server that was killed and started again still has its content."""
    registry = docker_registry()
    with Wire(registry.endpoint) as wire:
        digest = wire.send_blob("a", b"data")

    registry.kill()
    with Wire(registry.endpoint) as wire, pytest.raises(ConnectionRefusedError):
        wire.ask("GET", "/v2/")
    registry.restart()

    with Wire(registry.endpoint) as wire:
        assert b"data" == wire.ask("GET", f"/v2/a/blobs/{digest}").body


def test_passwords_can_change(docker_registry: StartRegistry) -> None:
    """A server's passwords can change from one request to the next."""
    registry = docker_registry(users={"one": "first"})
    before = registry.endpoint
    with Wire(before) as wire:
        assert 200 == wire.ask("GET", "/v2/").status

        registry.set_users({"one": "second"})

        assert 401 == wire.ask("GET", "/v2/").status
    with Wire(registry.endpoint) as wire:
        assert 200 == wire.ask("GET", "/v2/").status
