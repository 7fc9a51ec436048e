"""Examples of rules, run as a user does, between real registries that stand in for the named ones."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.real.wire import Wire, sha256
from tests.real.witness import digest_of, flaws, manifest_of, tags_of
from tests.registry.content import attestation, image, index, layer

if TYPE_CHECKING:
    from tests.e2e.command import Command
    from tests.real.fixtures import StartRegistry
    from tests.real.servers import DockerRegistry
    from tests.registry.content import Content

EXAMPLE = Path(__file__).parents[2] / "example" / "options.yaml"
SOURCES = {
    "coreos/etcd": ["v3.4.15", "v3.5.0", "v3.6.0"],
    "library/python": [
        *(
            f"3.{minor}.{patch}{kind}"
            for minor in (11, 12, 13)
            for patch in (8, 9)
            for kind in ("", "-alpine")
        ),
        *("3.14.0", "3.14.0-alpine", "3.14.0-slim", "3.15.0a1", "3.15.0a1-alpine", "3.14", "3", "latest"),
    ],
    "prometheus/prometheus": [*(f"v2.{minor}.0" for minor in range(40, 56)), "v3.0.0-rc.1", "main", "latest"],
    "library/nginx": [
        *(f"1.{minor}.0{kind}" for minor in range(22, 29) for kind in ("", "-alpine", "-perl")),
        *("mainline", "1.28-alpine"),
    ],
    "base/java": ["17", "21", "21-debug"],
    "library/alpine": ["latest", "3.22", "3.21", "edge", "20250108"],
    "team/app": ["v1.0.0", "v1.0.1", "v1.1.0", "v1.1.0-debug", "main"],
    "coreos/flannel": ["v0.27.4"],
    "acme/agent": ["4.0.0", "4.1.0", "3.9.0"],
    "library/busybox": ["1.36"],
}
"""Tags in the shape of those in the examples' repositories."""


def multi(name: str) -> Content:
    """An index of three platforms with an attestation."""
    amd, *others = (image(layer(f"{name} {each}"), architecture=each) for each in ("amd64", "arm64", "s390x"))
    return index(amd, *others, attestation(amd))


def push(registry: DockerRegistry, repository: str, tag: str) -> None:
    """Store an image in a registry."""
    top = multi(f"{repository}:{tag}")
    with Wire(registry.endpoint) as wire:
        for blob in top.all_blobs.values():
            wire.send_blob(repository, blob)
        for each in top.walk():
            wire.send_manifest(repository, tag if each is top else each.digest, each.manifest)


class Registries:
    """A source for all registries that the examples read, and a mirror for those that they write."""

    def __init__(self, command: Command, source: DockerRegistry, mirror: DockerRegistry) -> None:
        """See the class."""
        self.command, self.source, self.mirror = command, source, mirror
        command.insecure(source.address, mirror.address)

    def write(self, text: str, name: str = "images.yaml") -> None:
        """Write rules with the registries' addresses instead of the hosts; fill their sources."""
        for repository, tags in SOURCES.items():
            if f"/{repository}" in text:
                for tag in tags:
                    push(self.source, repository, tag)
        text = text.replace("\nregistry.example.com/", "\nswr.example.com/")
        for host in ("docker.io", "quay.io", "ghcr.io", "swr.example.com"):
            text = text.replace(f"{host}/", f"{self.source.address}/")
        for host in ("registry.example.com", "mirror.example.org", "swr.other.com"):
            text = text.replace(host, self.mirror.address)
        self.command.write(name, text)

    def tags(self, repository: str) -> set[str]:
        """The content of the mirror."""
        return set(tags_of(self.mirror.endpoint, repository))

    def architectures(self, image: str) -> list[str]:
        """The entries of a mirrored index, in order."""
        found = json.loads(manifest_of(self.mirror.endpoint, image))
        return [entry["platform"]["architecture"] for entry in found["manifests"]]

    def requests(self) -> tuple[list[str], list[str]]:
        """The requests of both registries so far, except the version check."""
        return (_requests(self.source), _requests(self.mirror))


