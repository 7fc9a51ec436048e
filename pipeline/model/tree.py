"""Trees of manifests: which manifests to read next, and what a pruning keeps, in push order.

Pure functions of the manifests read so far. A tree is walked by levels. A manifest that occurs at several
depths is in each of these levels, so the deepest level first is a push order, and neither a cycle nor a
lattice of indexes costs more than MAX_DEPTH levels.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass
from pipeline.errors import ManifestError
from pipeline.model.manifest import without
from pipeline.model.pruning import Pruning
from pipeline.settings import MAX_DEPTH, MAX_TREE_BYTES, MAX_TREE_ENTRIES, MIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pipeline.model.manifest import Descriptor, Manifest

_NAMED = 8
"""Platforms named in a reason; the rest are only counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The manifests of one image to push."""

    manifests: tuple[Manifest, ...]
    """In push order, each once: children before their index, the root last."""
    dropped: int
    """Entries that are left out of all indexes."""
    original: str
    """Digest of the root at the source; differs from the last manifest's digest iff the root was
    rewritten."""
    sparse: bool = False
    """Whether the root names children that are not among the manifests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """Nothing is kept of the image."""

    reason: str
    """For people: the filter and the platforms that exist."""


def unread(root: str, read: Mapping[str, Manifest], wanted: Pruning) -> tuple[str, ...]:
    """The manifests that must be read before `prune` can decide.

    Each call walks the whole tree: call again when all of them have been read.

    Args:
        root: digest of the image's top manifest.
        read: manifests read so far, by digest; manifests of other images do no harm.
        wanted: what is kept; entries that it drops are never read.

    Returns:
        Digests, level by level in the order of the indexes, each once; empty: nothing is missing.

    Raises:
        ManifestError: indexes nested deeper than MAX_DEPTH or in a cycle, more manifests than
            MAX_TREE_ENTRIES, or more bytes than MAX_TREE_BYTES, counting the announced sizes of unread ones.
    """
    levels = _levels(root, read, wanted)
    return tuple(dict.fromkeys(digest for level in levels for digest in level if digest not in read))


def prune(root: str, read: Mapping[str, Manifest], wanted: Pruning) -> Plan | Skip:
    """Leave out of an image's manifests what the pruning drops.

    An index is pushed unchanged if all its entries are kept, rewritten if some are, and dropped if none is.
    An empty index (image-spec, image-index.md: "manifests" may be empty) is kept by every filter.

    Args:
        root: digest of the image's top manifest.
        read: all that `unread` names for the same root and pruning.
        wanted: what is kept.

    Raises:
        ManifestError: as `unread`; the form of index that is wanted cannot be had of this image.
    """
    levels = _levels(root, read, wanted)
    pruned: dict[str, Manifest | None] = {}
    for digest in chain.from_iterable(reversed(levels)):
        if digest not in pruned:
            pruned[digest] = _pruned(read[digest], pruned, wanted)
    top = pruned[root]
    indexes = [read[digest] for digest in pruned if read[digest].kind == "index"]
    if top is None:
        return Skip(reason=_reason(indexes, wanted))
    if read[root].kind != "index" and not wanted.platforms.matches(top.platform):
        return Skip(reason=f"its platform {top.platform} does not match {wanted.platforms}")
    final = {manifest.digest: manifest for manifest in pruned.values() if manifest is not None}
    entries = _entries(indexes)
    if wanted.index == "single" and top.kind == "index":
        only = _only(top, final)
        return Plan(manifests=(only,), dropped=entries - 1, original=root)
    manifests = _upwards(top, final)
    dropped = entries - _entries(manifests)
    if wanted.index == "sparse" and top.digest != root:
        _check_nested(top, read)
        return Plan(manifests=(*manifests[:-1], read[root]), dropped=dropped, original=root, sparse=True)
    return Plan(manifests=manifests, dropped=dropped, original=root)


def _upwards(top: Manifest, final: Mapping[str, Manifest]) -> tuple[Manifest, ...]:
    """All manifests of a tree, each once, children before their index."""
    upwards = reversed(_levels(top.digest, final, Pruning()))
    return tuple(final[digest] for digest in dict.fromkeys(chain.from_iterable(upwards)))


def _only(index: Manifest, final: Mapping[str, Manifest]) -> Manifest:
    """The only image that is left in an index, attestations not counted."""
    images = list(
        dict.fromkeys(entry.digest for entry in index.children if not (entry.is_attestation or entry.attests))
    )
    if len(images) != 1 or index.blobs:
        platforms = _named([index]) if images else "none"
        raise ManifestError(f"index: single needs exactly one image, and these are left: {platforms}")
    child = final[images[0]]
    return _only(child, final) if child.kind == "index" else child


