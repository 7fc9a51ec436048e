"""A blob's bytes during a transfer: counted, hashed, and split into request bodies.

The last bytes are sent only if size and digest are right; otherwise the request's connection is closed, so a
wrong blob is never committed.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol, Self

from pipeline.dataclass import dataclass
from pipeline.errors import RegistryError
from pipeline.model.faults import fault_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pipeline.http.connection import Piece
    from pipeline.model.manifest import Descriptor
    from pipeline.model.reference import Repository


class Digester(Protocol):
    """What hashlib returns."""

    def update(self, data: Piece, /) -> None:
        """Hash more bytes."""

    def copy(self) -> Self:
        """A copy of the current state."""

    def hexdigest(self) -> str:
        """The digest of all bytes so far."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An offset in a blob, and the digest of the bytes before it."""

    offset: int
    running: Digester | None
    """None: another process read the bytes before, so only the registry can check the digest."""

    @staticmethod
    def start(digest: str) -> Checkpoint:
        """The start of the blob with that digest."""
        return Checkpoint(0, hashlib.new(digest.partition(":")[0]))

    def copy(self) -> Checkpoint:
        """A copy, for a second reading from there."""
        return Checkpoint(self.offset, self.running.copy() if self.running else None)


class CheckedBlob:
    """The bytes of a blob from a checkpoint on.

    `read` raises RegistryError (side source) before the last bytes if size or digest are wrong.

    Args:
        pieces: the bytes from the checkpoint on.
        blob: its descriptor.
        size: bytes of the whole blob.
        begin: the checkpoint.
        source: the repository that it is read from.
        on_progress: called with the offset as bytes are read.
    """

    def __init__(
        self,
        pieces: Iterable[Piece],
        *,
        blob: Descriptor,
        size: int,
        begin: Checkpoint,
        source: Repository,
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        """See the class."""
        self._pieces = iter(pieces)
        self._pending: Piece = b""
        self._blob, self.size, self._source, self._on_progress = blob, size, source, on_progress
        start = begin.copy()
        self.offset, self._running = start.offset, start.running

    @property
    def left(self) -> int:
        """Bytes that have not been read."""
        return self.size - self.offset

    def checkpoint(self) -> Checkpoint:
        """The current position."""
        return Checkpoint(self.offset, self._running).copy()

    def part(self, count: int) -> BlobPart:
        """The next `count` bytes as a request body; read it once, before any other part."""
        return BlobPart(self, count)

    def read(self, count: int) -> Iterator[Piece]:
        """The next `count` bytes in pieces."""
        if not self.size:
            self._end()
        while count > 0:
            piece = self._pending or next(self._pieces, b"")
            if not piece:
                raise self._error("SIZE_MISMATCH", f"{self.offset} bytes instead of {self.size}")
            piece, self._pending = piece[:count], piece[count:]
            count -= len(piece)
            if self._running:
                self._running.update(piece)
            if self.offset + len(piece) == self.size:
                piece = bytes(piece)  # checking the end reads on, which invalidates this view
                self._end()
            yield piece
            self.offset += len(piece)
            self._on_progress(self.offset)

    def _end(self) -> None:
        """Check that nothing follows and that the digest is right."""
        if self._pending or next(self._pieces, b""):
            raise self._error("SIZE_MISMATCH", f"more than the {self.size} bytes announced")
        algorithm, _, expected = self._blob.digest.partition(":")
        if self._running and self._running.hexdigest() != expected:
            words = f"the content has the digest {algorithm}:{self._running.hexdigest()}"
            raise self._error("DIGEST_MISMATCH", words)

    def _error(self, code: str, words: str) -> RegistryError:
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


class BlobPart:
    """A part of a blob as the body of one request."""

    def __init__(self, blob: CheckedBlob, count: int) -> None:
        """See `CheckedBlob.part`."""
        self._blob, self._count = blob, count

    def __len__(self) -> int:
        """The Content-Length."""
        return self._count

    def __iter__(self) -> Iterator[Piece]:
        """The pieces."""
        return self._blob.read(self._count)
