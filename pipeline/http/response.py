"""Responses parsed by http.client, with stricter checks where it is too lenient.

http.client accepts an incomplete head or trailer, uses the first of several lengths, and accepts `-1` as the
size of a chunk. Each of these could turn a part of one response into another response. Source: RFC 9112.
"""

from __future__ import annotations

import http.client
import io
import re
import ssl
from email.parser import HeaderParser
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable

_MAX_HEAD = 128 << 10
"""Bytes of a head, including interim responses before it."""
_MAX_LINES = 64 << 10
"""Bytes of a chunk's size line with extensions, or of all trailers."""
_MAX_LENGTH = 1 << 10
"""Characters of a Content-Length: Python rejects numbers of more than 4,300 digits."""
_BUFFER = 16 << 10
_HTTP_1_1 = 11
_MAX_FIELDS = 100
_FIELDS = HeaderParser(_class=http.client.HTTPMessage)
"""The same parser as in http.client."""
_BEGIN = b"HTTP/1."
_END = re.compile(rb"\n\r?\n")
_INTERIM = re.compile(rb"HTTP/1\.\d +1(?!01)\d\d\s")
"""The start of an interim response: all of 1xx except a change of the protocol."""
_FOLD = re.compile(r"\r?\n[ \t]+")
_CHUNK = re.compile(rb"[0-9A-Fa-f]{1,15}")
_NO_BODY = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


class Fields(dict[str, str]):
    """The header fields of a response; names in any case, repeated fields joined by commas."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        """`pairs`: names and values, which may be folded lines."""
        values: dict[str, str] = {}
        for name, value in pairs:
            key, text = name.lower(), _FOLD.sub(" ", value).strip() if "\n" in value else value.strip()
            values[key] = f"{values[key]}, {text}" if key in values else text
        super().__init__(values)

    def __getitem__(self, name: str) -> str:
        """The value of a field."""
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        """Whether the field exists."""
        return isinstance(name, str) and super().__contains__(name.lower())

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override] # it is always text
        """The value of a field, else `default`."""
        return super().get(name.lower(), default)


class _Source(io.RawIOBase):
    """The received bytes of a socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._receive = sock.recv_into
        self.held = False
        """Whether reading from the socket is suspended."""
        self.ended = False
        """Whether the peer has closed."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int | None:  # type: ignore[override] # of io's choice
        if self.held:
            return None
        try:
            count = self._receive(buffer)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None  # nothing to read now
        self.ended = not count
        return count


class Reader(io.BufferedReader):
    """A connection's reader: one for all its responses, so that no bytes after a response are lost."""

    def __init__(self, sock: socket.socket) -> None:
        """Wrap the socket."""
        self._source = _Source(sock)
        super().__init__(self._source, _BUFFER)
        self.allowed = 0
        """Maximum bytes of the next lines."""

    def makefile(self, _mode: str) -> Reader:
        """Return this reader: http.client calls it on a socket."""
        return self

    def close(self) -> None:
        """Do nothing: http.client closes its file after each response, but the connection stays open."""

    def flush(self) -> None:
        """Do nothing: nothing is written, and a response may outlive its connection."""

    def read_head(self) -> bytes:
        """The lines up to and including the first empty one.

        Raises:
            RemoteDisconnected: the peer closed before.
            HTTPException: it is not HTTP/1, too long, or has a bare carriage return, which parsers read
                differently.
        """
        head = b""
        while piece := self.peek(1):
            known, head = len(head), head + piece
            # A peer with another protocol may wait for us, so check the first bytes at once.
            if not _BEGIN.startswith(head[: len(_BEGIN)]):
                raise http.client.BadStatusLine("the response is not HTTP/1")
            end = _END.search(head, max(0, known - 2))
            head = head[: end.end()] if end else head
            self.read(len(head) - known)
            self.allowed -= len(head) - known
            if self.allowed < 0:
                raise http.client.HTTPException(f"the response has more than {_MAX_HEAD} bytes of headers")
            if end and head.count(b"\r") != head.count(b"\r\n"):
                raise http.client.HTTPException("a line of the response contains a carriage return")
            if end:
                return head
        raise http.client.RemoteDisconnected("the head of the response is incomplete")

    def readline(self, size: int | None = -1, /) -> bytes:
        """The next line around a chunk; http.client accepts an incomplete one.

        Raises:
            RemoteDisconnected: the peer closed before the end of the line.
            HTTPException: the lines are too long.
        """
        line = super().readline(size)
        self.allowed -= len(line)
        if self.allowed < 0:
            raise http.client.HTTPException(f"there are more than {_MAX_LINES} bytes between chunks")
        if not line.endswith(b"\n"):
            raise http.client.RemoteDisconnected("the response is incomplete")
        return line

    def holds_bytes(self) -> bool:
        """Whether there are received bytes in the buffer."""
        self._source.held = True
        try:
            return bool(self.peek(1))
        finally:
            self._source.held = False

    def has_bytes_or_eof(self) -> bool:
        """Whether there are bytes or EOF to read; the socket must not block."""
        return bool(self.peek(1)) or self._source.ended

    def skip_interim(self) -> bool:
        """Skip received interim responses; whether there is nothing else, and no EOF."""
        while self.holds_bytes():
            said = self.peek(1)
            end = _END.search(said)
            if end is None or not _INTERIM.match(said):
                return False
            self.read(end.end())
        return not self._source.ended


