"""Mirrors of a source: they save requests to it, and their faults cost no content and no wait."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

import pytest

from tests.registry.content import image, index, layer
from tests.registry.faults import Corrupt, Drop, Fault, Reply, throttle

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.e2e.command import Command
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

CONTENT = r"/(manifests|blobs)/sha256:"
IMAGES = 6


def fill(*registries: Registry, at: Iterable[str], images: Iterable[int] = range(IMAGES)) -> None:
    """Images with one layer each, in one registry under each name."""
    for registry, repository in zip(registries, at, strict=True):
        for number in images:
            child = image(layer(f"layer {number}", size=5_000), architecture="amd64")
            registry.add(repository, index(child), f"v{number}")


def prepare(command: Command, source: Registry, mirror: Registry, *caches: str) -> None:
    """One rule, and the caches as mirrors of its source."""
    command.rules({f"{source.address}/team/app": f"{mirror.address}/copy/app"})
    hosts = {cache.partition("/")[0]: {"insecure": True} for cache in caches}
    own = {"insecure": True, "mirrors": list(caches)}
    command.write("auth.json", {**hosts, source.address: own, mirror.address: {"insecure": True}})


def is_complete(source: Registry, mirror: Registry) -> bool:
    """Whether everything was copied with the bytes of the source."""
    manifests = set(source.manifests("team/app"))
    blobs = {blob: source.blob("team/app", blob) for blob in source.blobs("team/app")}
    return (
        source.tags("team/app") == mirror.tags("copy/app")
        and manifests == set(mirror.manifests("copy/app"))
        and blobs == {blob: mirror.blob("copy/app", blob) for blob in blobs}
    )


def read_by_digest(registry: Registry) -> int:
    """How many GETs of content were answered."""
    return len(registry.requests(method="GET", path=CONTENT, status=200))


def test_content_comes_from_the_mirror(command: Command, scripted: Scripted) -> None:
    """Manifests and blobs are read from the mirror, below its prefix; tags and lists from the source."""
    source, cache, mirror = scripted(), scripted(), scripted()
    fill(source, cache, at=("team/app", "hub/team/app"))
    prepare(command, source, mirror, f"{cache.address}/hub")

    result = command.run()

    assert result.code == 0, result.text
    assert is_complete(source, mirror)
    assert read_by_digest(source) == 0
    assert len(cache.requests()) == len(cache.requests(path="/v2/hub/team/app" + CONTENT))


def test_mirror_gets_only_its_own_login(command: Command, scripted: Scripted) -> None:
    """The mirror gets the login of its own key, and never that of the registry."""
    options = {"auth": "basic", "username": "ann"}
    source, cache, mirror = scripted(**options, password="of-source"), scripted(**options), scripted()
    fill(source, cache, at=("team/app", "team/app"))
    command.rules({f"{source.address}/team/app": f"{mirror.address}/copy/app"})
    own = {"insecure": True, "username": "ann"}
    command.write("auth.json", {
        source.address: {**own, "password": "of-source", "mirrors": [cache.address]},
        cache.address: {**own, "password": "pass"},
        mirror.address: {"insecure": True},
    })  # fmt: skip

    result = command.run()

    assert result.code == 0, result.text
    assert read_by_digest(source) == 0
    secret = base64.b64encode(b"ann:of-source").decode()
    assert not [each for each in cache.requests() if secret in each.headers.get("authorization", "")]


def test_stale_mirror_falls_back_to_source(command: Command, scripted: Scripted) -> None:
    """Content that a mirror lacks is read from the source, at one more request for each digest."""
    source, cache, mirror = scripted(), scripted(), scripted()
    fill(source, cache, at=("team/app", "team/app"))
    for digest in cache.blobs("team/app")[:3]:
        cache.forget_blob("team/app", digest)
    prepare(command, source, mirror, cache.address)

    result = command.run("--retries", "0")

    assert result.code == 0, result.text
    assert is_complete(source, mirror)
    assert read_by_digest(source) == len(cache.requests(path=CONTENT, status=404)) == 3


def test_empty_mirror_is_given_up(command: Command, scripted: Scripted) -> None:
    """A mirror without the repository is soon not asked for it any more, and the log says so once."""
    source, cache, mirror = scripted(), scripted(), scripted()
    fill(source, at=["team/app"], images=range(30))
    prepare(command, source, mirror, cache.address)

    result = command.run("--retries", "0")

    assert result.code == 0, result.text
    assert is_complete(source, mirror)
    assert len(cache.requests(path=CONTENT)) < 30
    assert len(result.events("mirror.left")) == 1


LIES = {
    "bytes": Fault(action=Corrupt(offset=3), method="GET", times=None),
    "another manifest": Fault(action=Reply(status=200, body='{"schemaVersion": 2}'), times=None),
    "a web page": Fault(
        action=Reply(status=200, headers={"Content-Type": "text/html"}, body="<html>log in</html>"),
        times=None,
    ),
    "a type": Fault(
        action=Reply(
            status=200, headers={"Content-Type": "application/vnd.oci.image.index.v1+json"}, body=""
        ),
        times=None,
    ),
    "refuses": Fault(action=Reply(status=401), times=None),
    "redirects": Fault(action=Reply(status=307, headers={"Location": "http://127.0.0.1:1/x"}), times=None),
    "asks for a pause": throttle(retry_after="600", times=None),
    "fails": Fault(action=Reply(status=503), times=None),
    "cuts": Fault(action=Drop(after=20), method="GET", times=None),
}


@pytest.mark.parametrize("lie", LIES)
def test_broken_mirror_changes_no_result(command: Command, scripted: Scripted, lie: str) -> None:
    """Whatever a mirror answers, the source's content is copied, and nobody waits for the mirror."""
    source, cache, mirror = scripted(), scripted(), scripted()
    fill(source, cache, at=("team/app", "team/app"))
    cache.fault(LIES[lie])
    prepare(command, source, mirror, cache.address)

    result = command.run("--retries", "0", "--patience", "5s")

    assert result.code == 0, result.text
    assert is_complete(source, mirror)
    assert cache.requests(path=CONTENT)
    assert result.events("mirror.left")


