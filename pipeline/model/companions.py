"""Tags that list companions of another manifest: entries of both sides are merged, never overwritten.

Where a registry has no referrers API, an index under the tag `sha256-<hex>` lists the referrers of a manifest
(OCI distribution specification, "Referrers Tag Schema"). cosign keeps signatures, attestations and SBOMs as
layers of an image under that tag with a suffix. Overwriting such a tag would lose the destination's own
entries.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pipeline.errors import ManifestError
from pipeline.model.document import dump, load
from pipeline.model.manifest import OCI_INDEX, compute_digest, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pipeline.model.manifest import Manifest
    from pipeline.model.reference import Reference

_NOT_IN_TAGS = re.compile(r"[^A-Za-z0-9_.-]")
_SUFFIXES = ("sig", "att", "sbom")
COSIGN_SIGNATURE = "application/vnd.dev.cosign.simplesigning.v1+json"
_SHARED = re.compile(r"(?:sha256|sha512)-[0-9a-f]{64}(?:\.(sig|att|sbom))?")


def fallback_tag(digest: str) -> str:
    """The tag whose index lists the referrers of `digest` where a registry has no referrers API."""
    algorithm, _, encoded = digest.partition(":")
    return _NOT_IN_TAGS.sub("-", f"{algorithm[:32]}-{encoded[:64]}")


def subject(tag: str) -> str:
    """The digest whose companions a shared tag lists; empty: it is not a shared tag."""
    found = _SHARED.fullmatch(tag)
    return tag.partition(".")[0].replace("-", ":", 1) if found else ""


def cosign_tags(digest: str) -> tuple[str, ...]:
    """The tags under which cosign keeps the companions of a manifest."""
    return tuple(f"{fallback_tag(digest)}.{suffix}" for suffix in _SUFFIXES)


def referrer_index(entries: Iterable[bytes]) -> Manifest:
    """The index of a fallback tag, with these entries.

    Raises:
        ManifestError: it is too large.
    """
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [load(each) for each in entries]}
    content = dump(document)
    return parse(content, OCI_INDEX, compute_digest(content, OCI_INDEX, "sha256"))


def referrer_entry(manifest: Manifest) -> bytes:
    """The entry of an artifact in a list, made from its manifest (OCI distribution specification)."""
    document = load(manifest.content)
    annotations = document.get("annotations")
    entry = {
        "mediaType": manifest.media_type,
        "digest": manifest.digest,
        "size": len(manifest.content),
        "artifactType": _artifact_type(document),
        **({"annotations": annotations} if annotations else {}),
    }
    return dump(entry)


def artifact_types(manifest: Manifest, tag: str) -> tuple[str, ...]:
    """The types of a companion: its artifact type, or under one of cosign's tags those of its layers."""
    document = load(manifest.content)
    if not tag:
        return (_artifact_type(document),)
    if tag.endswith(".sig"):
        return (COSIGN_SIGNATURE,)
    layers = document.get("layers")
    return tuple(str(layer.get("mediaType")) for layer in layers) if isinstance(layers, list) else ()


def _artifact_type(document: Mapping[str, Any]) -> str:
    config = document.get("config")
    kind = config.get("mediaType") if isinstance(config, dict) else ""
    return str(document.get("artifactType") or kind or "")


def is_fallback(reference: Reference) -> bool:
    """Whether the reference is a fallback tag, which a registry with a referrers API does not need."""
    digest = subject(reference.name)
    return bool(digest) and fallback_tag(digest) == reference.name


def is_shared(reference: Reference) -> bool:
    """Whether the reference is a tag that lists companions of another manifest."""
    return _SHARED.fullmatch(reference.name) is not None


def join(own: Manifest, there: Manifest, tag: str) -> Manifest | None:
    """Merge the entries of both sides of a shared tag.

    Args:
        own: the source's manifest.
        there: the destination's manifest.
        tag: a shared tag.

    Returns:
        `there` if it has all entries of `own`, `own` if it has all of `there`, else a new manifest; None if
        both are ordinary images that only happen to have such a tag.

    Raises:
        ManifestError: they cannot be merged, or the result is too large.
    """
    found = _SHARED.fullmatch(tag)
    assert found is not None
    if found[1]:
        return _joined(own, there, kind="image", name="layers", same=_text, first=own)
    if "index" not in (own.kind, there.kind):
        return None
    return _joined(own, there, kind="index", name="manifests", same=_digest, first=there)


def _joined(
    own: Manifest, there: Manifest, *, kind: str, name: str, same: Callable[[Any], str], first: Manifest
) -> Manifest:
    """Merge both lists, each entry once, into a copy of `first`."""
    documents = {manifest.digest: load(manifest.content) for manifest in (own, there)}
    if {own.kind, there.kind} != {kind} or any(name not in document for document in documents.values()):
        raise ManifestError(f"the source has {own.media_type}, the destination {there.media_type}")
    lists: dict[str, list[Any]] = {digest: each[name] or [] for digest, each in documents.items()}
    ours, theirs = ({same(entry) for entry in lists[each.digest]} for each in (own, there))
    if ours <= theirs:
        return there
    if theirs <= ours:
        return own
    second, known = (own, theirs) if first is there else (there, ours)
    more = [entry for entry in lists[second.digest] if same(entry) not in known]
    content = dump({**documents[first.digest], name: [*lists[first.digest], *more]})
    return parse(content, first.media_type, compute_digest(content, first.media_type, "sha256"))


def _digest(entry: Any) -> str:
    """The identity of a referrer."""
    return str(entry["digest"])


def _text(entry: Any) -> str:
    """The identity of a signature: two signatures of one payload differ only in annotations."""
    return dump(entry, sort_keys=True).decode()
