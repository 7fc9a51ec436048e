"""Manifest options: each makes the registry behave like a registry in use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.real.wire import Endpoint, Wire
from tests.registry import content
from tests.registry.asking import IMAGE, accept, ask, code
from tests.registry.push import push

if TYPE_CHECKING:
    from tests.registry.fixtures import Scripted


@pytest.mark.parametrize("shown", ["none", "application/json", "text/plain", "application/octet-stream"])
def test_content_type_follows_option(scripted: Scripted, shown: str) -> None:
    """Content-Type of a manifest is set by the option, or missing."""
    registry = scripted(content_type=shown)
    registry.add("a/b", IMAGE, "v1")

    answer = ask(registry.address, "GET", "/v2/a/b/manifests/v1", headers=accept())

    assert (None if shown == "none" else shown) == answer.headers.get("Content-Type")
    assert IMAGE.manifest == answer.body


def test_digest_header_may_be_missing(scripted: Scripted) -> None:
    """Without digest_header no answer has a Docker-Content-Digest."""
    registry = scripted(digest_header=False)
    with Wire(Endpoint(address=registry.address)) as wire:
        push(wire, "a/b", IMAGE, "v1")

        answer = wire.manifest("a/b", "v1")

    assert (200, None) == (answer.status, answer.headers.get("Docker-Content-Digest"))


def test_head_may_be_unsupported(scripted: Scripted) -> None:
    """Without head the HEAD of a manifest is 405 and its GET works."""
    registry = scripted(head=False)
    registry.add("a/b", IMAGE, "v1")

    statuses = [
        ask(registry.address, method, "/v2/a/b/manifests/v1", headers=accept()).status
        for method in ("HEAD", "GET")
    ]

    assert [405, 200] == statuses


def test_references_may_be_unchecked(scripted: Scripted) -> None:
    """Without check_references a manifest is stored although its blobs are missing."""
    registry = scripted(check_references=False)
    headers = {"Content-Type": IMAGE.media_type}

    answer = ask(registry.address, "PUT", "/v2/a/b/manifests/v1", headers=headers, body=IMAGE.manifest)

    assert (201, {"v1": IMAGE.digest}) == (answer.status, registry.tags("a/b"))


@pytest.mark.parametrize("signed", [False, True])
def test_schema_1_may_be_accepted(scripted: Scripted, signed: bool) -> None:  # noqa: FBT001  a parameter of the test
    """With schema1 both forms are stored under the digest of the payload."""
    old = content.schema1(content.layer("old"), signed=signed)
    registry = scripted(schema1=True)
    with Wire(Endpoint(address=registry.address)) as wire:
        push(wire, "old/image", old, "latest")

    assert {"latest": old.digest} == registry.tags("old/image")
    assert old.manifest == registry.manifest("old/image", old.digest)


def test_foreign_layer_with_urls_may_be_missing(scripted: Scripted) -> None:
    """A layer with urls may be missing."""
    registry = scripted()
    with Wire(Endpoint(address=registry.address)) as wire:
        tree = content.foreign_image(content.layer("here"), content.layer("elsewhere"))
        push(wire, "a/b", tree, "v1")

    assert {"v1": tree.digest} == registry.tags("a/b")


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("ecr", (400, "TAG_INVALID")),
        ("harbor", (412, "PRECONDITION")),
        ("quay", (409, "TAG_IMMUTABLE")),
        ("acr", (405, "UNSUPPORTED")),
    ],
)
def test_immutable_tag_is_not_overwritten(scripted: Scripted, how: str, expected: tuple[int, str]) -> None:
    """An existing tag is not overwritten; a new tag and a digest are accepted."""
    registry = scripted(immutable=how)
    registry.add("a/b", IMAGE, "v1")
    headers = {"Content-Type": IMAGE.media_type}

    answers = [
        ask(registry.address, "PUT", f"/v2/a/b/manifests/{name}", headers=headers, body=IMAGE.manifest)
        for name in ("v1", "v2", IMAGE.digest)
    ]

    assert expected == (answers[0].status, code(answers[0]))
    assert [201, 201] == [answer.status for answer in answers[1:]]


def test_read_only_refuses_every_push(scripted: Scripted) -> None:
    """With read_only every push is refused."""
    registry = scripted(read_only=True)

    assert 405 == ask(registry.address, "POST", "/v2/a/b/blobs/uploads/").status


def test_push_may_need_an_existing_repository(scripted: Scripted) -> None:
    """With create_first a push is 404 NAME_UNKNOWN until the repository was created."""
    registry = scripted(create_first=True)
    refused = ask(registry.address, "POST", "/v2/a/b/blobs/uploads/")
    registry.create("a/b")

    assert (404, "NAME_UNKNOWN") == (refused.status, code(refused))
    assert 202 == ask(registry.address, "POST", "/v2/a/b/blobs/uploads/").status


def test_oversized_manifest_is_413(scripted: Scripted) -> None:
    """A manifest above max_manifest gets 413."""
    registry = scripted(max_manifest=10)
    headers = {"Content-Type": IMAGE.media_type}

    answer = ask(registry.address, "PUT", "/v2/a/b/manifests/v1", headers=headers, body=IMAGE.manifest)

    assert 413 == answer.status


def test_deletes_manifests_and_tags(scripted: Scripted) -> None:
    """DELETE of a tag removes the tag, of a digest the manifest with all its tags."""
    registry = scripted()
    registry.add("a/b", IMAGE, "v1", "v2")

    ask(registry.address, "DELETE", "/v2/a/b/manifests/v1")
    assert {"v2": IMAGE.digest} == registry.tags("a/b")
    ask(registry.address, "DELETE", f"/v2/a/b/manifests/{IMAGE.digest}")
    assert ({}, []) == (registry.tags("a/b"), registry.manifests("a/b"))
