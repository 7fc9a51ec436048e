"""The conformance suite: what the scripted registry and Debian's docker-registry have to answer alike."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.real.wire import Endpoint, Wire
from tests.registry import content
from tests.registry.asking import ABSENT, accept, code, location, put
from tests.registry.push import push

IMAGE = content.image(content.layer("one"), content.layer("two"))
DOCKER_IMAGE = content.image(content.layer("one"), docker=True)
ARM = content.image(content.layer("arm"), architecture="arm64", platform={"variant": "v8"})
TREES = {
    "oci-image": IMAGE,
    "docker-image": DOCKER_IMAGE,
    "oci-index": content.index(IMAGE, ARM, content.attestation(IMAGE)),
    "docker-list": content.index(DOCKER_IMAGE, docker=True),
    "nested-index": content.index(content.index(IMAGE), ARM),
    "artifact": content.artifact(b"a file"),
    "artifact-without-layers": content.artifact(),
    "repeated-layer": content.image(content.layer("one"), content.layer("one")),
    "subject-absent": content.artifact(b"signature", subject=ARM),
}


def test_answers_the_ping(wire: Wire) -> None:
    """GET /v2/ is answered with 200 and the version header of the docker registries."""
    answer = wire.ask("GET", "/v2/")

    assert (200, "registry/2.0") == (answer.status, answer.headers["Docker-Distribution-Api-Version"])


@pytest.mark.parametrize("name", TREES)
def test_keeps_manifest_bytes_of_every_type(wire: Wire, name: str) -> None:
    """A manifest that was pushed under a tag is returned byte for byte, with its type and digest."""
    tree = TREES[name]
    push(wire, "team/thing", tree, "v1")

    answer = wire.ask("GET", "/v2/team/thing/manifests/v1", headers=accept())

    assert (200, tree.manifest) == (answer.status, answer.body)
    assert tree.media_type == answer.headers["Content-Type"]
    assert tree.digest == answer.headers["Docker-Content-Digest"]


@pytest.mark.parametrize("name", TREES)
def test_keeps_every_manifest_by_digest(wire: Wire, name: str) -> None:
    """Each manifest of a tree is available by its digest."""
    push(wire, "team/thing", TREES[name], "v1")

    found = [wire.manifest("team/thing", each.digest).body for each in TREES[name].walk()]

    assert [each.manifest for each in TREES[name].walk()] == found


def test_head_describes_a_manifest(wire: Wire) -> None:
    """HEAD of a tag gives digest, length and type, and no body."""
    push(wire, "a/b", IMAGE, "v1")

    answer = wire.ask("HEAD", "/v2/a/b/manifests/v1", headers=accept())

    assert (200, b"") == (answer.status, answer.body)
    assert IMAGE.digest == answer.headers["Docker-Content-Digest"]
    assert str(len(IMAGE.manifest)) == answer.headers["Content-Length"]
    assert IMAGE.media_type == answer.headers["Content-Type"]


def test_manifest_put_returns_its_location(wire: Wire) -> None:
    """The answer to a PUT of a manifest has its Location and digest."""
    push(wire, "a/b", IMAGE)

    answer = put(wire, "a/b", "v1", IMAGE.manifest, IMAGE.media_type)

    assert (201, IMAGE.digest) == (answer.status, answer.headers["Docker-Content-Digest"])
    assert f"/v2/a/b/manifests/{IMAGE.digest}" == location(answer)


def test_second_push_moves_the_tag(wire: Wire) -> None:
    """A second push of a tag replaces the first, which stays by digest."""
    push(wire, "a/b", IMAGE, "v1")
    push(wire, "a/b", ARM, "v1")

    assert ARM.manifest == wire.manifest("a/b", "v1").body
    assert IMAGE.manifest == wire.manifest("a/b", IMAGE.digest).body


def test_if_none_match_returns_304(wire: Wire) -> None:
    """If-None-Match with the digest as entity tag is answered with 304."""
    push(wire, "a/b", IMAGE, "v1")

    headers = {**accept(), "If-None-Match": f'"{IMAGE.digest}"'}
    answer = wire.ask("GET", "/v2/a/b/manifests/v1", headers=headers)

    assert (304, b"") == (answer.status, answer.body)


@pytest.mark.parametrize("asked", ["*/*", "application/json", content.DOCKER_MANIFEST])
def test_manifest_type_not_in_accept_is_404(wire: Wire, asked: str) -> None:
    """An OCI manifest without its exact type in Accept is 404 MANIFEST_UNKNOWN."""
    push(wire, "a/b", IMAGE, "v1")

    answer = wire.ask("GET", "/v2/a/b/manifests/v1", headers=accept(asked))

    assert (404, "MANIFEST_UNKNOWN") == (answer.status, code(answer))


@pytest.mark.parametrize("name", ["v2", ABSENT])
def test_missing_manifest_is_404(wire: Wire, name: str) -> None:
    """A missing tag or digest gets 404 MANIFEST_UNKNOWN."""
    push(wire, "a/b", IMAGE, "v1")

    answer = wire.manifest("a/b", name)

    assert (404, "MANIFEST_UNKNOWN") == (answer.status, code(answer))


def test_refuses_manifest_with_missing_blobs(wire: Wire) -> None:
    """Missing blobs get 400 MANIFEST_BLOB_UNKNOWN, with one error for each that names its digest."""
    wire.send_blob("a/b", IMAGE.blobs[0])

    answer = put(wire, "a/b", "v1", IMAGE.manifest, IMAGE.media_type)
    errors = json.loads(answer.body)["errors"]

    assert 400 == answer.status
    assert {"MANIFEST_BLOB_UNKNOWN"} == {error["code"] for error in errors}
    assert sorted(map(content.digest_of, IMAGE.blobs[1:])) == sorted(error["detail"] for error in errors)
    assert 404 == wire.manifest("a/b", "v1").status


def test_refuses_index_with_missing_children(wire: Wire) -> None:
    """A missing child gets 400 MANIFEST_BLOB_UNKNOWN with its digest."""
    push(wire, "a/b", IMAGE)
    tree = content.index(IMAGE, ARM)

    answer = put(wire, "a/b", "v1", tree.manifest, tree.media_type)
    errors = json.loads(answer.body)["errors"]

    assert [("MANIFEST_BLOB_UNKNOWN", ARM.digest)] == [(error["code"], error["detail"]) for error in errors]


def test_blob_of_another_repository_does_not_count(wire: Wire) -> None:
    """A blob of another repository does not count."""
    push(wire, "a/b", IMAGE)

    answer = put(wire, "a/other", "v1", IMAGE.manifest, IMAGE.media_type)

    assert (400, "MANIFEST_BLOB_UNKNOWN") == (answer.status, code(answer))


def test_refuses_missing_foreign_layer_without_urls(wire: Wire) -> None:
    """A foreign layer that is missing and has no urls is refused (by distribution with 500 UNKNOWN)."""
    tree = content.foreign_image(content.layer("here"), content.layer("elsewhere"), urls=())
    for blob in tree.blobs:
        wire.send_blob("a/b", blob)

    answer = put(wire, "a/b", "v1", tree.manifest, tree.media_type)

    assert answer.status in (400, 500)
    assert "MANIFEST_BLOB_UNKNOWN" in answer.body.decode()


def test_refuses_manifest_with_wrong_digest(wire: Wire) -> None:
    """A manifest pushed under a wrong digest gets 400 DIGEST_INVALID."""
    push(wire, "a/b", IMAGE)

    answer = put(wire, "a/b", ABSENT, IMAGE.manifest, IMAGE.media_type)

    assert (400, "DIGEST_INVALID") == (answer.status, code(answer))


@pytest.mark.parametrize("media_type", ["application/json", content.DOCKER_MANIFEST])
def test_refuses_manifest_with_wrong_content_type(wire: Wire, media_type: str) -> None:
    """A Content-Type that is not the manifest's gets 400 MANIFEST_INVALID."""
    push(wire, "a/b", IMAGE)

    answer = put(wire, "a/b", "v1", IMAGE.manifest, media_type)

    assert (400, "MANIFEST_INVALID") == (answer.status, code(answer))