def test_wrong_content_type_of_mirror_is_ignored(command: Command, scripted: Scripted) -> None:
    """A mirror's Content-Type for a manifest does not matter, since the digest does not cover it."""
    source, cache, mirror = scripted(), scripted(content_type="text/plain"), scripted()
    fill(source, cache, at=("team/app", "team/app"))
    prepare(command, source, mirror, cache.address)

    result = command.run()

    assert result.code == 0, result.text
    assert is_complete(source, mirror)
    assert read_by_digest(source) == 0


def test_next_mirror_replaces_a_dead_one(command: Command, scripted: Scripted) -> None:
    """When a mirror dies during a run, the next one takes over, and running tasks continue."""
    source, dying, next_one, mirror = scripted(), scripted(), scripted(), scripted()
    fill(source, dying, next_one, at=["team/app"] * 3, images=range(20))
    dying.fault(Fault(action=Drop(read=0, reset=True), skip=8, times=None))
    prepare(command, source, mirror, dying.address, next_one.address)

    result = command.run("--retries", "0", "--patience", "5s")

    assert result.code == 0, result.text
    assert is_complete(source, mirror)
    assert read_by_digest(dying)
    assert read_by_digest(next_one)
    assert read_by_digest(source) == 0
    assert len(result.events("mirror.left")) == 1


def test_unreachable_mirrors_fall_back_to_source(command: Command, scripted: Scripted) -> None:
    """If no mirror is reachable, everything is read from the source."""
    source, mirror = scripted(), scripted()
    fill(source, at=["team/app"])
    prepare(command, source, mirror, "127.0.0.1:1", "127.0.0.1:2/x")

    result = command.run("--retries", "0", "--patience", "5s")

    assert result.code == 0, result.text
    assert is_complete(source, mirror)