class Response(http.client.HTTPResponse):
    """One response: its head, and its body with only the chunked coding decoded.

    Args:
        reader: of its connection.
        method: of the request: the response to a HEAD has no body.

    Raises:
        RemoteDisconnected: the peer closed before the head was complete.
        HTTPException: it is not HTTP/1.
        OSError: of the socket.
    """

    def __init__(self, reader: Reader, method: str) -> None:
        """Read the head and skip interim responses: proxies send 102 and 103 unasked."""
        super().__init__(cast("socket.socket", reader), method=method)
        self._reader = reader
        self.begin()
        self._frame(of_head=method == "HEAD")

    def begin(self) -> None:
        """Read status and fields with http.client's own functions; `_frame` interprets them.

        http.client's version uses only the first of repeated fields, and takes 50 % longer.
        """
        self._reader.allowed = _MAX_HEAD
        while _INTERIM.match(head := self._reader.read_head()):
            pass
        first, _, lines = head.partition(b"\n")
        self.fp = cast("io.BufferedReader", io.BytesIO(first + b"\n"))
        version, self.status, self.reason = self._read_status()  # type: ignore[attr-defined] # not in its types
        self.version = 10 if version == "HTTP/1.0" else _HTTP_1_1
        self.fp = self._reader
        self.headers = self.msg = _FIELDS.parsestr(lines.decode("iso-8859-1"))
        if self.headers.defects or len(self.headers) > _MAX_FIELDS:
            raise http.client.HTTPException("the response has invalid or too many headers")
        self.fields = Fields(self.headers.raw_items())

    def _frame(self, *, of_head: bool) -> None:
        """Find the end of the body, and whether the connection is reusable (RFC 9112, 6.3 and 9.3)."""
        coding = self.fields.get("transfer-encoding").lower()
        self.chunked, self.chunk_left, self.length = False, None, None
        if of_head or self.status in _NO_BODY or self.status < HTTPStatus.OK:
            self.length = 0
        elif coding == "chunked":
            self.chunked = True
        elif coding in {"", "identity"}:
            self.length = _length(self.fields.get("content-length"))
        said = self.fields.get("connection").lower()
        closes = "close" in said if self.version == _HTTP_1_1 else "keep-alive" not in said
        # After a change of the protocol the bytes are not HTTP/1.
        endless = self.length is None and not self.chunked
        self.will_close = closes or endless or self.status < HTTPStatus.OK

    @property
    def is_over(self) -> bool:
        """Whether the body has been read completely."""
        return self.isclosed() or (self.length == 0 and not self.chunked)

    def take(self, most: int) -> bytes:
        """The next `most` bytes of the body; fewer at its end.

        Raises:
            IncompleteRead, RemoteDisconnected: the peer closed before the body was complete.
            HTTPException: a chunk is invalid.
            OSError: of the socket.
        """
        piece = self.read(most)
        if len(piece) < most and self.length:
            raise http.client.IncompleteRead(piece, self.length)
        return piece

    def fill(self, view: memoryview, *, whole: bool) -> int:
        """Fill `view` with the next bytes of the body: their number; 0: the body is complete.

        Args:
            view: of bytes.
            whole: read until it is full or the body is complete; else do one recv.

        Raises:
            Exception: as `take`; bytes before the end of the connection are returned first.
        """
        if whole:
            count = self.readinto(view)
        else:
            piece = self.read1(len(view))
            count = len(piece)
            view[:count] = piece
        if not count and self.length:
            raise http.client.IncompleteRead(b"", self.length)
        return count

    def _read_next_chunk_size(self) -> int:
        """Replace http.client's method, which accepts whatever int() accepts."""
        self._reader.allowed = _MAX_LINES
        size = self._reader.readline(_MAX_LINES + 1).partition(b";")[0].strip()
        if not _CHUNK.fullmatch(size):
            raise http.client.HTTPException("invalid chunk size")
        return int(size, 16)


def _length(said: str) -> int | None:
    """Bytes by Content-Length; None: it says nothing that can be understood."""
    lengths = {part.strip() for part in said.split(",")}
    if len(lengths) > 1 or len(said) > _MAX_LENGTH:
        raise http.client.HTTPException("the response has several lengths, or an invalid one")
    (length,) = lengths
    return int(length) if length.isascii() and length.isdigit() else None
