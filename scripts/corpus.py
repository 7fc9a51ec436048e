"""Fill a registry with a corpus of made-up images over plain HTTP: the ground on which copies are measured.

A corpus is known by heart: its blobs, manifests and tags follow from its sizes, so what a copy needs at least
can be stated by formula, and what arrived can be checked to the last byte. Layers are gzip of a tar of random
bytes: skopeo repacks what only claims to be compressed.

    python -m scripts.corpus 127.0.0.1:5000 --repos 20 --tags 10 --layer-kb 240
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import random
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tests.real.wire import OCI_INDEX, OCI_MANIFEST, Endpoint, Wire, sha256

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
COMMON_LAYERS = 3
REPOSITORY_LAYERS = 2
TAG_LAYERS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """The sizes of a corpus; `many` with the defaults.

    Every platform of a tag has a config of its own and the same layers: 3 that all images share, 2 of its
    repository, 1 of its tag.
    """

    repos: int = 20
    tags: int = 10
    layer_kb: int = 240
    platforms: tuple[str, ...] = ("amd64", "arm64")
    seed: int = 1

    @property
    def images(self) -> int:
        """Tags in all; each is one image to copy."""
        return self.repos * self.tags

    @property
    def manifests(self) -> int:
        """Manifests in all: per tag an index and one per platform."""
        return self.images * (1 + len(self.platforms))

    @property
    def blobs(self) -> int:
        """Distinct blobs in all."""
        layers = COMMON_LAYERS + REPOSITORY_LAYERS * self.repos + TAG_LAYERS * self.images
        return layers + self.images * len(self.platforms)

    @property
    def shared(self) -> int:
        """How often a blob is wanted in one more repository than the first: what mounts can save."""
        return COMMON_LAYERS * (self.repos - 1)

    def repository(self, number: int) -> str:
        """The name of a repository."""
        return f"bench/app{number:02d}"

    def tag(self, number: int) -> str:
        """The name of a tag."""
        return f"v1.{number}"


@dataclass(frozen=True)
class Layer:
    """One layer: a gzip of a tar that holds one file of random bytes."""

    name: str
    size: int
    """Bytes of the file; the layer is hardly bigger."""
    seed: int

    @cached_property
    def _tar(self) -> bytes:
        content = random.Random(f"{self.seed} {self.name}").randbytes(self.size)
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            entry = tarfile.TarInfo(self.name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        return out.getvalue()

    @cached_property
    def data(self) -> bytes:
        """The bytes to upload."""
        return gzip.compress(self._tar, compresslevel=1, mtime=0)

    @cached_property
    def digest(self) -> str:
        """The digest of `data`."""
        return sha256(self.data)

    @cached_property
    def diff_id(self) -> str:
        """The digest of the tar within, which a config states."""
        return sha256(self._tar)

    def descriptor(self) -> dict[str, Any]:
        """How a manifest names the layer."""
        return {"mediaType": LAYER, "digest": self.digest, "size": len(self.data)}


@dataclass(kw_only=True)
class Filler:
    """Writes one corpus into one registry."""

    corpus: Corpus
    endpoint: Endpoint
    digests: dict[str, str] = field(default_factory=dict)
    """`repository:tag` -> digest of its index, for the check afterwards."""
    _common: list[Layer] = field(default_factory=list)

    def fill(self, threads: int = 4) -> None:
        """Upload everything; the common layers once, then mounted into each further repository."""
        self._common = [self._layer(f"common-{number}") for number in range(COMMON_LAYERS)]
        with Wire(self.endpoint) as wire:
            for layer in self._common:
                wire.send_blob(self.corpus.repository(0), layer.data)
        with ThreadPoolExecutor(threads) as pool:
            for filled in pool.map(self._fill_repository, range(self.corpus.repos)):
                self.digests |= filled

    def _layer(self, name: str) -> Layer:
        return Layer(name, self.corpus.layer_kb * 1000, self.corpus.seed)

    def _fill_repository(self, number: int) -> dict[str, str]:
        repository = self.corpus.repository(number)
        own = [self._layer(f"{repository}-{layer}") for layer in range(REPOSITORY_LAYERS)]
        digests = {}
        with Wire(self.endpoint) as wire:
            for layer in self._common if number else []:
                wire.mount_blob(repository, layer.digest, source=self.corpus.repository(0))
            for layer in own:
                wire.send_blob(repository, layer.data)
            for tag in map(self.corpus.tag, range(self.corpus.tags)):
                last = self._layer(f"{repository}-{tag}")
                wire.send_blob(repository, last.data)
                layers = [*self._common, *own, last]
                index = json.dumps(
                    {
                        "schemaVersion": 2,
                        "mediaType": OCI_INDEX,
                        "manifests": [
                            _send_image(wire, repository, platform, layers)
                            for platform in self.corpus.platforms
                        ],
                    }
                )
                digests[f"{repository}:{tag}"] = wire.send_manifest(repository, tag, index.encode())
        return digests


def _send_image(wire: Wire, repository: str, architecture: str, layers: list[Layer]) -> dict[str, Any]:
    """Upload the config and manifest of one platform; its entry in the index is returned."""
    platform = {"os": "linux", "architecture": architecture}
    rootfs = {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]}
    config = json.dumps({**platform, "config": {}, "rootfs": rootfs}).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {
                "mediaType": CONFIG,
                "digest": wire.send_blob(repository, config),
                "size": len(config),
            },
            "layers": [layer.descriptor() for layer in layers],
        }
    ).encode()
    digest = wire.send_manifest(repository, sha256(manifest), manifest)
    return {"mediaType": OCI_MANIFEST, "digest": digest, "size": len(manifest), "platform": platform}


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """The flags that scale a corpus."""
    parser.add_argument("--repos", type=int, default=20, help="repositories (20)")
    parser.add_argument("--tags", type=int, default=10, help="tags per repository (10)")
    parser.add_argument("--layer-kb", type=int, default=240, help="kB of each layer (240)")


def main() -> None:
    """Fill the registry that the command line names."""
    parser = argparse.ArgumentParser(description="Fill a registry with made-up images over plain HTTP.")
    parser.add_argument("address", help="host:port of a registry that takes anonymous pushes over HTTP")
    add_sizes(parser)
    parser.add_argument("--threads", type=int, default=4, help="repositories filled at a time (4)")
    flags = parser.parse_args()
    corpus = Corpus(repos=flags.repos, tags=flags.tags, layer_kb=flags.layer_kb)
    began = time.monotonic()
    Filler(corpus=corpus, endpoint=Endpoint(address=flags.address)).fill(flags.threads)
    seconds = time.monotonic() - began
    print(f"{corpus.images} images, {corpus.manifests} manifests, {corpus.blobs} blobs in {seconds:.1f} s")


if __name__ == "__main__":
    main()
