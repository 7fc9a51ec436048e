"""A blob's bytes on their way: counted, hashed, and handed out in parts.

The last bytes are held back until size and digest are right: else the request's connection is closed, and a
wrong blob is never committed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from pipeline.errors import RegistryError
from pipeline.registry.faults import fault_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pipeline.http.connection import Piece
    from pipeline.model.manifest import Descriptor
    from pipeline.model.reference import Repository


class Digester(Protocol):
    """What hashlib returns."""

    def update(self, data: Piece, /) -> None:
        """Take in more."""

    def copy(self) -> Self:
        """As it stands now."""

    def hexdigest(self) -> str:
        """The digest of all so far."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A place in a blob, and the digest of what stands before it."""

    offset: int
    running: Digester | None
    """None: another process read what stands before, and only the registry can tell the digest of all."""

    @staticmethod
    def start(digest: str) -> Checkpoint:
        """The beginning of the blob with that digest."""
        return Checkpoint(0, hashlib.new(digest.partition(":")[0]))

    def copy(self) -> Checkpoint:
        """The same place, for a second reading from there."""
        return Checkpoint(self.offset, self.running.copy() if self.running else None)


class CheckedBlob:
    """The bytes of a blob from a mark on.

    Handing out raises RegistryError (side source) before the last bytes when size or digest are wrong.

    Args:
        pieces: the bytes from the mark on.
        blob: whose they are.
        size: bytes of the whole blob.
        begin: the mark.
        source: where they are read.
        moved: is told how far the blob has been handed out.
    """

    def __init__(
        self,
        pieces: Iterable[Piece],
        *,
        blob: Descriptor,
        size: int,
        begin: Checkpoint,
        source: Repository,
        moved: Callable[[int], None],
    ) -> None:
        """See the class."""
        self._pieces = iter(pieces)
        self._rest: Piece = b""
        self._blob, self.size, self._source, self._moved = blob, size, source, moved
        mark = begin.copy()
        self.offset, self._running = mark.offset, mark.running

    @property
    def left(self) -> int:
        """Bytes that have not been handed out."""
        return self.size - self.offset

    def mark(self) -> Checkpoint:
        """Where it stands."""
        return Checkpoint(self.offset, self._running).copy()

    def part(self, count: int) -> Part:
        """The next `count` bytes, to be read once and before any other part."""
        return Part(self, count)

    def take(self, count: int) -> Iterator[Piece]:
        """The next `count` bytes in pieces."""
        if not self.size:
            self._end()
        while count > 0:
            piece = self._rest or next(self._pieces, b"")
            if not piece:
                raise self._wrong("SIZE_MISMATCH", f"{self.offset} bytes instead of {self.size}")
            piece, self._rest = piece[:count], piece[count:]
            count -= len(piece)
            if self._running:
                self._running.update(piece)
            if self.offset + len(piece) == self.size:
                piece = bytes(piece)  # looking for the end asks for more: this one would not be good any more
                self._end()
            yield piece
            self.offset += len(piece)
            self._moved(self.offset)

    def _end(self) -> None:
        """See that nothing follows, and that the digest is right."""
        if self._rest or next(self._pieces, b""):
            raise self._wrong("SIZE_MISMATCH", f"more than the {self.size} bytes announced")
        algorithm, _, expected = self._blob.digest.partition(":")
        if self._running and self._running.hexdigest() != expected:
            words = f"the content has the digest {algorithm}:{self._running.hexdigest()}"
            raise self._wrong("DIGEST_MISMATCH", words)

    def _wrong(self, code: str, words: str) -> RegistryError:
        return RegistryError(
            fault_at(
                self._source,
                "source",
                operation=f"read the blob {self._blob.digest}",
                code=code,
                words=words,
                hint="the source's copy is damaged: push it there again",
            )
        )


class Part:
    """Some bytes of a blob as the body of one request."""

    def __init__(self, blob: CheckedBlob, count: int) -> None:
        """See `CheckedBlob.part`."""
        self._blob, self._count = blob, count

    def __len__(self) -> int:
        """Bytes: becomes the Content-Length."""
        return self._count

    def __iter__(self) -> Iterator[Piece]:
        """The pieces."""
        return self._blob.take(self._count)
