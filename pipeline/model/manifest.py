"""Manifests and descriptors: recognising, parsing, digests, and the index that a filter leaves.

Sources: image-spec (manifest.md, image-index.md, descriptor.md), distribution (docker schema 1 and 2).
The bytes of a manifest are sacred: they are kept as they came, and only `rewrite` makes new ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pipeline.model.platform import Platform

Kind = Literal["index", "image", "schema1"]
"""index: names other manifests; image: config and layers, artifacts too; schema1: layers, with a platform."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What a manifest says of one thing that it names."""

    media_type: str
    digest: str
    size: int
    """Bytes; -1 where the manifest does not say (docker schema 1)."""
    platform: Platform | None = None
    """Of an entry of an index, where stated."""
    has_urls: bool = False
    """Whether the content is also to be had elsewhere (layers that a registry may lack)."""
    attests: str = ""
    """Digest of the image that this entry of an index attests (`vnd.docker.reference.digest`), or empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One manifest as it was read, with what a copy needs to know of it."""

    content: bytes
    media_type: str
    digest: str
    """Computed from the content, by the algorithm of the digest that was asked for."""
    kind: Kind
    children: tuple[Descriptor, ...] = ()
    """Of an index: its entries in order, duplicates left out."""
    blobs: tuple[Descriptor, ...] = ()
    """Of an image: config, then layers, each digest once."""
    platform: Platform | None = None
    """Of a single image, where its config (or schema 1 itself) was read and states one."""
