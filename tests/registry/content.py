"""Makers of content: images, indexes, artifacts and docker schema 1, with the blobs that they name.

Sources: image-spec (manifest.md, image-index.md), distribution (manifest v2 schema 1 and 2), buildkit
(attestation-storage.md). Everything made is small and the same in every run.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"
ALL_TYPES = (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST, SCHEMA1, SCHEMA1_SIGNED, OCI_ARTIFACT)
ACCEPT = ", ".join(ALL_TYPES)
IN_TOTO = "application/vnd.in-toto+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """One manifest with everything below it."""

    manifest: bytes
    media_type: str
    digest: str
    blobs: tuple[bytes, ...] = ()
    """The blobs that the manifest itself names: config, then layers."""
    children: tuple[Content, ...] = ()
    platform: Mapping[str, Any] | None = None
    """What an index says of it."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    """What an index says of it."""
    artifact_type: str = ""
    """What an index says of it."""

    def walk(self) -> Iterator[Content]:
        """Children first, itself last: the order of a push."""
        for child in self.children:
            yield from child.walk()
        yield self

    @property
    def all_blobs(self) -> dict[str, bytes]:
        """Every blob below, by digest."""
        return {digest_of(blob): blob for content in self.walk() for blob in content.blobs}


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    """The digest of the bytes."""
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def manifest_digest(content: bytes, *, algorithm: str = "sha256") -> str:
    """The digest of a manifest: of the JWS payload if it is a signed schema 1, else of all its bytes.

    Source: distribution, docs/spec/manifest-v2-1.md ("Signed Manifests").
    """
    try:
        signatures = json.loads(content).get("signatures")
        protected = _unpad(signatures[0]["protected"])
        terms = json.loads(protected)
        payload = content[: terms["formatLength"]] + _unpad(terms["formatTail"])
    except (ValueError, AttributeError, TypeError, LookupError):
        return digest_of(content, algorithm)
    return digest_of(payload, algorithm)


def descriptor(content: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    """The descriptor of a blob."""
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content), **more}


def layer(text: str, *, size: int = 64) -> bytes:
    """`size` bytes that depend on the text."""
    seed = hashlib.sha256(text.encode()).digest()
    return (seed * (size // len(seed) + 1))[:size]


def image(
    *layers: bytes,
    docker: bool = False,
    os: str = "linux",
    architecture: str = "amd64",
    platform: Mapping[str, Any] | None = None,
    annotations: Mapping[str, str] | None = None,
    subject: Mapping[str, Any] | None = None,
) -> Content:
    """An image of these layers; `platform` may have more than os and architecture (variant, os.version)."""
    where = {"architecture": architecture, "os": os, **(platform or {})}
    diffs = [digest_of(each) for each in layers]
    config = _dump({**where, "config": {}, "rootfs": {"type": "layers", "diff_ids": diffs}})
    body: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
        "config": descriptor(config, DOCKER_CONFIG if docker else OCI_CONFIG),
        "layers": [descriptor(each, DOCKER_LAYER if docker else OCI_LAYER) for each in layers],
    }
    body |= {"annotations": dict(annotations)} if annotations else {}
    body |= {"subject": dict(subject)} if subject else {}
    return _content(body, body["mediaType"], blobs=(config, *layers), platform=where)


def foreign_image(
    present: bytes, foreign: bytes, *, urls: tuple[str, ...] = ("https://example.com/l",)
) -> Content:
    """A docker image whose second layer is only at a URL; its bytes are not among the blobs."""
    config = _dump({"architecture": "amd64", "os": "windows", "config": {}})
    more = {"urls": list(urls)} if urls else {}
    body = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": descriptor(config, DOCKER_CONFIG),
        "layers": [descriptor(present, DOCKER_LAYER), descriptor(foreign, DOCKER_FOREIGN, **more)],
    }
    where = {"architecture": "amd64", "os": "windows"}
    return _content(body, DOCKER_MANIFEST, blobs=(config, present), platform=where)


def index(*children: Content, docker: bool = False, annotations: Mapping[str, str] | None = None) -> Content:
    """An index of these children, each with its platform and annotations; indexes may be nested."""
    entries = []
    for child in children:
        entry: dict[str, Any] = {
            "mediaType": child.media_type,
            "digest": child.digest,
            "size": len(child.manifest),
        }
        entry |= {"platform": dict(child.platform)} if child.platform is not None else {}
        entry |= {"annotations": dict(child.annotations)} if child.annotations else {}
        entry |= {"artifactType": child.artifact_type} if child.artifact_type else {}
        entries.append(entry)
    media_type = DOCKER_LIST if docker else OCI_INDEX
    body: dict[str, Any] = {"schemaVersion": 2, "mediaType": media_type, "manifests": entries}
    body |= {"annotations": dict(annotations)} if annotations else {}
    return _content(body, media_type, children=children)


def cache(*layers: bytes) -> Content:
    """A cache as BuildKit exports it: an index whose entries are layers and a config."""
    config = _dump({"layers": [{"blob": digest_of(each), "parent": -1} for each in layers], "records": []})
    entries = [descriptor(each, OCI_LAYER) for each in layers]
    entries.append(descriptor(config, "application/vnd.buildkit.cacheconfig.v0"))
    body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    return _content(body, OCI_INDEX, blobs=(config, *layers))


def attestation(of: Content) -> Content:
    """A buildkit attestation of a child of the same index."""
    statement = _dump({"_type": "https://in-toto.io/Statement/v0.1", "subject": [{"digest": of.digest}]})
    config = _dump({"architecture": "unknown", "os": "unknown", "config": {}})
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(config, OCI_CONFIG),
        "layers": [descriptor(statement, IN_TOTO)],
    }
    return _content(
        body,
        OCI_MANIFEST,
        blobs=(config, statement),
        platform={"architecture": "unknown", "os": "unknown"},
        annotations={
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": of.digest,
        },
    )


def artifact(
    *files: bytes, kind: str = "application/vnd.example.thing", subject: Content | None = None
) -> Content:
    """An OCI artifact: an image manifest with the empty config and an artifactType."""
    empty = b"{}"
    body: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": kind,
        "config": descriptor(empty, OCI_EMPTY),
        "layers": [descriptor(each, "application/octet-stream") for each in files],
    }
    if subject is not None:
        body["subject"] = {
            "mediaType": subject.media_type,
            "digest": subject.digest,
            "size": len(subject.manifest),
        }
    return _content(body, OCI_MANIFEST, blobs=(empty, *files), artifact_type=kind)


def schema1(*layers: bytes, signed: bool = False, name: str = "old/image", tag: str = "latest") -> Content:
    """A docker schema 1 image, newest layer first, with an invalid signature but a correct payload."""
    body = {
        "schemaVersion": 1,
        "name": name,
        "tag": tag,
        "architecture": "amd64",
        "fsLayers": [{"blobSum": digest_of(each)} for each in reversed(layers)],
        "history": [{"v1Compatibility": "{}"} for _ in layers],
    }
    payload = json.dumps(body, indent=3).encode()
    manifest = _sign(payload) if signed else payload
    media_type = SCHEMA1_SIGNED if signed else SCHEMA1
    return Content(manifest=manifest, media_type=media_type, digest=digest_of(payload), blobs=layers)


def _sign(payload: bytes) -> bytes:
    length = len(payload) - len(b"\n}")
    terms = {"formatLength": length, "formatTail": _pad(payload[length:]), "time": "2016-01-01T00:00:00Z"}
    signature = {
        "header": {"jwk": {"crv": "P-256", "kty": "EC"}, "alg": "ES256"},
        "signature": _pad(b"made up"),
        "protected": _pad(_dump(terms)),
    }
    return payload[:length] + b',\n   "signatures": ' + _dump([signature]) + payload[length:]


def _content(
    body: Mapping[str, Any],
    media_type: str,
    *,
    blobs: tuple[bytes, ...] = (),
    children: tuple[Content, ...] = (),
    platform: Mapping[str, Any] | None = None,
    annotations: Mapping[str, str] | None = None,
    artifact_type: str = "",
) -> Content:
    manifest = _dump(body)
    return Content(
        manifest=manifest,
        media_type=media_type,
        digest=digest_of(manifest),
        blobs=blobs,
        children=children,
        platform=platform,
        annotations=annotations or {},
        artifact_type=artifact_type,
    )


def _dump(body: Any) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def _pad(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _unpad(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
