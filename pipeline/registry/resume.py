"""A blob that resumes after a failure, so that large layers arrive over bad networks.

The rest is requested from the registry again, never from the target of its redirect, which is valid for
minutes. The caller checks size and digest of the whole, so a wrong resumption does no harm.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from pipeline.errors import RegistryError
from pipeline.registry.meter import current_meter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from pipeline.model.reference import Repository
    from pipeline.registry.image_store import BlobReader, ImageStore

_FRUITLESS = 3
"""Resumptions in a row without a byte, after which reading fails."""


class ResumingBody:
    """An open blob that is read once; a context manager.

    Args:
        store: that has the blob.
        repository: of the blob.
        digest: the blob's.
        size: its bytes by the descriptor; -1: unknown.
        offset: where to begin.
        fresh: bypass caches.

    Raises:
        RegistryError: the blob cannot be opened.
    """

    def __init__(
        self,
        store: ImageStore,
        repository: Repository,
        digest: str,
        *,
        size: int,
        offset: int = 0,
        fresh: bool = False,
    ) -> None:
        """See the class."""
        self._store, self._repository, self._digest, self._size = store, repository, digest, size
        self._open = ExitStack()
        self._offset = offset
        self._body: BlobReader = self._open.enter_context(
            store.open_blob(repository, digest, size=size, offset=offset, fresh=fresh)
        )
        self.total = self._body.total
        """Bytes of the whole blob as the store states it; -1: not stated."""

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self._open.close()

    def __iter__(self) -> Iterator[memoryview]:
        """The bytes in pieces, each valid until the next one.

        Raises:
            RegistryError: of the last failure, after resumptions without progress.
            ThrottledError: the registry asks for a pause before it resumes.
        """
        have, fruitless = self._offset, 0
        while True:
            try:
                if self._body.offset != have:  # the store ignored the offset
                    self._body.skip(have)
                for piece in self._body:
                    have, fruitless = have + len(piece), 0
                    yield piece
            except RegistryError as error:
                fruitless += 1
                if not error.fault.retryable or fruitless > _FRUITLESS:
                    raise
                self._resume(error, have)
            else:
                return

    def _resume(self, broken: RegistryError, have: int) -> None:
        """Open the rest.

        Raises:
            RegistryError: `broken`, if the rest cannot be opened.
        """
        fault = broken.fault
        words = (
            f"{self._repository}: the blob {self._digest} broke off at {have} bytes ({fault.words}); resuming"
        )
        current_meter().repeat("blob.retry", fault, words, blob=self._digest, offset=have)
        etag = self._body.etag
        self._open.close()
        try:
            self._body = self._open.enter_context(
                self._store.open_blob(self._repository, self._digest, size=self._size, offset=have, etag=etag)
            )
        except RegistryError:
            raise broken from None
