"""The content of a registry in memory: repositories of blobs, manifests and tags, and upload sessions."""

from __future__ import annotations

import bisect
import hashlib
import heapq
import itertools
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, overload

from tests.registry.content import ALL_TYPES, manifest_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PIECE = 1 << 18


@dataclass(frozen=True, slots=True)
class Blob:
    """`block` repeated up to `size` bytes: one block for an ordinary blob, many for a large one."""

    block: bytes
    size: int

    def pieces(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes from start to stop."""
        end = self.size if stop is None else stop
        if self.size <= len(self.block):
            view = memoryview(self.block)
            for at in range(start, end, _PIECE):
                yield view[at : min(at + _PIECE, end)]  # type: ignore[misc]  # a view is sent like bytes, uncopied
            return
        while start < end:
            offset = start % len(self.block)
            piece = self.block[offset : offset + end - start]
            start += len(piece)
            yield piece

    def read(self) -> bytes:
        """All bytes."""
        return b"".join(self.pieces())


def make_large(size: int, seed: bytes) -> tuple[str, Blob]:
    """A blob of any size of which one block of 1 MiB is in memory, and its digest."""
    blob = Blob((hashlib.sha256(seed).digest() * (1 << 15)), size)
    hasher = hashlib.sha256()
    for piece in blob.pieces():
        hasher.update(piece)
    return f"sha256:{hasher.hexdigest()}", blob


@dataclass(frozen=True, slots=True)
class Stored:
    """One manifest as it was pushed."""

    content: bytes
    media_type: str


class TagRange(Sequence[str]):
    """Computed tags that take no memory: prefix and seven digits, so that they sort by number."""

    def __init__(self, prefix: str, count: int) -> None:
        """See the class."""
        self._prefix, self._length = prefix, count

    def __len__(self) -> int:
        """The number of tags."""
        return self._length

    @overload
    def __getitem__(self, key: int) -> str: ...
    @overload
    def __getitem__(self, key: slice) -> list[str]: ...
    def __getitem__(self, key: int | slice) -> str | list[str]:
        """The tag of that number."""
        if isinstance(key, slice):
            return [self[number] for number in range(*key.indices(self._length))]
        if not 0 <= key < self._length:
            raise IndexError(key)
        return f"{self._prefix}{key:07d}"

    def __contains__(self, tag: object) -> bool:
        """Whether the tag is one of them, without enumerating them."""
        if not isinstance(tag, str) or not tag.startswith(self._prefix):
            return False
        digits = tag.removeprefix(self._prefix)
        return len(digits) == 7 and digits.isdecimal() and int(digits) < self._length


@dataclass(slots=True)
class Upload:
    """One upload session."""

    pieces: list[bytes] = field(default_factory=list)
    size: int = 0
    state: int = 0
    """The number of answers; only the newest one's state is valid."""
    dead: bool = False
    first: int = 0
    """The size after the first piece."""


@dataclass(slots=True)
class Repository:
    """One repository."""

    blobs: dict[str, Blob] = field(default_factory=dict)
    manifests: dict[str, Stored] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    ranges: list[tuple[TagRange, str]] = field(default_factory=list)
    """Computed tags, and the digest that they all name."""
    uploads: dict[str, Upload] = field(default_factory=dict)
    times: dict[str, float] = field(default_factory=dict)
    """When tags were pushed, if a test says so."""
    _sorted: list[str] | None = None

    def tag(self, tag: str, digest: str) -> None:
        """Point the tag at the digest."""
        if tag not in self.tags:
            self._sorted = None
        self.tags[tag] = digest

    def untag(self, tag: str) -> None:
        """Remove a tag."""
        del self.tags[tag]
        self._sorted = None

    def resolve(self, name: str) -> str | None:
        """The digest of a tag (or of a digest), if there is a manifest."""
        if ":" in name:
            return name if name in self.manifests else None
        return self.tags.get(name) or next((to for names, to in self.ranges if name in names), None)

    def names(self, after: str = "") -> Iterator[str]:
        """The tags in order, starting after `after`."""
        if self._sorted is None:
            self._sorted = sorted(self.tags)
        parts: list[Sequence[str]] = [self._sorted, *(names for names, _ in self.ranges)]
        begun = [map(part.__getitem__, range(bisect.bisect_right(part, after), len(part))) for part in parts]
        return (tag for tag, _ in itertools.groupby(heapq.merge(*begun)))


class Store:
    """All repositories; every method may be called from any thread."""

    def __init__(self) -> None:
        """Start empty."""
        self.lock = threading.RLock()
        self.repositories: dict[str, Repository] = {}
        self.projects: dict[str, object] = {}
        """Harbor projects, with the body that created them."""
        self.pulled = 0
        """GETs of manifests, if Options.pulls counts them."""

    def get(self, name: str) -> Repository | None:
        """The repository, if anything was ever put into it."""
        return self.repositories.get(name)

    def create(self, name: str) -> Repository:
        """The repository, created if necessary."""
        with self.lock:
            return self.repositories.setdefault(name, Repository())

    def missing(self, name: str, content: bytes) -> list[str]:
        """The digests that the manifest names and the repository lacks.

        Raises:
            ValueError: it is not a manifest.
        """
        repository = self.create(name)
        blobs, children = referred(content)
        return [
            *(digest for digest in blobs if digest not in repository.blobs),
            *(digest for digest in children if digest not in repository.manifests),
        ]

    def put(self, name: str, stored: Stored, *, digest: str = "", tags: Iterable[str] = ()) -> str:
        """Store a manifest under its digest and these tags; returns the digest."""
        digest = digest or manifest_digest(stored.content)
        with self.lock:
            repository = self.create(name)
            repository.manifests[digest] = stored
            for tag in tags:
                repository.tag(tag, digest)
        return digest


def referred(content: bytes) -> tuple[list[str], list[str]]:
    """The digests of the blobs and of the children that a manifest names, without duplicates.

    Layers with urls may be missing; so may the subject.

    Raises:
        ValueError: it is not a manifest.
    """
    body = json.loads(content)
    if not isinstance(body, dict):
        raise ValueError("no JSON object")  # noqa: TRY004  one kind of error for whoever asks
    try:
        described = [
            *([body["config"]] if "config" in body else []),
            *body.get("layers", ()),
            *body.get("blobs", ()),
        ]
        blobs = [each["digest"] for each in described if not each.get("urls")]
        blobs += [each["blobSum"] for each in body.get("fsLayers", ())]
        entries = body.get("manifests", ())
        children = [each["digest"] for each in entries if each.get("mediaType", "") in ("", *ALL_TYPES)]
        blobs += [each["digest"] for each in entries if each["digest"] not in children]
    except (TypeError, LookupError, AttributeError) as error:
        raise ValueError(f"no descriptor: {error}") from error
    return list(dict.fromkeys(blobs)), list(dict.fromkeys(children))
