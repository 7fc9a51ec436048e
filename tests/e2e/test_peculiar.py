"""Registries' deviations from the specification, end to end on the scripted registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.registry.content import artifact, attestation, foreign_image, image, index, layer, schema1
from tests.registry.faults import Corrupt, Drop, Fault, Reply, throttle

if TYPE_CHECKING:
    from tests.e2e.command import Command
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry


def fill(source: Registry) -> None:
    """One of every kind."""
    base = layer("base", size=10_000)
    amd, arm = image(base, architecture="amd64"), image(base, layer("arm"), architecture="arm64")
    source.add("team/app", index(amd, arm, attestation(amd)), "index")
    source.add("team/app", index(index(amd, arm), amd), "nested")
    source.add("team/app", index(image(base, docker=True), docker=True), "list")
    source.add("team/app", schema1(base, layer("old")), "unsigned")
    source.add("team/app", schema1(base, layer("old"), signed=True), "signed")
    source.add("team/app", artifact(b"chart"), "chart")


def prepare(command: Command, source: Registry, mirror: Registry) -> None:
    """One rule for everything."""
    command.rules({f"{source.address}/team/app": f"{mirror.address}/copy/app"})
    command.insecure(source.address, mirror.address)


def same(source: Registry, mirror: Registry) -> bool:
    """Whether every tag was copied with the same bytes and everything below it."""
    tags = source.tags("team/app")
    return tags == mirror.tags("copy/app") and set(source.manifests("team/app")) == set(
        mirror.manifests("copy/app")
    )


@pytest.mark.parametrize(
    "content_type", ["none", "application/json", "text/plain", "application/octet-stream"]
)
def test_wrong_content_type_is_recognised(command: Command, scripted: Scripted, content_type: str) -> None:
    """Manifests with a wrong or missing Content-Type are recognised by their content."""
    source, mirror = scripted(content_type=content_type, schema1=True), scripted(schema1=True)
    fill(source)
    prepare(command, source, mirror)

    result = command.run()

    assert (result.code, result.finish["copied"]) == (0, 6), result.text
    assert same(source, mirror)


@pytest.mark.parametrize("flags", [[], ["--arch", "amd64"]])
def test_empty_index_is_copied(command: Command, scripted: Scripted, flags: list[str]) -> None:
    """An empty index is copied as it is, since no filter can drop anything from it."""
    source, mirror = scripted(), scripted()
    source.add("team/app", index(), "none")
    prepare(command, source, mirror)

    result = command.run(*flags)

    assert (result.code, result.finish["copied"], result.finish["skipped"]) == (0, 1, 0), result.text
    assert same(source, mirror)


def test_missing_digest_headers_cost_a_get(command: Command, scripted: Scripted) -> None:
    """Registries without digest headers cost one GET more, and get every manifest read back."""
    source, mirror = scripted(digest_header=False, schema1=True), scripted(digest_header=False, schema1=True)
    fill(source)
    prepare(command, source, mirror)

    assert command.run().code == 0
    assert same(source, mirror)
    again = command.run()
    assert (again.code, again.finish["unchanged"]) == (0, 6), again.text


def test_refused_head_is_replaced_by_get(command: Command, scripted: Scripted) -> None:
    """If a registry refuses HEAD of manifests, GET is used."""
    source, mirror = scripted(head=False, schema1=True), scripted(schema1=True)
    fill(source)
    prepare(command, source, mirror)

    result = command.run()

    assert result.code == 0, result.text
    assert same(source, mirror)


@pytest.mark.parametrize("link", ["relative", "absolute", "http", "bare", "lost-prefix"])
def test_list_of_many_pages_is_read_to_its_end(command: Command, scripted: Scripted, link: str) -> None:
    """A list of many pages is read to its end, however its links are written."""
    source, mirror = scripted(link=link, page=7), scripted()
    digest = source.add("team/app", image(layer("one")))
    source.add_tags("team/app", 40, digest)
    prepare(command, source, mirror)

    result = command.run()

    assert (result.code, result.finish["copied"]) == (0, 40), result.text


@pytest.mark.parametrize("link", ["loop", "repeat"])
def test_endless_list_fails_its_rule(command: Command, scripted: Scripted, link: str) -> None:
    """A list that loops or repeats fails its rule with a clear error."""
    source, mirror = scripted(link=link, page=7), scripted()
    digest = source.add("team/app", image(layer("one")))
    source.add_tags("team/app", 20, digest)
    prepare(command, source, mirror)

    result = command.run("--retries", "0")

    assert (result.code, result.finish["rules_failed"]) == (1, 1), result.text
    assert "the tag list " in result.events("rule.failed")[0]["msg"]


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("mount", ["refused", "unauthorized", "denied", "unsupported", "broken", "lie"])
def test_blob_exists_after_any_mount_answer(
    command: Command, scripted: Scripted, mount: str, *, strict: bool
) -> None:
    """Whatever the answer to a mount, the blob exists in the end, even if no manifest is checked."""
    source, mirror = scripted(), scripted(mount=mount, check_references=strict)
    base = layer("base", size=10_000)
    for name in "abcd":
        source.add(f"team/{name}", image(base, layer(name)), "v1")
    command.rules({f"{source.address}/team/{n}": f"{mirror.address}/team/{n}" for n in "abcd"})
    command.insecure(source.address, mirror.address)

    result = command.run()

    assert (result.code, result.finish["copied"]) == (0, 4), result.text
    assert all(len(mirror.blobs(f"team/{name}")) == 3 for name in "abcd")


def test_foreign_layer_urls_are_never_fetched(command: Command, scripted: Scripted) -> None:
    """A layer that only its urls provide is left out with a log line, and the urls are never fetched."""
    source, mirror = scripted(), scripted()
    source.add("team/app", foreign_image(layer("here"), layer("there")), "v1")
    prepare(command, source, mirror)

    result = command.run()

    assert (result.code, result.finish["copied"]) == (0, 1), result.text
    assert len(result.events("blob.left")) == 1


@pytest.mark.parametrize("kind", ["ecr", "harbor", "quay", "acr"])
def test_immutable_tags(command: Command, scripted: Scripted, kind: str) -> None:
    """An immutable tag with the same digest is up to date; with another one it is a permanent failure."""
    source, mirror = scripted(), scripted(immutable=kind)
    source.add("team/app", image(layer("one")), "v1")
    prepare(command, source, mirror)
    assert command.run().code == 0
    assert command.run("--force").code == 0
    source.add("team/app", image(layer("two")), "v1")

    result = command.run()

    assert result.code == 1
    (failure,) = result.events("image.failed")
    assert "immutable" in failure["msg"]
    assert failure["retryable"] == "false"


def test_broken_download_is_retried_at_once(command: Command, scripted: Scripted) -> None:
    """A download that breaks off, or is corrupt once, is retried at once."""
    source, mirror = scripted(), scripted()
    source.add("team/app", image(layer("one", size=300_000), layer("two", size=300_000)), "v1")
    source.fault(Fault(action=Drop(after=1_000), method="GET", path="/blobs/"))
    source.fault(Fault(action=Corrupt(offset=5), method="GET", path="/blobs/"))
    prepare(command, source, mirror)

    result = command.run("--retries", "0")

    assert result.code == 0, result.text
    assert same(source, mirror)


def test_upload_with_lost_response_is_found(command: Command, scripted: Scripted) -> None:
    """An upload whose response was lost is found at the destination and not sent again."""
    source, mirror = scripted(), scripted()
    source.add("team/app", image(layer("one", size=300_000)), "v1")
    mirror.fault(Fault(action=Drop(perform=True), method="PUT", path="/blobs/uploads/"))
    prepare(command, source, mirror)

    result = command.run("--retries", "0")

    assert result.code == 0, result.text
    assert same(source, mirror)
    assert len(mirror.requests(method="PUT", path="/blobs/uploads/")) == 2


def test_429_is_a_pause_and_no_failure(command: Command, scripted: Scripted) -> None:
    """A 429 is not a failure: the registry gets its pause, the log says so, and the run is complete."""
    source, mirror = scripted(), scripted()
    source.add("team/app", image(layer("one")), "v1")
    source.fault(throttle(retry_after="1", method="HEAD", path="/manifests/", times=2))
    prepare(command, source, mirror)

    result = command.run("--retries", "0")

    assert result.code == 0, result.text
    assert result.events("registry.cooldown")


def test_pause_longer_than_patience_costs_one_request(command: Command, scripted: Scripted) -> None:
    """A registry with a rate limit longer than --patience gets one request in all passes."""
    source, mirror = scripted(), scripted()
    source.add("team/app", image(layer("one")), "v1")
    source.fault(throttle(retry_after="70", method="HEAD", path="/manifests/", times=9))
    prepare(command, source, mirror)

    result = command.run("--retries", "2", "--patience", "1s")

    assert result.code == 1, result.text
    assert "no request accepted for 1s" in result.text
    assert len(source.requests(method="HEAD", path="/manifests/")) == 1


def test_manifest_is_pushed_again_after_late_blobs(command: Command, scripted: Scripted) -> None:
    """A manifest whose blobs its registry does not see yet is pushed in the next pass."""
    source, mirror = scripted(), scripted()
    source.add("team/app", image(layer("one")), "v1")
    unknown = '{"errors": [{"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown to registry"}]}'
    reply = Reply(status=400, headers={"Content-Type": "application/json"}, body=unknown)
    mirror.fault(Fault(action=reply, method="PUT", path="/manifests/", times=3))
    prepare(command, source, mirror)

    result = command.run("--retries", "1")

    assert result.code == 0, result.text
    assert same(source, mirror)


def test_dead_registry_fails_only_its_images(command: Command, scripted: Scripted) -> None:
    """A registry that is down soon fails its own images; the others are copied."""
    source, mirror = scripted(), scripted()
    source.add("team/app", image(layer("one")), *(f"v{number}" for number in range(30)))
    gone = "127.0.0.1:9"
    command.rules({f"{source.address}/team/app": [f"{mirror.address}/copy/app", f"{gone}/copy/app"]})
    command.insecure(source.address, mirror.address, gone)

    result = command.run("--retries", "1")

    assert (result.code, result.finish["copied"], result.finish["failed"]) == (1, 30, 30), result.text
    assert {event["registry"] for event in result.events("image.failed")} == {gone}


def test_reserialised_index_is_up_to_date(command: Command, scripted: Scripted) -> None:
    """A mirror whose index another tool serialised is up to date; --force pushes the exact bytes."""
    source, mirror = scripted(), scripted()
    child = image(layer("one"))
    content = index(child)
    source.add("team/app", content, "v1")
    mirror.add("copy/app", child)
    mirror.add_manifest("copy/app", content.manifest + b"\n", content.media_type, ("v1",))
    prepare(command, source, mirror)

    result = command.run()

    assert (result.code, result.finish["unchanged"]) == (0, 1), result.text
    assert mirror.tags("copy/app") != source.tags("team/app")
    assert command.run("--force").code == 0
    assert mirror.tags("copy/app") == source.tags("team/app")