@pytest.mark.parametrize("body", [b"", b"no json", b"[]"])
def test_refuses_manifest_that_is_no_json_object(wire: Wire, body: bytes) -> None:
    """Bytes that are not a JSON object get 400 MANIFEST_INVALID."""
    answer = put(wire, "a/b", "v1", body, content.OCI_MANIFEST)

    assert (400, "MANIFEST_INVALID") == (answer.status, code(answer))


def test_accepts_an_empty_index(wire: Wire) -> None:
    """An index without entries is stored, so a filter must not push one."""
    empty = content.index()

    assert 201 == put(wire, "a/b", "v1", empty.manifest, empty.media_type).status


@pytest.mark.parametrize("signed", [False, True])
def test_refuses_docker_schema_1(wire: Wire, signed: bool) -> None:  # noqa: FBT001  a parameter of the test
    """A schema 1 manifest is refused by a registry that is not configured for it."""
    old = content.schema1(content.layer("old"), signed=signed)
    wire.send_blob("old/image", old.blobs[0])

    assert put(wire, "old/image", "latest", old.manifest, old.media_type).status >= 400


def test_lists_tags_of_a_repository(wire: Wire) -> None:
    """The tag list names the repository and every tag once."""
    push(wire, "a/b", IMAGE, "v2", "v1", "V3")
    push(wire, "a/b", ARM, "v1")

    answer = wire.ask("GET", "/v2/a/b/tags/list")
    listing = json.loads(answer.body)

    assert (200, "a/b") == (answer.status, listing["name"])
    assert ["V3", "v1", "v2"] == sorted(listing["tags"])


