"""Manifests and descriptors: media types, parsing, digests, and the index that a filter leaves.

Sources: image-spec (manifest.md, image-index.md, descriptor.md), distribution (docker schema 1 and 2).
A manifest's bytes are kept exactly as they came; only `without` makes new ones.
"""

from __future__ import annotations

import base64
import hashlib
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from pipeline.dataclass import dataclass
from pipeline.errors import DigestMismatchError, ManifestError
from pipeline.model.document import dump, load
from pipeline.model.platform import Platform, normalise
from pipeline.model.reference import is_digest
from pipeline.settings import MAX_MANIFEST, MIB

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

ManifestKind = Literal["index", "image", "schema1"]
"""index: names other manifests; image: config and layers, artifacts too; schema1: layers, with a platform."""

_DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest."
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
_OCI_IMAGE = "application/vnd.oci.image.manifest.v1+json"
_OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
_DOCKER_LIST = f"{_DOCKER_MANIFEST}list.v2+json"
_DOCKER_IMAGE = f"{_DOCKER_MANIFEST}v2+json"
_SCHEMA1_SIGNED = f"{_DOCKER_MANIFEST}v1+prettyjws"
_SCHEMA1 = f"{_DOCKER_MANIFEST}v1+json"
_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
_OCI_CONFIG = "application/vnd.oci.image.config.v1+json"

KINDS: Mapping[str, ManifestKind] = {
    OCI_INDEX: "index",
    _DOCKER_LIST: "index",
    _OCI_IMAGE: "image",
    _DOCKER_IMAGE: "image",
    _OCI_ARTIFACT: "image",
    _SCHEMA1_SIGNED: "schema1",
    _SCHEMA1: "schema1",
}
"""Media types of manifests; the artifact manifest was withdrawn from the OCI specification, but still
exists."""
ACCEPT = ", ".join(KINDS)
"""Every manifest request accepts all types: for a type that is not accepted, a registry answers 404 or
another manifest (distribution 2.8)."""
IMAGE_CONFIG_TYPES = frozenset({_DOCKER_CONFIG, _OCI_CONFIG})
"""Config blobs that state a platform."""

_OPAQUE = frozenset(
    {"", "application/json", "text/html", "text/plain", "application/octet-stream", "binary/octet-stream"}
)
"""Content types that say nothing about a manifest; proxies, object stores and web frameworks send them."""
_MAX_SIZE = (1 << 63) - 1
_OTHERS: Mapping[ManifestKind, tuple[str, ...]] = {
    "index": ("config", "layers", "fsLayers"),
    "image": ("manifests", "fsLayers"),
    "schema1": ("manifests", "config", "layers"),
}
"""Fields of other kinds: with them, two readers could take one document for different images
(CVE-2021-41190)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What a manifest states about one blob or child manifest."""

    media_type: str
    digest: str
    size: int
    """Bytes; -1 where the manifest does not say (docker schema 1)."""
    platform: Platform | None = None
    """Of an index's entry, if stated."""
    has_urls: bool = False
    """Whether it has `urls` (foreign layers, which a registry may not hold)."""
    attests: str = ""
    """Digest of the image that this index entry attests (`vnd.docker.reference.digest`), or empty."""
    is_attestation: bool = False
    """Whether this index entry is BuildKit's provenance or SBOM of another (`vnd.docker.reference.type`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One manifest as it was read, with the parts that a copy needs."""

    content: bytes
    media_type: str
    digest: str
    """Computed from the content with the algorithm of the requested digest."""
    kind: ManifestKind
    children: tuple[Descriptor, ...] = ()
    """Of an index: its manifests in order, without duplicates; one digest may have several platforms."""
    blobs: tuple[Descriptor, ...] = ()
    """Of an image: config, then layers, each digest once. Of an index: entries that are not manifests, as in
    BuildKit's caches, which list layers and a config."""
    platform: Platform | None = None
    """Of a single image, if its config was read (or it is schema 1) and states one."""

    @property
    def lists_blobs(self) -> bool:
        """Whether it is an index with blob entries."""
        return self.kind == "index" and bool(self.blobs)


def parse(content: bytes, content_type: str, digest: str) -> Manifest:
    """Parse a response body as the manifest with the digest `digest`.

    Args:
        content: the body as it came.
        content_type: the response's Content-Type with parameters; may be empty.
        digest: the requested digest, sha256 or sha512.

    Raises:
        DigestMismatchError: the content has another digest.
        ManifestError: the content is not a manifest, or is ambiguous.
    """
    if len(content) > MAX_MANIFEST:
        raise ManifestError(f"the manifest has {len(content)} bytes, the limit is {MAX_MANIFEST // MIB} MiB")
    if not is_digest(digest):
        raise ManifestError(f"the digest {digest[:160]!r} cannot be checked: neither sha256 nor sha512")
    actual = compute_digest(content, content_type, digest.partition(":")[0])
    if actual != digest:
        raise DigestMismatchError(digest, actual)
    document = load(content)
    media_type = _recognise(document, content_type)
    kind = KINDS[media_type]
    wrong = [name for name in _OTHERS[kind] if document.get(name) is not None]
    if wrong:
        raise ManifestError(f"the manifest is ambiguous: {media_type} with {' and '.join(wrong)}")
    children, blobs = _entries(document) if kind == "index" else ((), _blobs(document, media_type))
    return Manifest(
        content=content,
        media_type=media_type,
        digest=digest,
        kind=kind,
        children=children,
        blobs=blobs,
        platform=_platform({"architecture": document.get("architecture")}) if kind == "schema1" else None,
    )


