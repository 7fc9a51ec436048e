"""A blob that goes on where it broke: over bad networks a large layer would else never arrive.

The reader sees one body and a pause. What comes after a break is asked of the registry anew, never of the
address that a redirect led to: those live for minutes. Size and digest of the whole are the caller's to
check, so a resumption that went wrong cannot do harm.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from pipeline.errors import RegistryError, ThrottledError
from pipeline.registry.meter import current_meter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from pipeline.model.reference import Repository
    from pipeline.registry.image_store import BlobReader, ImageStore

_FRUITLESS = 3
"""Resumptions in a row that bring nothing, after which the body is given up."""


class ResumingBody:
    """An open blob, as BlobReader: a context manager that iterates over its bytes, once.

    Args:
        client: of the registry that holds the blob.
        repository: that holds it.
        digest: of the blob.
        size: bytes by its descriptor; -1: not known.
        offset: where to begin.
        fresh: past all caches, on a new connection.

    Raises:
        RegistryError: the blob cannot be opened.
    """

    def __init__(
        self,
        client: ImageStore,
        repository: Repository,
        digest: str,
        *,
        size: int,
        offset: int = 0,
        fresh: bool = False,
    ) -> None:
        """See the class."""
        self._client, self._repository, self._digest, self._size = client, repository, digest, size
        self._open = ExitStack()
        self._offset = offset
        self._body = self._open.enter_context(
            client.open_blob(repository, digest, size=size, offset=offset, fresh=fresh)
        )
        self.total = self._body.total
        """Size of the whole blob as the server states it, -1 where it does not."""

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; a connection whose body was not read to its end is gone."""
        self._open.close()

    def __iter__(self) -> Iterator[memoryview]:
        """The bytes in pieces, each of them good until the next one is asked for.

        Raises:
            RegistryError: of the last break, after resumptions that brought nothing.
            ThrottledError: the registry asks for a pause where the body was to go on.
        """
        have, fruitless = self._offset, 0
        while True:
            try:
                if self._body.offset != have:  # the server begins anew
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

    def _resume(self, broke: RegistryError, have: int) -> None:
        """Open the rest.

        Raises:
            RegistryError: what `broke`, where the rest cannot be had.
        """
        self._say(broke, have)
        etag = self._body.etag
        self._open.close()
        try:
            body: BlobReader = self._open.enter_context(
                self._client.open_blob(
                    self._repository, self._digest, size=self._size, offset=have, etag=etag
                )
            )
        except ThrottledError:
            raise
        except RegistryError:
            raise broke from None
        self._body = body

    def _say(self, broke: RegistryError, have: int) -> None:
        fault = broke.fault
        words = (
            f"{self._repository}: the blob {self._digest} broke off after {have} bytes ({fault.words});"
            " going on there"
        )
        current_meter().repeat("blob.retry", fault, words, blob=self._digest, offset=have)
