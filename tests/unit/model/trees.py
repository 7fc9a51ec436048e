"""Trees of manifests that were read, for tests of what a pruning leaves of them."""

from __future__ import annotations

from typing import Any

from pipeline.model.manifest import Manifest
from pipeline.model.tree import Plan, Skip
from tests.unit.model import documents as make

Read = dict[str, Manifest]


def store(read: Read, document: dict[str, Any]) -> bytes:
    """Put a document among those that were read; returns its bytes."""
    content = make.encode(document)
    manifest = make.read(content)
    read[manifest.digest] = manifest
    return content


def image(read: Read, text: str) -> bytes:
    """Put an image of its own among those that were read."""
    return store(read, make.image(text))


def on(architecture: str, content: bytes, media_type: str = make.OCI_IMAGE) -> dict[str, Any]:
    """The entry of an index for a linux image."""
    return make.entry(content, media_type, platform={"os": "linux", "architecture": architecture})


def root_of(content: bytes) -> str:
    """The digest by which a tree is asked for."""
    return make.digest_of(content)


def digests(outcome: Plan | Skip) -> list[str]:
    """The digests of a plan, in push order."""
    assert isinstance(outcome, Plan)
    return [manifest.digest for manifest in outcome.manifests]
