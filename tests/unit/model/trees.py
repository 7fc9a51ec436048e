"""Trees of read manifests, for tests of pruning."""

from __future__ import annotations

from typing import Any

from pipeline.model.manifest import Manifest
from pipeline.model.tree import Plan, Skip
from tests.unit.model import documents as make

Read = dict[str, Manifest]


def store(read: Read, document: dict[str, Any]) -> bytes:
    """Add a document to the manifests read; returns its bytes."""
    content = make.encode(document)
    manifest = make.read(content)
    read[manifest.digest] = manifest
    return content


def image(read: Read, text: str) -> bytes:
    """Add an image of its own to the manifests read."""
    return store(read, make.image(text))


def on(architecture: str, content: bytes, media_type: str = make.OCI_IMAGE) -> dict[str, Any]:
    """The index entry for a linux image."""
    return make.entry(content, media_type, platform={"os": "linux", "architecture": architecture})


def root_of(content: bytes) -> str:
    """The digest that requests a tree."""
    return make.digest_of(content)


def digests(outcome: Plan | Skip) -> list[str]:
    """The digests of a plan, in push order."""
    assert isinstance(outcome, Plan)
    return [manifest.digest for manifest in outcome.manifests]
