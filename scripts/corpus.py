"""Fill a registry with a corpus of made-up images over plain HTTP, for measurements of copies.

A corpus is fully known: its blobs, manifests and tags follow from its sizes, so the minimum cost of a copy
can be computed, and the result can be checked to the last byte. Layers are gzip of a tar of random bytes:
skopeo repacks layers that only claim to be compressed.

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
from typing import Any, NamedTuple

from tests.real.wire import OCI_INDEX, OCI_MANIFEST, Endpoint, Wire, sha256

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_TURNING = 20
"""Every 20th image is one of the 5 % that can change."""
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """The sizes of a corpus; `many` with the defaults.

    Every platform of a tag has its own config and the same layers.
    """

    repos: int = 20
    tags: int = 10
    layer_kb: int = 240
    platforms: tuple[str, ...] = ("amd64", "arm64")
    common: int = 3
    """Layers that all images share."""
    own: int = 2
    """Layers that all images of a repository share."""
    per_tag: int = 1
    """Layers of one image alone."""
    seed: int = 1

    @property
    def images(self) -> int:
        """Number of tags; each is one image to copy."""
        return self.repos * self.tags

    @property
    def manifests(self) -> int:
        """Number of manifests: per tag an index and one per platform."""
        return self.images * (1 + len(self.platforms))

    @property
    def blobs(self) -> int:
        """Number of distinct blobs."""
        layers = self.common + self.own * self.repos + self.per_tag * self.images
        return layers + self.images * len(self.platforms)

    @property
    def shared(self) -> int:
        """How often a blob is needed in a further repository: what mounts can save."""
        return self.common * (self.repos - 1)

    @property
    def turning(self) -> int:
        """Images that change when the corpus is turned: 5 %, at least one."""
        return -(-self.images // _TURNING)

    def repository(self, number: int) -> str:
        """The name of a repository."""
        return f"bench/app{number:02d}"

    def repositories(self) -> list[str]:
        """The names of all repositories."""
        return [self.repository(number) for number in range(self.repos)]

    def tag(self, number: int) -> str:
        """The name of a tag."""
        return f"v1.{number}"


class Layer(NamedTuple):
    """One layer that a registry holds."""

    descriptor: dict[str, Any]
    """Its descriptor in a manifest."""
    diff_id: str
    """The digest of the uncompressed tar, which a config states."""


def make_layer(name: str, size: int, *, seed: int) -> tuple[bytes, Layer]:
    """A gzip of a tar with one file of `size` random bytes.

    Random bytes cannot be compressed, so they are stored, which saves minutes for large layers.
    """
    noise = random.Random(f"{seed} {name}")
    content = b"".join(noise.randbytes(min(_BLOCK, size - at)) for at in range(0, size, _BLOCK))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = size
        archive.addfile(entry, io.BytesIO(content))
    archived = out.getvalue()
    data = gzip.compress(archived, compresslevel=0, mtime=0)
    descriptor = {"mediaType": LAYER, "digest": sha256(data), "size": len(data)}
    return data, Layer(descriptor, sha256(archived))


@dataclass(kw_only=True)
class Filler:
    """Writes one corpus into one registry, and can turn 5 % of its tags to other images and back."""

    corpus: Corpus
    endpoint: Endpoint
    digests: dict[str, str] = field(default_factory=dict)
    """`repository:tag` -> digest of its index, for the check afterwards."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Digest -> bytes of every blob."""
    _common: list[Layer] = field(default_factory=list)
    _turns: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    """For images that can change: the first index and the other one."""

    def fill(self, *, threads: int = 4, turning: bool = False) -> None:
        """Upload everything; the common layers once, then mounted into each further repository.

        Args:
            threads: repositories filled at a time.
            turning: upload what `turn` needs too.
        """
        with Wire(self.endpoint) as wire:
            first = self.corpus.repository(0)
            self._common = [
                self._send_layer(wire, first, f"common-{number}") for number in range(self.corpus.common)
            ]
        with ThreadPoolExecutor(threads) as pool:
            numbers = range(self.corpus.repos)
            for filled in pool.map(lambda number: self._fill_repository(number, turning=turning), numbers):
                self.digests |= filled

    def turn(self, *, changed: bool) -> None:
        """Point the tags that can change at their other image, or at the first one again."""
        with Wire(self.endpoint) as wire:
            for image, indexes in self._turns.items():
                repository, _, tag = image.partition(":")
                self.digests[image] = wire.send_manifest(repository, tag, indexes[changed])

    def _send_layer(self, wire: Wire, repository: str, name: str) -> Layer:
        data, layer = make_layer(name, self.corpus.layer_kb * 1000, seed=self.corpus.seed)
        wire.send_blob(repository, data)
        self.sizes[layer.descriptor["digest"]] = len(data)
        return layer

    def _fill_repository(self, number: int, *, turning: bool) -> dict[str, str]:
        repository = self.corpus.repository(number)
        digests = {}
        with Wire(self.endpoint) as wire:
            for layer in self._common if number else []:
                wire.mount_blob(repository, layer.descriptor["digest"], source=self.corpus.repository(0))
            names = [f"{repository}-{layer}" for layer in range(self.corpus.own)]
            shared = [*self._common, *(self._send_layer(wire, repository, name) for name in names)]
            for place, tag in enumerate(map(self.corpus.tag, range(self.corpus.tags))):
                image = f"{repository}:{tag}"
                index = self._send_image(wire, repository, image, shared)
                digests[image] = wire.send_manifest(repository, tag, index)
                if turning and (number * self.corpus.tags + place) % _TURNING == 0:
                    self._turns[image] = (index, self._send_image(wire, repository, f"{image}, new", shared))
        return digests

    def _send_image(self, wire: Wire, repository: str, name: str, shared: list[Layer]) -> bytes:
        """Upload everything of an image except its index, which is returned."""
        own = [self._send_layer(wire, repository, f"{name} {layer}") for layer in range(self.corpus.per_tag)]
        manifests = [
            self._send_platform(
                wire, repository, name, {"os": "linux", "architecture": each}, [*shared, *own]
            )
            for each in self.corpus.platforms
        ]
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
        return json.dumps(index).encode()

    def _send_platform(
        self, wire: Wire, repository: str, name: str, platform: dict[str, str], layers: list[Layer]
    ) -> dict[str, Any]:
        """Upload the config and manifest of one platform; returns its index entry."""
        rootfs = {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]}
        labels = {"image": name}
        config = json.dumps({**platform, "config": {"Labels": labels}, "rootfs": rootfs}).encode()
        digest = wire.send_blob(repository, config)
        self.sizes[digest] = len(config)
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": {"mediaType": CONFIG, "digest": digest, "size": len(config)},
                "layers": [layer.descriptor for layer in layers],
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
    Filler(corpus=corpus, endpoint=Endpoint(address=flags.address)).fill(threads=flags.threads)
    seconds = time.monotonic() - began
    print(f"{corpus.images} images, {corpus.manifests} manifests, {corpus.blobs} blobs in {seconds:.1f} s")


if __name__ == "__main__":
    main()
