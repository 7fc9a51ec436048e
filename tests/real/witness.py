"""The content of a registry, read with skopeo and plain HTTP, to check every copy."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from tests.real.tools import run
from tests.real.wire import DOCKER_LIST, OCI_INDEX, Wire, sha256

if TYPE_CHECKING:
    from tests.real.wire import Answer, Endpoint


def skopeo_flags(registry: Endpoint, side: str = "") -> list[str]:
    """The flags of skopeo for a registry; `side` is `src-` or `dest-` if a command has two of them."""
    flags = [f"--{side}tls-verify={'true' if registry.ca else 'false'}"]
    if registry.ca:
        flags += [f"--{side}cert-dir", str(registry.ca.parent)]
    if registry.authfile:
        flags += [f"--{side}authfile", str(registry.authfile)]
    return flags


def manifest_of(registry: Endpoint, image: str) -> bytes:
    """The bytes of a manifest, read by skopeo; `image` is `repository:tag` or `repository@digest`."""
    where = f"docker://{registry.address}/{image}"
    return run("skopeo", "inspect", "--raw", *skopeo_flags(registry), where).encode()


def digest_of(registry: Endpoint, image: str) -> str:
    """The digest of a tag, computed from the bytes that skopeo read."""
    return sha256(manifest_of(registry, image))


def tags_of(registry: Endpoint, repository: str) -> list[str]:
    """The tags of a repository, sorted, as skopeo lists them."""
    where = f"docker://{registry.address}/{repository}"
    listed: list[str] = json.loads(run("skopeo", "list-tags", *skopeo_flags(registry), where))["Tags"]
    return sorted(listed)


def flaws(registry: Endpoint, image: str) -> list[str]:
    """What is missing or wrong in an image and below it, one line each; empty if it is complete.

    Every child manifest and every blob is downloaded over plain HTTP from the image's own repository, and
    its digest and size are computed. `image` is `repository:tag` or `repository@digest`.
    """
    repository, name = split_image(image)
    with Wire(registry) as wire:
        judge = _Judge(wire, repository)
        judge.manifest(name)
    return judge.found


class _Judge:
    """One walk from a manifest down to its blobs, each requested once."""

    def __init__(self, wire: Wire, repository: str) -> None:
        self.found: list[str] = []
        self._wire = wire
        self._repository = repository
        self._seen: set[str] = set()

    def manifest(self, name: str, size: int | None = None) -> None:
        """Check a manifest and everything below it; `size` is what its descriptor states."""
        answer = self._wire.manifest(self._repository, name)
        if not self._is_right(answer, f"manifest {name}", digest=name if ":" in name else "", size=size):
            return
        manifest: dict[str, Any] = json.loads(answer.body)
        if manifest.get("mediaType", answer.headers["Content-Type"]) in {OCI_INDEX, DOCKER_LIST}:
            for entry in manifest["manifests"]:
                if self._is_new(entry["digest"]):
                    self.manifest(entry["digest"], entry["size"])
            return
        for blob in blobs_of(manifest):
            digest = blob["digest"]
            if self._is_new(digest):
                got = self._wire.ask("GET", f"/v2/{self._repository}/blobs/{digest}")
                self._is_right(got, f"blob {digest}", digest=digest, size=blob.get("size"))

    def _is_new(self, digest: str) -> bool:
        new = digest not in self._seen
        self._seen.add(digest)
        return new

    def _is_right(self, answer: Answer, what: str, *, digest: str, size: int | None) -> bool:
        if answer.status != 200:
            self.found.append(f"{what}: {answer.status}")
            return False
        algorithm, _, encoded = (digest or answer.headers["Docker-Content-Digest"]).partition(":")
        computed = hashlib.new(algorithm, answer.body).hexdigest()
        signed = "prettyjws" in (answer.headers["Content-Type"] or "")
        if computed != encoded and not signed:  # a signed schema 1's digest is that of its payload
            self.found.append(f"{what}: the bytes are {algorithm}:{computed}")
        if size is not None and size != len(answer.body):
            self.found.append(f"{what}: {len(answer.body)} bytes where its descriptor says {size}")
        return True


def split_image(image: str) -> tuple[str, str]:
    """`repository:tag` or `repository@digest`, split in two."""
    repository, _, name = image.partition("@") if "@" in image else image.rpartition(":")
    return repository, name


def blobs_of(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The descriptors of the blobs that one manifest needs; schema 1 states no sizes."""
    if manifest["schemaVersion"] == 1:
        return [{"digest": layer["blobSum"]} for layer in manifest["fsLayers"]]
    return [manifest["config"], *(layer for layer in manifest.get("layers", []) if not layer.get("urls"))]
