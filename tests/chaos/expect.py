"""What is promised, worked out anew: the pairs that rules name, and what a filter leaves of an image.

A second reading of docs/promises.md and docs/rules.md, kept to the forms that rounds draw. It shares no code
with the program.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.registry.content import ALL_TYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ATTESTS = "vnd.docker.reference.digest"
LISTS = re.compile(r"sha256-[0-9a-f]{64}(\.sig)?")
"""Tags whose entries are joined with the destination's; with the suffix: the layers of an image."""


class Place(NamedTuple):
    """A tag or digest of a repository."""

    registry: str
    repository: str
    name: str

    def __str__(self) -> str:
        """As rules write it."""
        return f"{self.registry}/{self.repository}{'@' if ':' in self.name else ':'}{self.name}"


class Pair(NamedTuple):
    """One image that rules name."""

    source: Place
    destination: Place

    def __str__(self) -> str:
        """For people."""
        return f"{self.source} -> {self.destination}"


@dataclass(slots=True)
class Held:
    """The content of one repository."""

    tags: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    """Content and media type by digest."""
    blobs: dict[str, bytes] = field(default_factory=dict)

    def digest(self, name: str) -> str | None:
        """The digest of a tag, or of itself, that is there."""
        digest = name if ":" in name else self.tags.get(name)
        return digest if digest in self.manifests else None


Rules = dict[str, list[str]]
World = dict[tuple[str, str], Held]
"""By registry and repository."""


class Source(NamedTuple):
    """A rule's left side, taken apart; `names` and `pattern` both None: all tags."""

    registry: str
    repository: str
    names: list[str] | None
    pattern: str | None


def read_source(text: str) -> Source:
    """Take a source apart.

    Raises:
        ValueError: it is none.
    """
    registry, slash, rest = text.partition("/")
    head, colon, pattern = rest.partition(":/")
    if colon:
        return Source(registry, head, None, pattern.removesuffix("/"))
    match = re.fullmatch(r"([a-z0-9/._-]+)(?:[:@](.+))?", rest)
    if not slash or match is None:
        raise ValueError(text)
    names = [name.split("@")[-1] for name in match[2].split(",")] if match[2] else None
    return Source(registry, match[1], names, None)


def expand(rules: Rules, tags_of: Callable[[str, str], Sequence[str]]) -> Iterator[Pair]:
    """The pairs that rules name, in the file's order; rules that cannot be read name none."""
    for text, destinations in rules.items():
        try:
            source = read_source(text)
        except ValueError:
            continue
        names = source.names
        if names is None:
            wanted = re.compile(source.pattern or "")
            names = sorted(tag for tag in tags_of(source.registry, source.repository) if wanted.search(tag))
        for position, name in enumerate(names):
            for destination in destinations:
                target = read_source(destination)
                new = target.names[position] if target.names else name
                place = Place(source.registry, source.repository, name)
                yield Pair(place, Place(target.registry, target.repository, new))


@dataclass(frozen=True, slots=True)
class Wanted:
    """A platform filter; empty parts want everything."""

    os: tuple[str, ...] = ()
    arch: tuple[str, ...] = ()

    def takes(self, stated: Mapping[str, Any] | None) -> bool:
        """Whether a platform is wanted; what it does not state speaks for it."""
        stated = stated or {}
        os, arch = stated.get("os", ""), stated.get("architecture", "")
        variant = stated.get("variant") or {"arm64": "v8", "arm": "v7"}.get(arch, "")
        return self._fits_os(os, stated.get("os.version", "")) and (
            not self.arch or not arch or any(each in (arch, f"{arch}:{variant}") for each in self.arch)
        )

    def _fits_os(self, os: str, version: str) -> bool:
        for each in self.os:
            name, _, number = each.partition(":")
            if name == os and (not version or f"{version}.".startswith(f"{number}." if number else "")):
                return True
        return not self.os or not os


@dataclass(frozen=True, slots=True)
class Tree:
    """The expected content at the destination of one manifest."""

    digest: str
    """At the source."""
    entries: tuple[tuple[dict[str, Any], Tree], ...] | None
    """Entries of the index that stay, with what is below them; None: no index."""
    changed: bool
    """Whether something below was left out, so that the destination has another digest."""
    is_blob: bool = False
    """Whether it is no manifest, but a blob that an index lists."""


def left_of(held: Held, digest: str, wanted: Wanted, *, top: bool = True) -> Tree | None:
    """What a filter leaves of a manifest; None: nothing.

    Raises:
        KeyError: the source lacks a manifest below.
    """
    body = json.loads(held.manifests[digest][0])
    if "manifests" not in body:
        return None if top and not wanted.takes(_own_platform(held, body)) else Tree(digest, None, False)
    every = body["manifests"]
    active = bool(wanted.os or wanted.arch)
    below: dict[str, Tree] = {}
    for entry in every:
        if not active or (not _attested(entry) and wanted.takes(entry.get("platform"))):
            tree = (
                Tree(entry["digest"], None, False, is_blob=True)
                if _is_blob(entry)
                else left_of(held, entry["digest"], wanted, top=False)
            )
            if tree is not None:
                below[entry["digest"]] = tree
    if every and not below:
        return None
    for entry in every:
        if _attested(entry) in below and entry["digest"] not in below:
            below[entry["digest"]] = Tree(entry["digest"], None, False)
    kept = tuple((entry, below[entry["digest"]]) for entry in every if entry["digest"] in below)
    return Tree(digest, kept, len(kept) < len(every) or any(tree.changed for _, tree in kept))


def _is_blob(entry: Mapping[str, Any]) -> bool:
    return entry.get("mediaType", "") not in ("", *ALL_TYPES)


def _attested(entry: Mapping[str, Any]) -> str:
    return str((entry.get("annotations") or {}).get(ATTESTS, ""))


def _own_platform(held: Held, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
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
    """The blobs that a manifest itself names, and whether each may be left to urls."""
    body = json.loads(content)
    named = [*([body["config"]] if "config" in body else []), *body.get("layers", ())]
    named += filter(_is_blob, body.get("manifests", ()))
    found = {each["digest"]: bool(each.get("urls")) for each in named}
    return found | {each["blobSum"]: False for each in body.get("fsLayers", ())}
