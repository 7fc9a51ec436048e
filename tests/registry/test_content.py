"""The makers of content follow the specifications."""

from __future__ import annotations

import json

import pytest

from tests.registry import content
from tests.registry.store import referred

LAYERS = (content.layer("one"), content.layer("two", size=1000))


def test_an_image_names_its_blobs() -> None:
    """The manifest lists config and layers with the digests and sizes of the blobs."""
    image = content.image(*LAYERS)
    body = json.loads(image.manifest)

    named = [(each["digest"], each["size"]) for each in [body["config"], *body["layers"]]]

    assert [(content.digest_of(blob), len(blob)) for blob in image.blobs] == named
    assert LAYERS == image.blobs[1:]


@pytest.mark.parametrize(
    ("docker", "expected"),
    [
        (False, {content.OCI_CONFIG, content.OCI_LAYER}),
        (True, {content.DOCKER_CONFIG, content.DOCKER_LAYER}),
    ],
)
def test_an_image_uses_one_family_of_types(docker: bool, expected: set[str]) -> None:  # noqa: FBT001  parameter
    """All types in an image are OCI's, or all are docker's."""
    body = json.loads(content.image(*LAYERS, docker=docker).manifest)

    assert expected == {each["mediaType"] for each in [body["config"], *body["layers"]]}


def test_an_index_states_platforms_and_attestations() -> None:
    """An entry has the platform of its image; an attestation has unknown/unknown and names its image."""
    image = content.image(*LAYERS, architecture="arm64", platform={"variant": "v8"})
    entries = json.loads(content.index(image, content.attestation(image)).manifest)["manifests"]

    assert {"architecture": "arm64", "os": "linux", "variant": "v8"} == entries[0]["platform"]
    assert {"architecture": "unknown", "os": "unknown"} == entries[1]["platform"]
    assert image.digest == entries[1]["annotations"]["vnd.docker.reference.digest"]


def test_a_tree_is_walked_leaves_first() -> None:
    """Children come before the index that names them."""
    image = content.image(*LAYERS)
    inner = content.index(image)
    outer = content.index(inner)

    assert [image, inner, outer] == list(outer.walk())
    assert set(outer.all_blobs) == set(map(content.digest_of, image.blobs))


def test_a_signed_schema_1_has_the_digest_of_its_payload() -> None:
    """The digest of the signed form is that of the unsigned one, not that of all its bytes."""
    signed, unsigned = (content.schema1(*LAYERS, signed=signed) for signed in (True, False))

    assert unsigned.digest == content.manifest_digest(signed.manifest) == signed.digest
    assert unsigned.digest == content.digest_of(unsigned.manifest)
    assert unsigned.digest != content.digest_of(signed.manifest)


def test_a_signed_schema_1_is_json_that_holds_its_payload() -> None:
    """The signed form is the payload plus the member `signatures`."""
    signed, unsigned = (
        json.loads(content.schema1(*LAYERS, signed=signed).manifest) for signed in (True, False)
    )

    assert ["ES256"] == [each["header"]["alg"] for each in signed.pop("signatures")]
    assert unsigned == signed


def test_schema_1_lists_the_newest_layer_first() -> None:
    """The layers of schema 1 are in reverse order."""
    body = json.loads(content.schema1(*LAYERS).manifest)

    assert list(map(content.digest_of, LAYERS[::-1])) == [each["blobSum"] for each in body["fsLayers"]]


def test_an_artifact_names_the_empty_config_and_its_subject() -> None:
    """The config of an artifact is the two bytes {}; its subject is a descriptor but not a child."""
    image = content.image(*LAYERS)
    artifact = content.artifact(b"signature", subject=image)
    body = json.loads(artifact.manifest)

    empty = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert (empty, image.digest) == (body["config"]["digest"], body["subject"]["digest"])
    assert ([empty, content.digest_of(b"signature")], []) == referred(artifact.manifest)


def test_a_foreign_layer_may_be_missing() -> None:
    """A layer with urls is not among the blobs that a registry must have."""
    image = content.foreign_image(*LAYERS)

    assert list(map(content.digest_of, image.blobs)) == referred(image.manifest)[0]
