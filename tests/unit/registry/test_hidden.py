"""Registries that offer a login only at /v2/, and hide private content behind 401, 403 or 404."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.errors import RegistryError
from tests.registry.content import digest_of
from tests.registry.faults import Fault, Reply, redirect
from tests.unit.registry.asking import USER, client, repository

if TYPE_CHECKING:
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

BLOB = b"content"
DIGEST = digest_of(BLOB)


def filled(registry: Registry) -> Registry:
    """The same registry with a blob."""
    registry.add_blob("team/app", BLOB)
    return registry


@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize("auth", ["basic", "token"])
def test_hidden_content_leads_to_one_challenge(scripted: Scripted, auth: str, status: int) -> None:
    """If 404 may hide a missing login, /v2/ is asked once for a challenge and the request repeated."""
    registry = filled(scripted(auth=auth))
    registry.fault(Fault(action=Reply(status=status), method="HEAD", times=1))
    asking = client(registry, USER)

    assert asking.head_blob(repository(registry), DIGEST) == len(BLOB)
    assert asking.head_blob(repository(registry), digest_of(b"none")) is None
    assert len(registry.requests(path="^/v2/$")) == 1


def test_missing_content_pings_once(scripted: Scripted) -> None:
    """Missing content of a public registry costs one request to /v2/, however much is missing."""
    registry = filled(scripted())
    asking = client(registry, USER)
    for number in range(5):
        assert asking.head_blob(repository(registry), digest_of(b"%d" % number)) is None

    assert len(registry.requests(path="^/v2/$")) == 1
    assert not any("authorization" in entry.headers for entry in registry.requests())


def test_no_ping_without_a_login(scripted: Scripted) -> None:
    """Without a login no challenge is requested if the registry sends none."""
    registry = filled(scripted())

    assert client(registry).head_blob(repository(registry), digest_of(b"none")) is None
    assert not registry.requests(path="^/v2/$")


def test_ping_redirect_is_not_followed(scripted: Scripted) -> None:
    """A redirect of /v2/ to another host is not followed, since its challenge would be answered."""
    registry = filled(scripted())
    other = f"http://127.0.0.2:{registry.address.rpartition(':')[2]}/v2/"
    registry.fault(Fault(action=Reply(status=401), method="HEAD", times=None))
    registry.fault(redirect(other, path="^/v2/$", times=None))
    with pytest.raises(RegistryError):
        client(registry, USER).head_blob(repository(registry), DIGEST)

    assert not registry.requests(elsewhere=True)
    assert not any("authorization" in entry.headers for entry in registry.requests())


def test_dead_token_server_affects_one_repository(scripted: Scripted, unused_port: int) -> None:
    """A dead token server of one repository does not affect others that need no token."""
    registry = filled(scripted())
    challenge = {"WWW-Authenticate": f'Bearer realm="http://127.0.0.2:{unused_port}/token"'}
    registry.fault(Fault(action=Reply(status=401, headers=challenge), path="/team/shut/", times=None))
    asking = client(registry, USER)
    for _ in range(2):
        with pytest.raises(RegistryError) as caught:
            asking.head_blob(repository(registry, "team/shut"), DIGEST)
        assert f"127.0.0.2:{unused_port}" == caught.value.fault.host

    assert asking.head_blob(repository(registry), DIGEST) == len(BLOB)
