"""The expected result of a rule for an image, worked out from docs/promises.md.

It shares no code with the program.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.registry.content import ALL_TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping

ATTESTS = "vnd.docker.reference.digest"
_TYPE = "vnd.docker.reference.type"
Clauses = tuple[str, ...]


class Place(NamedTuple):
    """A tag or digest of a repository."""

    registry: str
    repository: str
    name: str

    def __str__(self) -> str:
        """As written in rules."""
        return f"{self.registry}/{self.repository}{'@' if ':' in self.name else ':'}{self.name}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A platform filter; an empty part matches everything."""

    os: Clauses = ()
    arch: Clauses = ()
    any_of: tuple[tuple[Clauses, Clauses], ...] = ()
    """Alternatives of both, instead of combining the fields above."""

    def __bool__(self) -> bool:
        """Whether the filter can drop anything."""
        return bool(self.os or self.arch or self.any_of)

    def takes(self, stated: Mapping[str, Any] | None) -> bool:
        """Whether a platform matches; unstated parts match."""
        return any(_fits(os, arch, stated or {}) for os, arch in self.any_of or ((self.os, self.arch),))


def _fits(systems: Clauses, machines: Clauses, stated: Mapping[str, Any]) -> bool:
    os, arch = stated.get("os", ""), stated.get("architecture", "")
    variant = stated.get("variant") or {"arm64": "v8", "arm": "v7"}.get(arch, "")
    return _fits_os(systems, os, stated.get("os.version", "")) and (
        not machines or not arch or any(each in (arch, f"{arch}:{variant}") for each in machines)
    )


def _fits_os(systems: Clauses, os: str, version: str) -> bool:
    for each in systems:
        name, _, number = each.partition(":")
        if name == os and (not version or f"{version}.".startswith(f"{number}." if number else "")):
            return True
    return not systems or not os


@dataclass(frozen=True, slots=True)
class Form:
    """How a rule writes an image."""

    wanted: Wanted = field(default_factory=Wanted)
    index: str = "trim"
    attestations: str = "keep"


WHOLE = Form()


class Pair(NamedTuple):
    """One image that rules name."""

    source: Place
    destination: Place
    form: Form = WHOLE

    def __str__(self) -> str:
        """As text for messages."""
        form = "" if self.form == WHOLE else f" as {self.form}"
        return f"{self.source} -> {self.destination}{form}"


@dataclass(slots=True)
class Held:
    """The content of one repository."""

    tags: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    """Content and media type by digest."""
    blobs: dict[str, bytes] = field(default_factory=dict)

    def digest(self, name: str) -> str | None:
        """The digest of a tag or of a digest, if the manifest exists."""
        digest = name if ":" in name else self.tags.get(name)
        return digest if digest in self.manifests else None


World = dict[tuple[str, str], Held]
"""By registry and repository."""


@dataclass(frozen=True, slots=True)
class Tree:
    """The expected content of a manifest at the destination."""

    digest: str
    """The digest at the source."""
    entries: tuple[tuple[dict[str, Any], Tree], ...] | None
    """The kept entries of an index, with their trees; None if the manifest is not an index."""
    changed: bool
    """Whether something below was dropped, so that the digest differs from the source's."""
    is_blob: bool = False
    """Whether it is a blob that an index lists, not a manifest."""


def left_of(held: Held, digest: str, form: Form) -> Tree | None:
    """What is left of an image in this form; None if nothing is left.

    Raises:
        LookupError: the source lacks a manifest, or the image cannot have the form.
    """
    tree = _left_of(held, digest, form)
    if tree is None or tree.entries is None:
        return None if tree is None or not form.wanted.takes(_own_platform(held, digest)) else tree
    if form.index == "single":
        return _only(tree)
    if form.index == "sparse" and tree.changed:
        if any(child.changed for _, child in tree.entries):
            raise LookupError("a nested index lacks entries")
        return Tree(tree.digest, tree.entries, changed=False)
    return tree


def _left_of(held: Held, digest: str, form: Form) -> Tree | None:
    body = json.loads(held.manifests[digest][0])
    if "manifests" not in body:
        return Tree(digest, None, changed=False)
    every = [each for each in body["manifests"] if form.attestations == "keep" or not _is_attestation(each)]
    below: dict[str, Tree] = {}
    for entry in every:
        if not form.wanted or (not _attested(entry) and form.wanted.takes(entry.get("platform"))):
            tree = (
                Tree(entry["digest"], None, changed=False, is_blob=True)
                if _is_blob(entry)
                else _left_of(held, entry["digest"], form)
            )
            if tree is not None:
                below[entry["digest"]] = tree
    if body["manifests"] and not below:
        return None
    for entry in every:
        if _attested(entry) in below and entry["digest"] not in below:
            below[entry["digest"]] = Tree(entry["digest"], None, changed=False)
    kept = tuple((entry, below[entry["digest"]]) for entry in every if entry["digest"] in below)
    fewer = len(kept) < len(body["manifests"])
    return Tree(digest, kept, changed=fewer or any(tree.changed for _, tree in kept))


def _only(tree: Tree) -> Tree:
    """The only image of an index."""
    images = {child.digest: child for entry, child in tree.entries or () if not _is_attestation(entry)}
    if len(images) != 1 or any(child.is_blob for child in images.values()):
        raise LookupError("there is not exactly one image")
    (child,) = images.values()
    return child if child.entries is None else _only(child)


def outcome(held: Held, tree: Tree) -> Any:
    """A value for the content at the destination; equal values mean equal content."""
    if not tree.changed:
        return tree.digest
    body = json.loads(held.manifests[tree.digest][0])
    entries = [entry | {"digest": outcome(held, each), "size": 0} for entry, each in tree.entries or ()]
    return json.dumps({**body, "manifests": entries}, sort_keys=True)


def _is_blob(entry: Mapping[str, Any]) -> bool:
    return entry.get("mediaType", "") not in ("", *ALL_TYPES)


def _attested(entry: Mapping[str, Any]) -> str:
    return str((entry.get("annotations") or {}).get(ATTESTS, ""))


def _is_attestation(entry: Mapping[str, Any]) -> bool:
    return _TYPE in (entry.get("annotations") or {})


def _own_platform(held: Held, digest: str) -> Mapping[str, Any] | None:
    body = json.loads(held.manifests[digest][0])
    if body.get("schemaVersion") == 1:
        return {"architecture": body.get("architecture", "")}
    if "image" not in body["config"]["mediaType"]:
        return None
    config = held.blobs.get(body["config"]["digest"])
    found: Mapping[str, Any] | None = json.loads(config) if config else None
    return found


def entries_of(content: bytes) -> list[Any]:
    """The entries of a list: referrers, or signatures."""
    body = json.loads(content)
    found: list[Any] = body.get("manifests") or body.get("layers") or []
    return found


def blobs_of(content: bytes) -> dict[str, bool]:
    """The blobs that a manifest names, and whether each may be missing because it has urls."""
    body = json.loads(content)
    named = [*([body["config"]] if "config" in body else []), *body.get("layers", ())]
    named += filter(_is_blob, body.get("manifests", ()))
    found = {each["digest"]: bool(each.get("urls")) for each in named}
    return found | {each["blobSum"]: False for each in body.get("fsLayers", ())}
