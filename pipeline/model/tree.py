"""Trees of manifests: which manifests to read next, and what a platform filter keeps, in push order.

Pure functions of the manifests read so far. A tree is walked by levels. A manifest that occurs at several
depths is in each of these levels, so the deepest level first is a push order, and neither a cycle nor a
lattice of indexes costs more than MAX_DEPTH levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from pipeline.errors import ManifestError
from pipeline.model.manifest import without
from pipeline.model.platform import Filter
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
    """Entries that the filter dropped from all indexes."""
    original: str
    """Digest of the root at the source; differs from the last manifest's digest iff the root was
    rewritten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """The filter keeps nothing of the image."""

    reason: str
    """For people: the filter and the platforms that exist."""


def unread(root: str, read: Mapping[str, Manifest], wanted: Filter) -> tuple[str, ...]:
    """The manifests that have to be read before `prune` can decide.

    Each call walks the whole tree: call again when all of them have been read.

    Args:
        root: digest of the image's top manifest.
        read: manifests read so far, by digest; manifests of other images do no harm.
        wanted: the filter; entries that it drops are never read.

    Returns:
        Digests, level by level in the order of the indexes, each once; empty: nothing is missing.

    Raises:
        ManifestError: indexes nested deeper than MAX_DEPTH or in a cycle, more manifests than
            MAX_TREE_ENTRIES, or more bytes than MAX_TREE_BYTES, counting the announced sizes of unread ones.
    """
    levels = _levels(root, read, wanted)
    return tuple(dict.fromkeys(digest for level in levels for digest in level if digest not in read))


def prune(root: str, read: Mapping[str, Manifest], wanted: Filter) -> Plan | Skip:
    """Apply the filter to an image's manifests.

    An index is pushed unchanged if all its entries are kept, rewritten if some are, and dropped if none is.
    An empty index (image-spec, image-index.md: "manifests" may be empty) is kept by every filter.

    Args:
        root: digest of the image's top manifest.
        read: all that `unread` names for the same root and filter.
        wanted: the filter.

    Raises:
        ManifestError: as `unread`.
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
    if read[root].kind != "index" and not wanted.matches(top.platform):
        return Skip(reason=f"its platform {top.platform} does not match {wanted}")
    final = {manifest.digest: manifest for manifest in pruned.values() if manifest is not None}
    upwards = reversed(_levels(top.digest, final, Filter()))
    manifests = tuple(final[digest] for digest in dict.fromkeys(chain.from_iterable(upwards)))
    return Plan(manifests=manifests, dropped=_entries(indexes) - _entries(manifests), original=root)


def _levels(root: str, read: Mapping[str, Manifest], wanted: Filter) -> Sequence[Sequence[str]]:
    """The digests at each depth, the root alone at the first; each once per level."""
    levels: list[Sequence[str]] = [(root,)]
    sizes: dict[str, int] = {root: 0}
    while True:
        indexes = [read[digest] for digest in levels[-1] if digest in read and read[digest].kind == "index"]
        if not indexes:
            return levels
        if len(levels) > MAX_DEPTH:
            raise ManifestError(f"indexes are nested more than {MAX_DEPTH} deep, or form a cycle")
        entries = [entry for index in indexes for entry in _kept(index, wanted)]
        sizes.update((index.digest, len(index.content)) for index in indexes)
        for entry in entries:
            sizes[entry.digest] = len(read[entry.digest].content) if entry.digest in read else entry.size
        if len(sizes) > MAX_TREE_ENTRIES:
            raise ManifestError(f"the image has more than {MAX_TREE_ENTRIES} manifests")
        if sum(sizes.values()) > MAX_TREE_BYTES:
            raise ManifestError(f"the manifests of the image have more than {MAX_TREE_BYTES // MIB} MiB")
        levels.append(tuple(dict.fromkeys(entry.digest for entry in entries)))


def _kept(index: Manifest, wanted: Filter) -> Sequence[Descriptor]:
    """The entries that the filter keeps by what the index states; attestations follow their image.

    Entries that share a digest (one image for arm/v6 and arm/v7) stay together.
    """
    if not wanted.active:
        return index.children
    images = {
        entry.digest for entry in index.children if not entry.attests and wanted.matches(entry.platform)
    }
    return [entry for entry in index.children if entry.digest in images or entry.attests in images]


def _kept_blobs(index: Manifest, wanted: Filter) -> set[str]:
    """The blob entries whose platform is wanted or not stated."""
    return {blob.digest for blob in index.blobs if wanted.matches(blob.platform)}


def _pruned(manifest: Manifest, pruned: Mapping[str, Manifest | None], wanted: Filter) -> Manifest | None:
    """What the filter keeps of a manifest whose children are pruned; None: nothing."""
    entries = {entry.digest for entry in (*manifest.children, *manifest.blobs)}
    if manifest.kind != "index" or not (wanted.active and entries):
        return manifest
    there = [(entry, new) for entry in _kept(manifest, wanted) if (new := pruned[entry.digest]) is not None]
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
    """How many entries the indexes among the manifests have."""
    indexes = [manifest for manifest in manifests if manifest.kind == "index"]
    return sum(len(index.children) + len(index.blobs) for index in indexes)


def _reason(indexes: Iterable[Manifest], wanted: Filter) -> str:
    """Why the filter keeps nothing."""
    entries = [entry for index in indexes for entry in (*index.children, *index.blobs)]
    platforms = sorted({str(entry.platform) for entry in entries if entry.platform and not entry.attests})
    named = ", ".join(platforms[:_NAMED])
    more = f" and {len(platforms) - _NAMED} more" if len(platforms) > _NAMED else ""
    return f"no platform matches {wanted}: there are {named or 'none'}{more}"
