"""The makers of images make what they promise, and the witnesses find every flaw."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.real.images import Layout, platform_of
from tests.real.tools import ToolError, run
from tests.real.wire import DOCKER_LIST, DOCKER_MANIFEST, Wire
from tests.real.witness import blobs_of, digest_of, flaws, manifest_of, tags_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.real.fixtures import StartRegistry

GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"


def multi_platform(folder: Path) -> Layout:
    """A layout with the images `amd` and `arm`, and the index `both` of the two."""
    layout = Layout(folder)
    images = [
        layout.make_image(name, platform=platform, word="x")
        for name, platform in (("amd", "linux/amd64"), ("arm", "linux/arm/v7"))
    ]
    layout.tag("both", layout.make_index(images))
    return layout


def test_image_has_the_requested_layers(needs_real: None, tmp_path: Path) -> None:
    """An image has the requested number of gzip layers, and images with the same word share them."""
    layout = multi_platform(tmp_path / "layout")

    amd, arm = (json.loads(layout.read(layout.tagged(name)["digest"])) for name in ("amd", "arm"))

    assert [layer["mediaType"] for layer in amd["layers"]] == [GZIP, GZIP]
    assert amd["layers"] == arm["layers"]
    assert amd["config"] != arm["config"]
    config = json.loads(layout.read(arm["config"]["digest"]))
    assert platform_of("linux/arm/v7") == {key: config[key] for key in ("os", "architecture", "variant")}


def test_pushed_index_arrives_complete(docker_registry: StartRegistry, tmp_path: Path) -> None:
    """An index pushed by skopeo arrives with its bytes, complete, under its tag."""
    registry = docker_registry(users={"user": "secret"}, tls=True)
    layout = multi_platform(tmp_path / "layout")

    layout.push("both", registry.endpoint, "team/app:v1")

    assert layout.tagged("both")["digest"] == digest_of(registry.endpoint, "team/app:v1")
    assert tags_of(registry.endpoint, "team/app") == ["v1"]
    assert flaws(registry.endpoint, "team/app:v1") == []


def test_v2s2_push_has_docker_types(docker_registry: StartRegistry, tmp_path: Path) -> None:
    """Pushed as v2s2, an image is a docker manifest and an index a docker list, complete below."""
    registry = docker_registry().endpoint
    layout = multi_platform(tmp_path / "layout")

    layout.push("amd", registry, "app:one", form="v2s2")
    layout.push("both", registry, "app:all", form="v2s2")

    types = [json.loads(manifest_of(registry, image))["mediaType"] for image in ("app:one", "app:all")]
    assert types == [DOCKER_MANIFEST, DOCKER_LIST]
    assert flaws(registry, "app:one") + flaws(registry, "app:all") == []


def test_v2s1_push_is_signed_schema_1(docker_registry: StartRegistry, tmp_path: Path) -> None:
    """An image pushed as v2s1 is a signed docker schema 1 manifest with all its blobs."""
    registry = docker_registry(schema1=True).endpoint
    layout = multi_platform(tmp_path / "layout")

    layout.push("amd", registry, "app:old", form="v2s1")

    manifest = json.loads(manifest_of(registry, "app:old"))
    assert manifest["schemaVersion"] == 1
    assert "signatures" in manifest
    assert flaws(registry, "app:old") == []


def test_recompressed_layers_are_zstd(docker_registry: StartRegistry, tmp_path: Path) -> None:
    """Recompressed layers are zstd by media type and by their first bytes, and arrive complete."""
    registry = docker_registry().endpoint
    layout = multi_platform(tmp_path / "layout").recompress("both", form="zstd")

    layout.push("both", registry, "app:zstd")

    entry = json.loads(manifest_of(registry, "app:zstd"))["manifests"][0]
    layer = json.loads(layout.read(entry["digest"]))["layers"][0]
    assert layer["mediaType"].endswith("+zstd")
    assert layout.read(layer["digest"]).startswith(b"\x28\xb5\x2f\xfd")
    assert flaws(registry, "app:zstd") == []


def test_nested_index_arrives_complete(docker_registry: StartRegistry, tmp_path: Path) -> None:
    """A nested index with an attestation and an artifact is pushed byte by byte, complete."""
    registry = docker_registry().endpoint
    layout = Layout(tmp_path / "layout")
    image = layout.make_image("amd")
    inner = layout.make_index([image, layout.make_attestation(image)], annotations={"a": "b"})
    artifact = layout.make_artifact(b"{}", kind="application/vnd.example.sbom+json", subject=image)
    outer = layout.make_index([inner, artifact])

    sent = layout.send(outer, registry, "app:nested")

    assert sent == digest_of(registry, "app:nested")
    assert flaws(registry, "app:nested") == []


@pytest.mark.parametrize("kind", ["blob", "manifest"])
def test_missing_content_is_a_flaw(docker_registry: StartRegistry, tmp_path: Path, kind: str) -> None:
    """A missing blob or child manifest in the registry is named as a flaw, whatever the tag says."""
    registry = docker_registry(delete=True)
    layout = multi_platform(tmp_path / "layout")
    layout.push("both", registry.endpoint, "app:v1")
    child = layout.tagged("amd")["digest"]
    layer = blobs_of(json.loads(layout.read(child)))[0]["digest"]
    digest = {"blob": layer, "manifest": child}[kind]

    with Wire(registry.endpoint) as wire:
        wire.need(202, "DELETE", f"/v2/app/{kind}s/{digest}")

    assert [f"{kind} {digest}: 404"] == flaws(registry.endpoint, "app:v1")


def test_changed_blob_is_a_flaw(docker_registry: StartRegistry, tmp_path: Path) -> None:
    """A blob with changed bytes is reported as a flaw, with the digest of its content."""
    registry = docker_registry()
    layout = multi_platform(tmp_path / "layout")
    layout.push("amd", registry.endpoint, "app:v1")
    config = json.loads(layout.read(layout.tagged("amd")["digest"]))["config"]
    encoded = config["digest"].removeprefix("sha256:")
    [stored] = registry.storage.rglob(f"blobs/sha256/*/{encoded}/data")

    stored.write_bytes(b" " * config["size"])

    [flaw] = flaws(registry.endpoint, "app:v1")
    assert flaw.startswith(f"blob {config['digest']}: the bytes are sha256:")


def test_tool_error_has_command_and_output(needs_real: None) -> None:
    """The error of a failed program has the command, the exit status and its output."""
    with pytest.raises(ToolError, match=r"skopeo inspect nonsense: exit status 1: .*nonsense"):
        run("skopeo", "inspect", "nonsense")


def test_same_image_has_the_same_digest(needs_real: None, tmp_path: Path) -> None:
    """The same image made twice has the same digest, at any time and place."""
    first, second = (Layout(tmp_path / name).make_image("x", word="w") for name in ("one", "two"))

    assert first == second
