"""The body of a blob: undecoded bytes, counted, guarded against stalls.

A read timeout covers one recv only, so a peer that drips a byte a second passes it for ever: the rate is
watched here. Reading in large pieces halves the cost over TLS but returns only when the piece is full, so it
is done only while the last piece came fast.
"""

from __future__ import annotations

import re
import time
from itertools import chain
from typing import TYPE_CHECKING, Self

from pipeline.errors import RegistryError
from pipeline.registry.faults import STACK_ERRORS, fault_for, fault_of
from pipeline.registry.meter import current_meter
from pipeline.registry.responses import parse_size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from pipeline.http.transport import Answer
    from pipeline.registry.request_info import RequestInfo

_SLOWEST = 1 << 10
"""Bytes per second, over the time allowed for a stall; fewer in one piece are no sign of speed."""
_FAST = 4 << 20
"""Bytes per second from which whole pieces are waited for."""
_PIECE = 256 << 10
_LARGE_PIECE = 1 << 20
_LARGE = 64 << 20
"""Bytes from which a body is worth larger pieces: a quarter of the calls, and memory while it is open."""
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


class BlobBody:
    """An open blob: a context manager that iterates over its bytes, once.

    Closing it before the end closes the connection. The number of bytes is checked against Content-Length by
    the HTTP stack; size and digest of the descriptor are the caller's to check.
    """

    def __init__(self, info: RequestInfo, response: Answer, *, stall: float, host: str) -> None:
        """Take over `response`; `stall` in seconds, `host` where storage answers, not the registry."""
        self._info, self._response, self._stall, self._host = info, response, stall, host
        ranged = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        length = parse_size(response.headers.get("Content-Length", ""))
        self.offset = int(ranged[1]) if ranged and response.status_code == 206 else 0  # noqa: PLR2004 - Partial Content
        """Where in the blob these bytes begin: 0 where the server ignored a range."""
        self.sizes = {self.offset + length} if length >= 0 else set()
        """What length and range of the answer say of the size of the whole blob; one, where they agree."""
        if ranged and self.offset:
            stated = int(ranged[2]) + 1
            self.sizes |= {stated, stated if ranged[3] == "*" else int(ranged[3])}
        self.total = max(self.sizes, default=-1)
        """Size of the whole blob as the server states it, -1 where it does not."""
        etag = response.headers.get("ETag", "")
        self.etag = etag if etag.startswith('"') and etag.isprintable() and not host else ""
        """A strong validator of the registry itself, for If-Range; empty: there is none."""
        self._iterator: Iterator[memoryview] | None = None

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close, and give the connection back if all was read."""
        self._response.close()

    def __iter__(self) -> Iterator[memoryview]:
        """The bytes in pieces of at most 1 MiB, each of them good until the next one is asked for.

        Raises:
            RegistryError: CONNECTION_LOST or TIMEOUT: the body broke off, or hardly moves.
        """
        if self._iterator is None:
            self._iterator = self._pieces()
        return self._iterator

    def skip(self, count: int) -> None:
        """Pass over the first `count` bytes: the digest of the whole tells whether they were the same.

        Raises:
            RegistryError: the body broke off again.
        """
        pieces = iter(self)
        while count > 0:
            piece = next(pieces, None)
            if piece is None:
                return
            if len(piece) > count:
                self._iterator = chain([piece[count:]], pieces)
            count -= len(piece)

    def _pieces(self) -> Iterator[memoryview]:
        # One buffer for all: a new one for each piece costs as much as receiving it.
        size = _LARGE_PIECE if self.total >= _LARGE else min(_PIECE, self.total if self.total > 0 else _PIECE)
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
            # Only the time of reading counts: a destination that pauses is not the source's fault.
            spent, moved = spent + took, moved + count
            if spent >= self._stall:
                self._check_rate(moved, spent)
                spent, moved = 0.0, 0
            meter.read += count
            yield buffer[:count]

    def _check_rate(self, moved: int, seconds: float) -> None:
        if moved < seconds * _SLOWEST:
            words = f"the body stalls: {moved} bytes in {seconds:.0f} s"
            raise RegistryError(fault_for(self._info, words=words, code="TIMEOUT", retryable=True))
