"""Documents as registries store them, for tests of manifests and trees."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from pipeline.model.manifest import Manifest, parse

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_IMAGE = "application/vnd.oci.image.manifest.v1+json"
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_IMAGE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"


def encode(document: object) -> bytes:
    """JSON with the white space that docker writes."""
    return json.dumps(document, indent=3).encode()


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    """The digest of some bytes."""
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def blob(
    text: str, media_type: str = "application/vnd.oci.image.layer.v1.tar", **more: object
) -> dict[str, Any]:
    """The descriptor of a blob that holds `text`."""
    return {"mediaType": media_type, "digest": digest_of(text.encode()), "size": len(text), **more}


def image(text: str = "layer", **more: object) -> dict[str, Any]:
    """An OCI image of one layer that holds `text`."""
    config = blob("{}", OCI_CONFIG)
    return {"schemaVersion": 2, "mediaType": OCI_IMAGE, "config": config, "layers": [blob(text)], **more}


def entry(content: bytes, media_type: str = OCI_IMAGE, **more: object) -> dict[str, Any]:
    """The index entry for a manifest's bytes."""
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content), **more}


def index(*entries: dict[str, Any], **more: object) -> dict[str, Any]:
    """An OCI index."""
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries), **more}


def attestation(content: bytes, attested: str) -> dict[str, Any]:
    """The index entry for a buildkit attestation of an image."""
    annotations = {
        "vnd.docker.reference.digest": attested,
        "vnd.docker.reference.type": "attestation-manifest",
    }
    return entry(content, platform={"os": "unknown", "architecture": "unknown"}, annotations=annotations)


def schema1(**more: object) -> dict[str, Any]:
    """An unsigned docker schema 1 manifest with repeated layers, as real ones have."""
    layers = [{"blobSum": digest_of(text)} for text in (b"top", b"empty", b"base", b"empty")]
    return {
        "schemaVersion": 1,
        "name": "a/b",
        "tag": "1",
        "architecture": "amd64",
        "fsLayers": layers,
        **more,
    }


def sign(document: dict[str, Any]) -> tuple[bytes, bytes]:
    """Sign in libtrust's form; returns the signed bytes and the bytes that the signature covers."""
    payload = encode(document)
    length = len(payload) - len(b"\n}")
    protected = encode({"formatLength": length, "formatTail": _base64url(payload[length:])})
    signatures = json.dumps([{"header": {"alg": "ES256"}, "protected": _base64url(protected)}]).encode()
    return payload[:length] + b',\n   "signatures": ' + signatures + payload[length:], payload


def read(content: bytes, content_type: str = "") -> Manifest:
    """Parse bytes under their own digest."""
    return parse(content, content_type, digest_of(content))


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
