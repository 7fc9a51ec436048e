"""The body of a blob: undecoded bytes, with a minimum rate.

A read timeout covers one recv, so a peer that sends a byte a second never exceeds it. Reading whole pieces
halves the cost over TLS but waits until a piece is full, so it is only done after a fast piece.
"""

from __future__ import annotations

import re
import time
from http import HTTPStatus
from itertools import chain
from typing import TYPE_CHECKING, Self

from pipeline.errors import RegistryError
from pipeline.registry.faults import STACK_ERRORS, fault_for, fault_of
from pipeline.registry.meter import current_meter
from pipeline.registry.pacing import PACER, SMALL_PIECE
from pipeline.registry.responses import parse_size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from pipeline.http.transport import Answer
    from pipeline.registry.request_info import RequestInfo

_SLOWEST = 1 << 10
"""Minimum bytes per second over the stall timeout; a smaller piece says nothing about speed."""
_FAST = 4 << 20
"""Bytes per second from which on whole pieces are read."""
_PIECE = 256 << 10
_LARGE_PIECE = 1 << 20
_LARGE = 64 << 20
"""Bytes from which on larger pieces pay off: a quarter of the calls, for more memory."""
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


class BlobBody:
    """See BlobReader. The HTTP stack checks the number of bytes against Content-Length."""

    def __init__(self, info: RequestInfo, response: Answer, *, stall: float, host: str) -> None:
        """Own `response`; `stall`: a timeout in seconds; `host`: of storage, if it answered."""
        self._info, self._response, self._stall, self._host = info, response, stall, host
        ranged = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        length = parse_size(response.headers.get("Content-Length", ""))
        self.offset = int(ranged[1]) if ranged and response.status_code == HTTPStatus.PARTIAL_CONTENT else 0
        self.sizes = {self.offset + length} if length >= 0 else set()
        """Sizes of the whole blob by the answer's length and range; one if they agree."""
        if ranged and self.offset:
            stated = int(ranged[2]) + 1
            self.sizes |= {stated, stated if ranged[3] == "*" else int(ranged[3])}
        self.total = max(self.sizes, default=-1)
        etag = response.headers.get("ETag", "")
        self.etag = etag if etag.startswith('"') and etag.isprintable() and not host else ""
        """A strong validator of the registry itself, for If-Range."""
        self._iterator: Iterator[memoryview] | None = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; an incomplete read closes the connection too."""
        self._response.close()

    def __iter__(self) -> Iterator[memoryview]:
        """See BlobReader; pieces of at most 1 MiB."""
        if self._iterator is None:
            self._iterator = self._pieces()
        return self._iterator

    def skip(self, count: int) -> None:
        """See BlobReader."""
        pieces = iter(self)
        while count > 0:
            piece = next(pieces, None)
            if piece is None:
                return
            if len(piece) > count:
                self._iterator = chain([piece[count:]], pieces)
            count -= len(piece)

    def _pieces(self) -> Iterator[memoryview]:
        # One buffer: a new one for each piece would cost as much as receiving it.
        size = _LARGE_PIECE if self.total >= _LARGE else min(_PIECE, self.total if self.total > 0 else _PIECE)
        registry = self._info.repository.registry
        if PACER.limits(registry, "read"):
            size = min(size, SMALL_PIECE)
        meter, buffer = current_meter(), memoryview(bytearray(size))
        fast, spent, moved = False, 0.0, 0
        while True:
            begun = time.monotonic()
            try:
                count = self._response.readinto(buffer, whole=fast, seconds=self._stall)
            except STACK_ERRORS as error:
                raise RegistryError(fault_of(self._info, error, host=self._host)) from None
            if not count:
                return
            took = time.monotonic() - begun
            fast = count >= _SLOWEST and count >= took * _FAST
            # Only reading counts: a slow destination is not the source's fault.
            spent, moved = spent + took, moved + count
            if spent >= self._stall:
                self._check_rate(moved, spent)
                spent, moved = 0.0, 0
            meter.read += count
            PACER.moved(registry, "read", count)
            yield buffer[:count]

    def _check_rate(self, moved: int, seconds: float) -> None:
        if moved < seconds * _SLOWEST:
            words = f"the body stalls: {moved} bytes in {seconds:.0f} s"
            raise RegistryError(fault_for(self._info, words=words, code="TIMEOUT", retryable=True))