def compute_digest(content: bytes, media_type: str, algorithm: str) -> str:
    """The digest of a manifest.

    Args:
        content: the manifest's bytes.
        media_type: its type, or a Content-Type. The digest of a signed docker schema 1 manifest covers the
            bytes without the signatures.
        algorithm: `sha256` or `sha512`.

    Raises:
        ManifestError: another algorithm, or signatures that do not state what they cover.
    """
    if algorithm not in {"sha256", "sha512"}:
        raise ManifestError(f"digests by {algorithm[:80]!r} cannot be computed")
    covered = content
    if KINDS.get(_plain(media_type), "schema1") == "schema1":
        covered = _signed_payload(content)
    return f"{algorithm}:{hashlib.new(algorithm, covered).hexdigest()}"


def without(manifest: Manifest, keep: Collection[str], *, replacing: Mapping[str, Manifest]) -> Manifest:
    """Rewrite an index with only some of its entries; all other fields and their order stay.

    Args:
        manifest: an index.
        keep: digests of the entries to keep; entries that share a digest stay together.
        replacing: new manifests of rewritten entries, by old digest.

    Returns:
        The new index; the same arguments always give the same bytes.
    """
    document = load(manifest.content)
    kept = [entry for _, entry in _objects(document, "manifests") if entry["digest"] in keep]
    for entry in kept:
        new = replacing.get(entry["digest"])
        if new is not None:
            entry["digest"], entry["size"] = new.digest, len(new.content)
            # Holds the old content in base64 (descriptor.md, "data").
            entry.pop("data", None)
    content = dump({**document, "manifests": kept})
    algorithm = manifest.digest.partition(":")[0]
    digest = compute_digest(content, manifest.media_type, algorithm)
    return parse(content, manifest.media_type, digest)


def same_json(a: bytes, b: bytes) -> bool:
    """Whether both are the same JSON object, maybe serialised differently; False if one is not an object."""
    try:
        return dump(load(a), sort_keys=True) == dump(load(b), sort_keys=True)
    except ManifestError:
        return False


def config_platform(content: bytes) -> Platform | None:
    """The platform that an image's config states (image-spec, config.md).

    Returns:
        None if it states none or is not an image config: then no filter applies.
    """
    try:
        return _platform(load(content))
    except ManifestError:
        return None


def _recognise(document: dict[str, Any], content_type: str) -> str:
    """The media type of a manifest: its own `mediaType`, else the registry's Content-Type, else a guess."""
    stated, header = _text(document, "mediaType", "the manifest"), _plain(content_type)
    if stated and stated not in KINDS:
        raise ManifestError(f"the manifest's type {stated[:160]!r} is unknown")
    if not stated and header not in _OPAQUE and header not in KINDS:
        raise ManifestError(f"the registry sent the type {header[:160]!r}, which is not a manifest type")
    if stated and header in KINDS and header != stated:
        raise ManifestError(f"the manifest says its type is {stated}, the registry says {header}")
    media_type = stated or (header if header in KINDS else _guess(document))
    if KINDS[media_type] == "schema1":
        media_type = _SCHEMA1_SIGNED if document.get("signatures") else _SCHEMA1
    version = document.get("schemaVersion")
    expected = 1 if KINDS[media_type] == "schema1" else 2
    if version is not None and (version is True or version != expected):
        raise ManifestError(f"the manifest is {media_type} with schemaVersion {_shown(version)}")
    return media_type


def _guess(document: dict[str, Any]) -> str:
    """Infer the media type from the document's fields."""
    version, config, entries = (document.get(name) for name in ("schemaVersion", "config", "manifests"))
    if config is not None and entries is not None:
        raise ManifestError("the manifest is ambiguous: it has both config and manifests")
    if version == 1:
        return _SCHEMA1
    if version == 2 and isinstance(config, dict):  # noqa: PLR2004 - schemaVersion is a plain number in all specifications
        return _DOCKER_IMAGE if config.get("mediaType") == _DOCKER_CONFIG else _OCI_IMAGE
    if version == 2 and isinstance(entries, list):  # noqa: PLR2004 - likewise
        docker = [
            isinstance(entry, dict) and str(entry.get("mediaType")).startswith(_DOCKER_MANIFEST)
            for entry in entries
        ]
        return _DOCKER_LIST if docker and all(docker) else OCI_INDEX
    if version is None and config is None and isinstance(document.get("blobs"), list):
        return _OCI_ARTIFACT
    names = ", ".join(map(_shown, list(document)[:8]))
    raise ManifestError(f"the document is not a manifest; it has {names or 'nothing'}")