def _requests(registry: DockerRegistry) -> list[str]:
    found = (f"{each.method} {each.path.partition('?')[0]}" for each in registry.requests())
    return [each for each in found if each != "GET /v2/"]


@pytest.fixture
def registries(command: Command, docker_registry: StartRegistry) -> Registries:
    """Two real registries."""
    return Registries(command, docker_registry(), docker_registry())


def test_named_tags(registries: Registries) -> None:
    """The short form copies the named tags."""
    registries.write("quay.io/coreos/etcd:v3.4.15,v3.5.0: registry.example.com/mirror/etcd\n")

    result = registries.command.run()

    assert result.code == 0, result.text
    assert {"v3.4.15", "v3.5.0"} == registries.tags("mirror/etcd")
    assert [] == flaws(registries.mirror.endpoint, "mirror/etcd:v3.5.0")


def test_newest_of_each_series(registries: Registries) -> None:
    """The newest of each series and a floating tag, on two platforms; no other tag is looked up."""
    registries.write("""
docker.io/library/python:
  to: registry.example.com/mirror/python
  tags: {include: ["*.*.*", "*.*.*-alpine", "*.*.*-slim"], versions: ">=3.12", newest: 3, always: [latest]}
  platforms: [linux/amd64, linux/arm64]
""")
    before = len(registries.source.requests())

    result = registries.command.run()

    expected = {"3.14.0", "3.13.9", "3.13.8", "3.14.0-slim", "latest"}
    expected |= {"3.14.0-alpine", "3.13.9-alpine", "3.13.8-alpine"}
    asked = {each.path.rpartition("/")[2] for each in registries.source.requests()[before:]}
    assert result.code == 0, result.text
    assert expected == registries.tags("mirror/python")
    assert ["amd64", "arm64", "unknown"] == registries.architectures("mirror/python:3.14.0")
    assert expected == asked & set(SOURCES["library/python"])


def test_released_tags_never_move(registries: Registries) -> None:
    """Existing kept tags cost one list of each side, and no request of their own."""
    registries.write("""
quay.io/prometheus/prometheus:
  to: registry.example.com/prometheus/prometheus
  tags: {versions: ">=2.45", at_least: 10}
  keep: "v*"
""")
    first = registries.command.run()
    before = registries.requests()

    second = registries.command.run()

    after = registries.requests()
    assert (0, 0, 11, 11) == (first.code, second.code, first.finish["copied"], second.finish["kept"])
    assert {f"v2.{minor}.0" for minor in range(45, 56)} == registries.tags("prometheus/prometheus")
    listed = "GET /v2/prometheus/prometheus/tags/list"
    assert [[listed], [listed]] == [new[len(old) :] for old, new in zip(before, after, strict=True)]


def test_two_selections_of_one_source(registries: Registries) -> None:
    """A list of maps is two rules; the second copies one platform's image for each tag."""
    registries.write("""
docker.io/library/nginx:
  - {to: registry.example.com/web/nginx, tags: {include: "*.*.*-alpine", newest: 5}}
  - to: registry.example.com/edge/nginx-arm
    tags: {include: "*.*.*", newest: 2}
    platforms: [linux/arm64]
    index: single
""")

    result = registries.command.run()

    assert result.code == 0, result.text
    assert {f"1.{minor}.0-alpine" for minor in range(24, 29)} == registries.tags("web/nginx")
    alike = {"1.28.0", "1.27.0"}
    assert {f"{tag}{kind}" for tag in alike for kind in ("", "-alpine", "-perl")} == registries.tags(
        "edge/nginx-arm"
    )
    arm = image(layer("library/nginx:1.28.0 arm64"), architecture="arm64")
    assert arm.digest == digest_of(registries.mirror.endpoint, "edge/nginx-arm:1.28.0")