def _check_nested(top: Manifest, read: Mapping[str, Manifest]) -> None:
    """Check that only the root of a sparse image lacks children: images may share a nested index."""
    if any(entry.digest not in read for entry in top.children):
        raise ManifestError("index: sparse cannot leave entries out of a nested index; index: trim can")


def _levels(root: str, read: Mapping[str, Manifest], wanted: Pruning) -> Sequence[Sequence[str]]:
    """The digests at each depth, the root alone at the first; each once per level."""
    levels: list[Sequence[str]] = [(root,)]
    sizes: dict[str, int] = {root: 0}
    while True:
        indexes = [read[digest] for digest in levels[-1] if digest in read and read[digest].kind == "index"]
        if not indexes:
            return levels
        if len(levels) > MAX_DEPTH:
            raise ManifestError(f"indexes are nested more than {MAX_DEPTH} deep, or form a cycle")
        entries = [entry for index in indexes for entry in kept_entries(index, wanted)]
        sizes.update((index.digest, len(index.content)) for index in indexes)
        for entry in entries:
            sizes[entry.digest] = len(read[entry.digest].content) if entry.digest in read else entry.size
        if len(sizes) > MAX_TREE_ENTRIES:
            raise ManifestError(f"the image has more than {MAX_TREE_ENTRIES} manifests")
        if sum(sizes.values()) > MAX_TREE_BYTES:
            raise ManifestError(f"the manifests of the image have more than {MAX_TREE_BYTES // MIB} MiB")
        levels.append(tuple(dict.fromkeys(entry.digest for entry in entries)))


def kept_entries(index: Manifest, wanted: Pruning) -> Sequence[Descriptor]:
    """The entries that are kept by what the index states; attestations follow their image.

    Entries that share a digest (one image for arm/v6 and arm/v7) stay together.
    """
    children = [entry for entry in index.children if not wanted.drops(entry)]
    if not wanted.platforms.active:
        return children
    images = {
        entry.digest for entry in children if not entry.attests and wanted.platforms.matches(entry.platform)
    }
    return [entry for entry in children if entry.digest in images or entry.attests in images]


def _kept_blobs(index: Manifest, wanted: Pruning) -> set[str]:
    """The blob entries whose platform is wanted or not stated."""
    return {blob.digest for blob in index.blobs if wanted.platforms.matches(blob.platform)}


def _pruned(manifest: Manifest, pruned: Mapping[str, Manifest | None], wanted: Pruning) -> Manifest | None:
    """What is kept of a manifest whose children are pruned; None: nothing."""
    entries = {entry.digest for entry in (*manifest.children, *manifest.blobs)}
    if manifest.kind != "index" or not (wanted.active and entries):
        return manifest
    there = [
        (entry, new) for entry in kept_entries(manifest, wanted) if (new := pruned[entry.digest]) is not None
    ]
    present = {entry.digest for entry, _ in there}
    left = {entry.digest: new for entry, new in there if not entry.attests or entry.attests in present}
    keep = left.keys() | _kept_blobs(manifest, wanted)
    if not keep:
        return None
    replacing = {digest: new for digest, new in left.items() if new.digest != digest}
    if not replacing and keep == entries:
        return manifest
    return without(manifest, keep, replacing=replacing)


def _entries(manifests: Iterable[Manifest]) -> int:
    """The number of entries of the indexes among the manifests."""
    indexes = [manifest for manifest in manifests if manifest.kind == "index"]
    return sum(len(index.children) + len(index.blobs) for index in indexes)


def _reason(indexes: Sequence[Manifest], wanted: Pruning) -> str:
    """Why nothing is kept."""
    if not wanted.platforms.active:
        return "it has nothing but attestations, and attestations are dropped"
    return f"no platform matches {wanted.platforms}: there are {_named(indexes)}"


def _named(indexes: Iterable[Manifest]) -> str:
    """The platforms of the images in some indexes."""
    entries = [entry for index in indexes for entry in (*index.children, *index.blobs)]
    platforms = sorted({str(entry.platform) for entry in entries if entry.platform and not entry.attests})
    named = ", ".join(platforms[:_NAMED])
    more = f" and {len(platforms) - _NAMED} more" if len(platforms) > _NAMED else ""
    return f"{named or 'none'}{more}"
