"""Makers of real images: OCI layouts with busybox as root file system, packed by umoci, pushed by skopeo.

umoci supports one platform per image and skopeo 1.9 refuses nested indexes and artifacts, so indexes,
attestations and artifacts are written here, and `send` pushes any layout over plain HTTP.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.real.tools import run
from tests.real.wire import DOCKER_LIST, OCI_INDEX, OCI_MANIFEST, Wire, sha256
from tests.real.witness import blobs_of, skopeo_flags, split_image

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.real.wire import Endpoint

Descriptor = dict[str, Any]
"""A descriptor of the OCI image specification: mediaType, digest, size, and fields of its place."""

IN_TOTO = "application/vnd.in-toto+json"
EMPTY = "application/vnd.oci.empty.v1+json"
_EPOCH = 1_767_225_600  # 2026-01-01
_NAME = "org.opencontainers.image.ref.name"


class Layout:
    """An OCI image layout in a folder of its own.

    Args:
        folder: created here; must not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        """An empty layout."""
        self.folder = folder
        run("umoci", "init", "--layout", str(folder))

    def add(self, data: bytes, media_type: str) -> Descriptor:
        """Store a blob or manifest and describe it."""
        digest = sha256(data)
        self._path(digest).write_bytes(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def add_json(self, value: Mapping[str, Any]) -> Descriptor:
        """Store a manifest or index under the media type that it states."""
        return self.add(json.dumps(value, indent=2).encode(), value["mediaType"])

    def read(self, digest: str) -> bytes:
        """The bytes of a blob or manifest."""
        return self._path(digest).read_bytes()

    def tag(self, name: str, descriptor: Descriptor) -> None:
        """Let `name` point to a manifest or index of this layout."""
        place = self.folder / "index.json"
        index = json.loads(place.read_text())
        others = [entry for entry in index["manifests"] if entry.get("annotations", {}).get(_NAME) != name]
        index["manifests"] = [*others, {**descriptor, "annotations": {_NAME: name}}]
        place.write_text(json.dumps(index))

    def tagged(self, name: str) -> Descriptor:
        """The digest of `name`."""
        index = json.loads((self.folder / "index.json").read_text())
        for entry in index["manifests"]:
            if entry.get("annotations", {}).get(_NAME) == name:
                return {key: entry[key] for key in ("mediaType", "digest", "size")}
        raise KeyError(name)

    def _path(self, digest: str) -> Path:
        return self.folder / "blobs" / Path(*digest.split(":"))

    def make_image(
        self, name: str, *, platform: str = "linux/amd64", layers: int = 2, word: str = ""
    ) -> Descriptor:
        """Make an image and tag it `name`: busybox, then `layers - 1` layers of a small file each.

        Images of one layout with the same `word` share their layers; only the config states the platform
        (`os/architecture[/variant]`), since busybox itself is this machine's.
        """
        image = f"{self.folder}:{name}"
        bundle = self.folder.with_name(f"{self.folder.name}.bundle")
        run("umoci", "new", "--image", image)
        for number in range(layers):
            run("umoci", "unpack", "--rootless", "--image", image, str(bundle))
            root = bundle / "rootfs"
            if number == 0:
                _fill_root(root)
            else:
                (root / "etc").mkdir(exist_ok=True)
                (root / "etc" / f"layer-{number}").write_text(f"{word} {number}\n")
            _settle_times(root)
            run("umoci", "repack", "--image", image, "--history.created", "2026-01-01T00:00:00Z", str(bundle))
            shutil.rmtree(bundle)
        made = ("--no-history", "--config.cmd", "/bin/sh", "--created", "2026-01-01T00:00:00Z")
        run("umoci", "config", "--image", image, *made)
        descriptor = self.for_platform(self.tagged(name), platform)
        self.tag(name, {key: descriptor[key] for key in ("mediaType", "digest", "size")})
        return descriptor

    def for_platform(self, image: Descriptor, platform: str) -> Descriptor:
        """Make an image with the same layers and another platform, described as in an index."""
        manifest = json.loads(self.read(image["digest"]))
        config = json.loads(self.read(manifest["config"]["digest"])) | platform_of(platform)
        manifest["config"] = self.add(json.dumps(config).encode(), manifest["config"]["mediaType"])
        return {
            **self.add_json({**manifest, "mediaType": OCI_MANIFEST}),
            "platform": platform_of(platform),
        }

    def make_index(self, entries: Iterable[Descriptor], **more: Any) -> Descriptor:
        """Make an image index of `entries` (indexes too); `more` are further fields, such as annotations."""
        return self.add_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries), **more})

    def make_attestation(self, image: Descriptor) -> Descriptor:
        """Make buildkit's attestation of an image: provenance in an entry of platform unknown/unknown."""
        statement = {"_type": "https://in-toto.io/Statement/v0.1", "subject": [{"digest": image["digest"]}]}
        layer = self.add(json.dumps(statement).encode(), IN_TOTO)
        config = {"architecture": "unknown", "os": "unknown", "rootfs": {"type": "layers", "diff_ids": []}}
        manifest = self.add_json(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": self.add(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
                "layers": [
                    {
                        **layer,
                        "annotations": {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"},
                    }
                ],
            }
        )
        annotations = {
            "vnd.docker.reference.digest": image["digest"],
            "vnd.docker.reference.type": "attestation-manifest",
        }
        return {
            **manifest,
            "platform": {"architecture": "unknown", "os": "unknown"},
            "annotations": annotations,
        }

    def make_artifact(self, data: bytes, *, kind: str, subject: Descriptor | None = None) -> Descriptor:
        """Make an artifact of type `kind` with one layer and the empty config; it may refer to a subject."""
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": kind,
            "config": self.add(b"{}", EMPTY),
            "layers": [self.add(data, kind)],
        }
        if subject is not None:
            manifest["subject"] = {key: subject[key] for key in ("mediaType", "digest", "size")}
        return self.add_json(manifest)

    def recompress(self, name: str, *, form: str) -> Layout:
        """The image or index `name` in a layout beside this, with `gzip` or `zstd` layers by skopeo."""
        other = Layout(self.folder.with_name(f"{self.folder.name}-{form}"))
        images = (f"oci:{self.folder}:{name}", f"oci:{other.folder}:{name}")
        run("skopeo", "--insecure-policy", "copy", "--all", "--dest-compress-format", form, *images)
        return other

    def push(self, name: str, registry: Endpoint, image: str, *, form: str = "") -> None:
        """Push `name` with skopeo, all platforms; `form` is its `v2s1`, `v2s2` or `oci`."""
        flags = [*skopeo_flags(registry, "dest-"), *(("--format", form) if form else ())]
        images = (f"oci:{self.folder}:{name}", f"docker://{registry.address}/{image}")
        run("skopeo", "--insecure-policy", "copy", "--all", *flags, *images)

    def send(self, descriptor: Descriptor, registry: Endpoint, image: str) -> str:
        """Push a manifest or index and everything below it over plain HTTP, unchanged; returns its digest."""
        repository, name = split_image(image)
        with Wire(registry) as wire:
            self._send(wire, descriptor["digest"], repository, name)
        return str(descriptor["digest"])

    def _send(self, wire: Wire, digest: str, repository: str, name: str) -> None:
        data = self.read(digest)
        manifest = json.loads(data)
        if manifest["mediaType"] in {OCI_INDEX, DOCKER_LIST}:
            for entry in manifest["manifests"]:
                self._send(wire, entry["digest"], repository, entry["digest"])
        else:
            for blob in blobs_of(manifest):
                wire.send_blob(repository, self.read(blob["digest"]))
        wire.send_manifest(repository, name, data)


def platform_of(text: str) -> dict[str, str]:
    """`os/architecture[/variant]` as the fields of an image's config or of an index entry."""
    return dict(zip(("os", "architecture", "variant"), text.split("/"), strict=False))


def _fill_root(root: Path) -> None:
    (root / "bin").mkdir()
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy(busybox, root / "bin" / "busybox")
    (root / "bin" / "sh").symlink_to("busybox")


def _settle_times(root: Path) -> None:
    for path in (root, *root.rglob("*")):  # equal content has to give an equal layer, but tar records times
        os.utime(path, (_EPOCH, _EPOCH), follow_symlinks=False)