def test_tag_list_of_missing_repository_is_404(wire: Wire) -> None:
    """The tag list of a missing repository gets 404 NAME_UNKNOWN."""
    answer = wire.ask("GET", "/v2/not/there/tags/list")

    assert (404, "NAME_UNKNOWN") == (answer.status, code(answer))


def test_referrers_api_is_404(wire: Wire) -> None:
    """The referrers API gets 404 with a page that is not JSON."""
    push(wire, "a/b", IMAGE, "v1")

    answer = wire.ask("GET", f"/v2/a/b/referrers/{IMAGE.digest}")

    assert (404, "404 page not found") == (answer.status, answer.body.decode().strip())


@pytest.mark.parametrize("path", ["/v2/UPPER/manifests/v1", "/v2/a/b", "/v2/a//b/tags/list", "/v3/"])
def test_unknown_path_is_404_or_redirect(wire: Wire, path: str) -> None:
    """A path outside the API gets 404 or a redirect to a cleaner path."""
    assert wire.ask("GET", path).status in (301, 404)


@pytest.mark.parametrize(
    "path", ["/v2/", "/v2/a/b/tags/list", "/v2/a/b/manifests/v1", f"/v2/a/b/blobs/{ABSENT}"]
)
def test_missing_or_wrong_login_gets_basic_challenge(locked: str, path: str) -> None:
    """Without credentials, or with wrong ones, every path gets 401 with a Basic challenge."""
    for password in ("", "wrong"):
        user = "user" if password else ""
        with Wire(Endpoint(address=locked, user=user, password=password)) as wire:
            answer = wire.ask("GET", path, headers=accept())

        assert (401, "UNAUTHORIZED") == (answer.status, code(answer))
        assert answer.headers["WWW-Authenticate"].startswith('Basic realm="')


def test_basic_login_is_accepted(locked: str) -> None:
    """With the right credentials every request succeeds."""
    with Wire(Endpoint(address=locked, user="user", password="pass")) as wire:
        push(wire, "a/b", IMAGE, "v1")

        assert IMAGE.manifest == wire.manifest("a/b", "v1").body


def test_errors_have_code_message_and_detail(wire: Wire) -> None:
    """An error body is JSON with a list of code, message and detail."""
    answer = wire.manifest("a/b", "v1")
    body: dict[str, list[dict[str, Any]]] = json.loads(answer.body)

    assert {"errors"} == set(body)
    assert {"code", "message", "detail"} == set(body["errors"][0])
    assert answer.headers["Content-Type"].startswith("application/json")