DEFAULTS = """
.defaults:
  platforms: [linux/amd64]
  attestations: drop
  tags: {exclude: ["*-debug"]}
swr.example.com/base/java: swr.other.com/base/java
docker.io/someone/flaky: {to: swr.other.com/x/flaky, optional: true, retries: 5}
"""


def test_defaults_and_optional_rules(registries: Registries) -> None:
    """Defaults apply to the short form; a failed optional rule is listed, and can be run again."""
    registries.write(DEFAULTS)

    result = registries.command.run("--output-failed-images", "failed.yaml")
    push(registries.source, "someone/flaky", "1.0")
    push(registries.source, "someone/flaky", "1.0-debug")
    again = registries.command.run("--images", "failed.yaml", "--output-failed-images", "left.yaml")

    assert (0, 1) == (result.code, result.finish["optional"]), result.text
    assert {"17", "21"} == registries.tags("base/java")
    assert ["amd64"] == registries.architectures("base/java:21")
    assert (0, 1) == (again.code, again.finish["copied"]), again.text
    assert {"1.0"} == registries.tags("x/flaky")
    assert ["amd64"] == registries.architectures("x/flaky:1.0")


def test_list_of_failures_can_be_run(registries: Registries, docker_registry: StartRegistry) -> None:
    """Running the list of failures leads to the same digests as a run without faults."""
    text = EXAMPLE.read_text()
    registries.write(text)
    blobs = registries.source.storage / "docker/registry/v2/blobs/sha256"
    lost = [
        blobs / digest[:2] / digest / "data"
        for name in ("library/python:3.14.0", "library/nginx:1.28.0", "library/nginx:1.27.0-alpine")
        for digest in (hashlib.sha256(layer(f"{name} {each}")).hexdigest() for each in ("amd64", "arm64"))
    ]
    for path in lost:
        path.rename(path.with_name("away"))
    first = registries.command.run("--retries", "0", "--output-failed-images", "failed.yaml")
    for path in lost:
        path.with_name("away").rename(path)

    again = registries.command.run("--images", "failed.yaml", "--output-failed-images", "left.yaml")

    assert (1, 0) == (first.code, again.code), again.text
    failed = first.finish["failed"]
    assert failed >= 4
    assert failed == again.finish["copied"]
    troubled, calm = registries.mirror, docker_registry()
    straight = Registries(registries.command, registries.source, calm)
    straight.write(text, "straight.yaml")
    assert 0 == registries.command.run("--images", "straight.yaml", "--records", "other").code
    assert digests(calm) == digests(troubled)


def digests(registry: DockerRegistry) -> dict[str, str]:
    """Every tag of a registry, with its digest."""
    with Wire(registry.endpoint) as wire:
        names = json.loads(wire.need(200, "GET", "/v2/_catalog?n=1000").body)["repositories"]
        tags = {
            name: json.loads(wire.need(200, "GET", f"/v2/{name}/tags/list").body)["tags"] for name in names
        }
        return {
            f"{name}:{tag}": sha256(wire.manifest(name, tag).body)
            for name in names
            for tag in tags[name] or ()
        }


def test_example_file_does_what_it_says(registries: Registries) -> None:
    """The file in example/ does what its comments say."""
    registries.write(EXAMPLE.read_text())

    planned, result = registries.command.run("plan"), registries.command.run()

    assert (0, 0) == (planned.code, result.code), result.text
    assert (1, 2) == (result.finish["optional"], result.finish["held"])
    assert {"latest", "3.22", "3.21", "edge"} == registries.tags("mirror/alpine")
    assert {"v1.0.0", "v1.0.1", "v1.1.0"} == registries.tags("team/app")
    host = registries.source.address.replace(":", "-")
    assert {"mirrored-v0.27.4"} == registries.tags(f"backup/{host}/coreos/flannel")
    assert {"1.36"} == registries.tags("mirror/busybox") == registries.tags("flat/library-busybox")
    assert ["amd64", "arm64", "s390x", "unknown"] == registries.architectures("mirror/busybox:1.36")
    assert ["amd64", "arm64"] == registries.architectures("base/java:21")