def _entries(document: dict[str, Any]) -> tuple[tuple[Descriptor, ...], tuple[Descriptor, ...]]:
    """The manifests and blobs of an index: an entry with a type other than a manifest's is a blob."""
    if "manifests" not in document:
        raise ManifestError("the index has no list of manifests")
    children, blobs = dict[Descriptor, None](), list[Descriptor]()
    for item in _objects(document, "manifests"):
        entry = _descriptor(*item)
        if _plain(entry.media_type) in ("", *KINDS):
            children[entry] = None
        else:
            blobs.append(entry)
    return tuple(children), _once(blobs)


def _blobs(document: dict[str, Any], media_type: str) -> tuple[Descriptor, ...]:
    found: Iterable[Descriptor]
    if KINDS[media_type] == "schema1":
        found = (_layer(*item) for item in _objects(document, "fsLayers"))
    elif media_type == _OCI_ARTIFACT:
        found = (_descriptor(*item) for item in _objects(document, "blobs"))
    elif isinstance(document.get("config"), dict):
        items = chain([("config", document["config"])], _objects(document, "layers"))
        found = (_descriptor(*item) for item in items)
    else:
        raise ManifestError("the manifest has no config")
    return _once(found)


def _once(blobs: Iterable[Descriptor]) -> tuple[Descriptor, ...]:
    """Each digest once, with its first descriptor."""
    once: dict[str, Descriptor] = {}
    for blob in blobs:
        once.setdefault(blob.digest, blob)
    return tuple(once.values())


def _objects(document: dict[str, Any], name: str) -> Iterable[tuple[str, dict[str, Any]]]:
    """The objects of a list, each with its path for messages; null or missing is an empty list, as in Go."""
    items = document.get(name)
    if items is None:
        return
    if not isinstance(items, list):
        raise ManifestError(f"{name} is not a list")
    for position, item in enumerate(items):
        where = f"{name}[{position}]"
        if not isinstance(item, dict):
            raise ManifestError(f"{where} is not an object")
        yield where, item


def _descriptor(where: str, item: dict[str, Any]) -> Descriptor:
    size = item.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MAX_SIZE:
        raise ManifestError(f"{where} has no size: {_shown(size)}")
    return Descriptor(
        media_type=_text(item, "mediaType", where),
        digest=_digest(item, "digest", where),
        size=size,
        platform=_platform(item.get("platform")),
        has_urls=bool(item.get("urls")),
        attests=_attested(item),
        is_attestation="vnd.docker.reference.type" in _annotations(item),
    )


def _layer(where: str, item: dict[str, Any]) -> Descriptor:
    """A layer of schema 1, which states only digests."""
    return Descriptor(media_type="application/octet-stream", digest=_digest(item, "blobSum", where), size=-1)


def _digest(item: dict[str, Any], name: str, where: str) -> str:
    digest = _text(item, name, where)
    if not is_digest(digest):
        raise ManifestError(f"{where} has no sha256 or sha512 digest: {digest[:160]!r}")
    return digest


def _attested(item: dict[str, Any]) -> str:
    """The digest that an index entry attests, from BuildKit's annotation."""
    attested = _annotations(item).get("vnd.docker.reference.digest")
    return attested if isinstance(attested, str) and is_digest(attested) else ""


def _annotations(item: dict[str, Any]) -> dict[str, Any]:
    annotations = item.get("annotations")
    return annotations if isinstance(annotations, dict) else {}


def _platform(stated: Any) -> Platform | None:
    """The platform that an object states; values other than text are ignored."""
    if not isinstance(stated, dict):
        return None
    names = ("os", "os.version", "architecture", "variant")
    os, version, architecture, variant = (
        value if isinstance(value, str) else "" for value in map(stated.get, names)
    )
    if not (os or version or architecture or variant):
        return None
    return normalise(os=os, os_version=version, architecture=architecture, variant=variant)


def _text(item: dict[str, Any], name: str, where: str) -> str:
    value = item.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ManifestError(f"{where}: {name} is not text")
    return value


def _shown(value: Any) -> str:
    """A registry's value for a one-line message, without the contents of lists and objects."""
    return "a list or an object" if isinstance(value, list | dict) else repr(value)[:80]


def _plain(content_type: str) -> str:
    """A Content-Type without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def _signed_payload(content: bytes) -> bytes:
    """The bytes that docker schema 1 signatures cover (distribution's libtrust format); unsigned: all.

    Each signature's protected header states the length of the covered part and the bytes that end it.
    """
    try:
        document = load(content)
    except ManifestError:
        return content
    signatures = document.get("signatures")
    if document.get("schemaVersion") != 1 or not signatures:
        return content
    try:
        header = load(_decode(signatures[0]["protected"]))
        length, tail = header["formatLength"], _decode(header["formatTail"])
    except (LookupError, TypeError, ValueError, AttributeError, ManifestError):
        raise ManifestError("the signatures of the manifest do not state which bytes they cover") from None
    if not isinstance(length, int) or not 0 < length <= len(content):
        raise ManifestError(f"the signatures of the manifest cover {_shown(length)} bytes of {len(content)}")
    return content[:length] + tail


def _decode(text: str) -> bytes:
    """Base64url without padding, as in JSON Web Signatures (RFC 7515)."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
