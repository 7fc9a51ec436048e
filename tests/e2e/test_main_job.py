"""The main job on real images between real registries, checked by tools that share no code with ours."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.real.witness import digest_of, flaws, manifest_of, tags_of

if TYPE_CHECKING:
    from tests.e2e.command import Command
    from tests.real.fixtures import StartRegistry
    from tests.real.images import Layout

KINDS = ("multi", "nested", "single", "artifact", "bare")


def test_every_kind_is_copied_byte_for_byte(
    command: Command, docker_registry: StartRegistry, layout: Layout
) -> None:
    """Indexes, nested or not, entries without platform, images and artifacts are copied byte for byte."""
    source, mirror = docker_registry(), docker_registry()
    for kind in KINDS:
        layout.send(layout.tagged(kind), source.endpoint, f"team/app:{kind}")
    command.rules({f"{source.address}/team/app": f"{mirror.address}/copy/app"})
    command.insecure(source.address, mirror.address)

    result = command.run()

    assert (result.code, result.finish["copied"]) == (0, len(KINDS)), result.text
    assert tags_of(mirror.endpoint, "copy/app") == sorted(KINDS)
    for kind in KINDS:
        assert flaws(mirror.endpoint, f"copy/app:{kind}") == []
        assert digest_of(mirror.endpoint, f"copy/app:{kind}") == layout.tagged(kind)["digest"]


def test_second_run_costs_two_heads_per_tag(
    command: Command, docker_registry: StartRegistry, layout: Layout
) -> None:
    """A second run costs one page of tags and two HEADs a tag, and changes nothing."""
    source, mirror = docker_registry(), docker_registry()
    for kind in KINDS:
        layout.send(layout.tagged(kind), source.endpoint, f"team/app:{kind}")
    command.rules({f"{source.address}/team/app": f"{mirror.address}/copy/app"})
    command.insecure(source.address, mirror.address)
    assert command.run().code == 0
    before = len(source.requests()), len(mirror.requests())

    result = command.run()

    asked = source.requests()[before[0] :]
    assert sorted(request.method for request in asked) == ["GET", *["HEAD"] * len(KINDS)]
    assert [request.method for request in mirror.requests()[before[1] :]] == ["HEAD"] * len(KINDS)
    assert result.finish["unchanged"] == len(KINDS)


def test_docker_types(command: Command, docker_registry: StartRegistry, layout: Layout) -> None:
    """Docker schema 2, manifest lists and signed schema 1, as pushed by skopeo, are copied completely."""
    source, mirror = docker_registry(schema1=True), docker_registry(schema1=True)
    layout.push("pair", source.endpoint, "team/app:list", form="v2s2")
    layout.push("single", source.endpoint, "team/app:two", form="v2s2")
    layout.push("single", source.endpoint, "team/app:one", form="v2s1")
    command.rules({f"{source.address}/team/app": f"{mirror.address}/team/app"})
    command.insecure(source.address, mirror.address)

    result = command.run()

    assert (result.code, result.finish["copied"]) == (0, 3), result.text
    for tag in ("list", "two", "one"):
        here, there = (manifest_of(each.endpoint, f"team/app:{tag}") for each in (source, mirror))
        assert _unsigned(here) == _unsigned(there)
        assert flaws(mirror.endpoint, f"team/app:{tag}") == []


def _unsigned(manifest: bytes) -> dict[str, object]:
    """The signed content, since docker-registry signs schema 1 again at every GET."""
    return {key: value for key, value in json.loads(manifest).items() if key != "signatures"}


def test_zstd_layers(command: Command, docker_registry: StartRegistry, layout: Layout) -> None:
    """Layers that skopeo compressed with zstd are copied unchanged."""
    source, mirror = docker_registry(), docker_registry()
    layout.recompress("single", form="zstd").push("single", source.endpoint, "team/app:zstd")
    command.insecure(source.address, mirror.address)

    result = command.run("copy", f"{source.address}/team/app:zstd", f"{mirror.address}/team/app")

    assert result.code == 0, result.text
    assert flaws(mirror.endpoint, "team/app:zstd") == []
    assert b"zstd" in manifest_of(mirror.endpoint, "team/app:zstd")


def test_utf8_password_and_private_ca(
    command: Command, docker_registry: StartRegistry, layout: Layout
) -> None:
    """A copy from a registry with a UTF-8 password to one with TLS of a private CA needs no `insecure`."""
    source = docker_registry(users={"jürgen": "pä$$wörd"})
    mirror = docker_registry(tls=True)
    layout.send(layout.tagged("multi"), source.endpoint, "team/app:v1")
    command.rules({f"{source.address}/team/app:v1": f"{mirror.address}/team/app:v2"})
    command.write(
        "auth.json",
        {f"{source.address}/team": {"username": "jürgen", "password": "pä$$$$wörd", "insecure": True}},
    )

    result = command.run(SSL_CERT_FILE=str(mirror.endpoint.ca))

    assert result.code == 0, result.text
    assert flaws(mirror.endpoint, "team/app:v2") == []
    chosen = [event["msg"] for event in result.events("credentials.chosen")]
    assert any("auth.json" in words and "/team" in words for words in chosen)
    assert "wörd" not in result.text


def test_untrusted_certificate_fails_the_image(
    command: Command, docker_registry: StartRegistry, layout: Layout
) -> None:
    """An untrusted certificate fails the image with that reason."""
    source, mirror = docker_registry(), docker_registry(tls=True)
    layout.send(layout.tagged("single"), source.endpoint, "team/app:v1")
    command.rules({f"{source.address}/team/app:v1": f"{mirror.address}/team/app"})
    command.insecure(source.address)

    result = command.run("--retries", "0")

    assert result.code == 1
    (failure,) = result.events("image.failed")
    assert "certificate" in failure["msg"].lower()
    assert (failure["side"], failure["registry"]) == ("destination", mirror.address)


def test_wrong_password_is_never_retried(
    command: Command, docker_registry: StartRegistry, layout: Layout
) -> None:
    """A wrong password is sent once for each image, never retried, and never shown."""
    source, mirror = docker_registry(users={"user": "right"}), docker_registry()
    layout.send(layout.tagged("single"), source.endpoint, "team/app:v1")
    command.rules({f"{source.address}/team/app:v1": f"{mirror.address}/team/app"})
    command.write(
        "auth.json",
        {
            source.address: {"username": "user", "password": "wr0ng-secret", "insecure": True},
            mirror.address: {"insecure": True},
        },
    )
    before = len(source.requests())

    result = command.run()

    assert result.code == 1
    (failure,) = result.events("image.failed")
    assert (failure["status"], failure["retryable"]) == ("401", "false")
    assert "wr0ng-secret" not in result.text
    assert len(source.requests()) - before <= 3


@pytest.mark.parametrize(
    ("flags", "kept"),
    [
        (["--arch", "amd64"], ["amd64", "unknown"]),
        (["--arch", "arm64:v8"], ["arm64"]),
        (["--os", "linux", "--arch", "amd64,arm64"], ["amd64", "arm64", "unknown"]),
    ],
)
def test_filter_keeps_matching_index_entries(
    command: Command, docker_registry: StartRegistry, layout: Layout, flags: list[str], kept: list[str]
) -> None:
    """A filter keeps the matching entries with their attestations; if it keeps all, the digest stays."""
    source, mirror = docker_registry(), docker_registry()
    layout.send(layout.tagged("multi"), source.endpoint, "team/app:v1")
    command.rules({f"{source.address}/team/app:v1": f"{mirror.address}/team/app"})
    command.insecure(source.address, mirror.address)

    result = command.run(*flags)

    assert result.code == 0, result.text
    there = json.loads(manifest_of(mirror.endpoint, "team/app:v1"))
    assert [entry["platform"]["architecture"] for entry in there["manifests"]] == kept
    assert there["annotations"] == {"made": "for tests"}
    assert flaws(mirror.endpoint, "team/app:v1") == []
    same = digest_of(mirror.endpoint, "team/app:v1") == layout.tagged("multi")["digest"]
    assert same == (len(kept) == 3)
    assert len(result.events("image.rewritten")) == (0 if same else 1)
    again = command.run(*flags)
    assert again.finish["unchanged"] == 1
    assert again.finish["requests"] <= 4


def test_filter_of_single_images(command: Command, docker_registry: StartRegistry, layout: Layout) -> None:
    """A single image is filtered by its config; one that does not match is skipped, not failed."""
    source, mirror = docker_registry(), docker_registry()
    layout.send(layout.tagged("single"), source.endpoint, "team/app:oci")
    layout.push("single", source.endpoint, "team/app:docker", form="v2s2")
    layout.send(layout.tagged("artifact"), source.endpoint, "team/app:chart")
    command.rules({f"{source.address}/team/app": f"{mirror.address}/team/app"})
    command.insecure(source.address, mirror.address)

    result = command.run("--arch=arm64")

    assert (result.code, result.finish["skipped"], result.finish["copied"]) == (0, 2, 1), result.text
    assert tags_of(mirror.endpoint, "team/app") == ["chart"]


def test_shared_blob_is_read_once(command: Command, docker_registry: StartRegistry, layout: Layout) -> None:
    """Three repositories that share layers read each from the source once; the others mount."""
    source, mirror = docker_registry(), docker_registry()
    for name in "abc":
        layout.send(layout.tagged("multi"), source.endpoint, f"team/{name}:v1")
    before = len(source.requests())
    command.rules({f"{source.address}/team/{name}": f"{mirror.address}/team/{name}" for name in "abc"})
    command.insecure(source.address, mirror.address)

    result = command.run()

    assert result.code == 0, result.text
    asked = source.requests()[before:]
    blobs = [r.path.rpartition("/")[2] for r in asked if r.method == "GET" and "/blobs/" in r.path]
    assert len(blobs) == len(set(blobs))
    assert result.finish["mounted"] == 2 * result.finish["uploaded"]
    assert all(flaws(mirror.endpoint, f"team/{name}:v1") == [] for name in "abc")


def test_copy_within_one_registry_reads_no_blob(
    command: Command, docker_registry: StartRegistry, layout: Layout
) -> None:
    """Within one registry no blob is read, and a retag within one repository is one PUT."""
    registry = docker_registry()
    layout.send(layout.tagged("multi"), registry.endpoint, "team/app:v1")
    before = len(registry.requests())
    command.rules(
        {
            f"{registry.address}/team/app:v1": [
                f"{registry.address}/team/app:stable",
                f"{registry.address}/else/app",
            ]
        }
    )
    command.insecure(registry.address)

    result = command.run()

    assert (result.code, result.finish["copied"]) == (0, 2), result.text
    asked = registry.requests()[before:]
    assert not [r for r in asked if r.method == "GET" and "/blobs/" in r.path]
    assert len([r for r in asked if r.method == "PUT" and "/team/app/" in r.path]) == 1
    assert flaws(registry.endpoint, "else/app:v1") == []


def test_damaged_source_blob_fails_its_image(
    command: Command, docker_registry: StartRegistry, layout: Layout
) -> None:
    """A blob whose content does not match is never stored, and its image fails with both digests."""
    source, mirror = docker_registry(), docker_registry()
    layout.send(layout.tagged("single"), source.endpoint, "team/app:v1")
    manifest = json.loads(manifest_of(source.endpoint, "team/app:v1"))
    digest = manifest["layers"][0]["digest"]
    (data,) = source.storage.glob(f"**/blobs/sha256/*/{digest.partition(':')[2]}/data")
    data.write_bytes(data.read_bytes()[:-1] + b"!")
    command.rules({f"{source.address}/team/app": f"{mirror.address}/team/app"})
    command.insecure(source.address, mirror.address)

    result = command.run()

    assert result.code == 1
    (failure,) = result.events("image.failed")
    assert failure["code"] == "DIGEST_MISMATCH"
    assert digest in failure["msg"]
    assert not list(mirror.storage.glob(f"**/{digest.partition(':')[2]}"))
    assert not list(mirror.storage.glob("**/_manifests/tags/*"))


def test_missing_tag_and_repository_fail_alone(
    command: Command, docker_registry: StartRegistry, layout: Layout
) -> None:
    """A missing tag and a missing repository fail on their own; the rest is copied."""
    source, mirror = docker_registry(), docker_registry()
    layout.send(layout.tagged("single"), source.endpoint, "team/app:v1")
    command.rules(
        {
            f"{source.address}/team/app:v1,v2": f"{mirror.address}/team/app",
            f"{source.address}/team/nothing": f"{mirror.address}/team/nothing",
        }
    )
    command.insecure(source.address, mirror.address)

    result = command.run(
        "--output-success-images",
        "good.json",
        "--output-images-format",
        "json",
        "--output-failed-images",
        "bad.yaml",
    )

    assert result.code == 1
    assert (result.finish["copied"], result.finish["failed"], result.finish["rules_failed"]) == (1, 1, 1)
    good = json.loads((command.folder / "good.json").read_text())
    assert good == {f"{source.address}/team/app:v1": [f"{mirror.address}/team/app:v1"]}
    bad = (command.folder / "bad.yaml").read_text()
    assert "team/app:v2" in bad
    assert "team/nothing" in bad
    layout.send(layout.tagged("single"), source.endpoint, "team/app:v2")
    layout.send(layout.tagged("single"), source.endpoint, "team/nothing:v1")
    assert command.run("--images", "bad.yaml", "--auth", "auth.json").code == 0
    assert tags_of(mirror.endpoint, "team/app") == ["v1", "v2"]
    assert tags_of(mirror.endpoint, "team/nothing") == ["v1"]


def test_force_sends_no_present_blob(
    command: Command, docker_registry: StartRegistry, layout: Layout
) -> None:
    """--force pushes manifests again and sends no blob that is present."""
    source, mirror = docker_registry(), docker_registry()
    layout.send(layout.tagged("multi"), source.endpoint, "team/app:v1")
    command.rules({f"{source.address}/team/app": f"{mirror.address}/team/app"})
    command.insecure(source.address, mirror.address)
    assert command.run().code == 0

    result = command.run("--force=true")

    assert (result.finish["copied"], result.finish["uploaded"]) == (1, 0)


def test_lost_blob_is_sent_again(command: Command, docker_registry: StartRegistry, layout: Layout) -> None:
    """A new image with blobs that only the records believe to be present is completed."""
    source, mirror = docker_registry(), docker_registry(delete=True)
    layout.send(layout.tagged("single"), source.endpoint, "team/app:v1")
    command.rules({f"{source.address}/team/app": f"{mirror.address}/team/app"})
    command.insecure(source.address, mirror.address)
    assert command.run().code == 0
    for link in mirror.storage.glob("**/_layers/sha256/*"):
        for file in link.iterdir():
            file.unlink()
    single = json.loads(layout.read(layout.tagged("single")["digest"]))
    other = layout.add_json({**single, "annotations": {"another": "manifest of the same blobs"}})
    layout.send(other, source.endpoint, "team/app:v2")

    result = command.run()

    assert result.code == 0, result.text
    assert flaws(mirror.endpoint, "team/app:v2") == []