def test_verify_uses_no_mirror(command: Command, scripted: Scripted) -> None:
    """A verification reads from the registries that the rules name."""
    source, cache, mirror = scripted(), scripted(), scripted()
    fill(source, cache, at=("team/app", "team/app"))
    prepare(command, source, mirror, cache.address)
    assert command.run().code == 0
    cache.reset()

    result = command.run("verify", "--deep")

    assert result.code == 0, result.text
    assert not cache.requests()


def test_plan_reads_from_the_mirror(command: Command, scripted: Scripted) -> None:
    """A plan predicts the requests of its run to the mirror and to the source."""
    source, cache, mirror = scripted(), scripted(), scripted()
    fill(source, cache, at=("team/app", "team/app"))
    prepare(command, source, mirror, cache.address)

    planned = command.run("plan", "--json")
    cache.reset()
    source.reset()
    assert command.run().code == 0

    requests = {
        name: int(re.search(rf'"{name}": {{"requests": (\d+)', planned.output)[1])  # type: ignore[index] # the test fails
        for name in (source.address, cache.address)
    }
    assert requests == {each.address: len(each.requests()) for each in (source, cache)}


def test_mirror_as_destination_is_refused(command: Command, scripted: Scripted) -> None:
    """A mirror that a rule writes to ends the command before any request, with the place in the file."""
    source, mirror = scripted(), scripted()
    command.rules({f"{source.address}/team/app": f"{mirror.address}/copy/app"})
    command.write(
        "auth.json", f'{{"{source.address}": {{"insecure": true,\n "mirrors": ["{mirror.address}/copy"]}}}}'
    )

    result = command.run()

    assert result.code == 2, result.text
    assert f"auth.json:2:14: mirrors of '{source.address}'" in result.text
    assert f"is a destination of this run: {mirror.address}/copy/app" in result.text
    assert [] == source.requests() + mirror.requests()


def test_check_tries_mirrors(command: Command, scripted: Scripted) -> None:
    """The check names the mirrors and tries each; an unusable one is a warning with the reason."""
    source, cache, mirror = scripted(), scripted(auth="basic"), scripted()
    fill(source, cache, at=("team/app", "team/app"))
    prepare(command, source, mirror, cache.address, "127.0.0.1:1")

    result = command.run("check")

    assert result.code == 0, result.text
    assert f"mirrors {cache.address} and 127.0.0.1:1" in result.output
    assert re.search(rf"warn +mirror +{cache.address}/team/app .*\b401\b", result.output)
    assert re.search(r"warn +registry +127.0.0.1:1 .*reads at the registry itself", result.output)


def test_login_and_mirror_from_different_keys(command: Command, scripted: Scripted) -> None:
    """A longer key gives the login, and the registry's key in another file the mirror and the rate."""
    source, cache, mirror = scripted(auth="basic", username="ann"), scripted(), scripted()
    fill(source, cache, at=("team/app", "team/app"))
    command.rules({f"{source.address}/team/app": f"{mirror.address}/copy/app"})
    command.write("logins.json", {f"{source.address}/team": {"username": "ann", "password": "pass"}})
    command.write("hosts.json", {
        source.address: {"insecure": True, "rate": "1000/s", "mirrors": [cache.address]},
        cache.address: {"insecure": True, "requests": 2},
        mirror.address: {"insecure": True, "bandwidth": "50MB/s"},
    })  # fmt: skip

    result = command.run("--auth", "logins.json", "--auth", "hosts.json", "--bandwidth", "40MB/s")

    assert result.code == 0, result.text
    assert is_complete(source, mirror)
    assert read_by_digest(source) == 0
    assert not [each for each in cache.requests() if "authorization" in each.headers]
