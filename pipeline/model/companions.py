"""Tags that have several writers, whose entries are joined and never overwritten.

Where a registry has no referrers API, what refers to a manifest is listed by an index under the tag
`sha256-<hex>` (OCI distribution specification, "Referrers Tag Schema"). cosign keeps signatures, attestations
and SBOMs as the layers of an image under that tag with a suffix. A destination's own are lost with its tag.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pipeline.errors import ManifestError
from pipeline.model.document import dump, load
from pipeline.model.manifest import compute_digest, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.model.manifest import Manifest
    from pipeline.model.reference import Reference

_SHARED = re.compile(r"(?:sha256|sha512)-[0-9a-f]{64}(?:\.(sig|att|sbom))?")


def is_shared(reference: Reference) -> bool:
    """Whether the reference is a tag that lists what belongs to another manifest."""
    return _SHARED.fullmatch(reference.name) is not None


def join(own: Manifest, there: Manifest, tag: str) -> Manifest | None:
    """What a shared tag is to hold: all entries of the source's and all of the destination's.

    Args:
        own: the source's.
        there: the destination's.
        tag: a shared tag.

    Returns:
        `there` where it holds all entries of `own`, `own` where it holds all of `there`, else a new manifest;
        None: both are ordinary images, which only happen to have such a tag.

    Raises:
        ManifestError: they cannot be joined, or the result is too large.
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
    """Both lists, each entry once; `first` is the one that is kept and added to."""
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
    """A referrer is the same where its digest is."""
    return str(entry["digest"])


def _text(entry: Any) -> str:
    """Two signatures of one payload are told apart by their annotations alone."""
    return dump(entry, sort_keys=True).decode()
