"""Answers as http.client parses them, where it is too lenient with its gaps closed.

http.client takes a head or a trailer that breaks off for a complete one, the first of several lengths for the
length, and `-1` for the size of a chunk. Each of these would make a part of one answer another one.
Source: RFC 9112.
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
"""Bytes of a head together with those of the interim answers before it."""
_MAX_LINES = 64 << 10
"""Bytes of a chunk's size with its extensions, or of all trailers."""
_MAX_LENGTH = 1 << 10
"""Characters of a Content-Length: Python takes no number of more than 4,300 digits."""
_BUFFER = 16 << 10
_HTTP_1_1 = 11
_MAX_FIELDS = 100
_FIELDS = HeaderParser(_class=http.client.HTTPMessage)
"""What http.client parses headers with, too."""
_BEGIN = b"HTTP/1."
_END = re.compile(rb"\n\r?\n")
_INTERIM = re.compile(rb"HTTP/1\.\d +1(?!01)\d\d\s")
"""The beginning of an answer that is followed by the final one: all of 1xx but a change of the protocol."""
_FOLD = re.compile(r"\r?\n[ \t]+")
_CHUNK = re.compile(rb"[0-9A-Fa-f]{1,15}")
_NO_BODY = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


class Fields(dict[str, str]):
    """The header fields of an answer; names in any case, several of one name joined by commas."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Take in names and values, whose lines may be folded."""
        values: dict[str, str] = {}
        for name, value in pairs:
            key, text = name.lower(), _FOLD.sub(" ", value).strip() if "\n" in value else value.strip()
            values[key] = f"{values[key]}, {text}" if key in values else text
        super().__init__(values)

    def __getitem__(self, name: str) -> str:
        """The value of a field."""
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        """Whether there is such a field."""
        return isinstance(name, str) and super().__contains__(name.lower())

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override] # it is always text
        """The value of a field; `default`: there is none."""
        return super().get(name.lower(), default)


class _Source(io.RawIOBase):
    """What a socket receives."""

    def __init__(self, sock: socket.socket) -> None:
        self._receive = sock.recv_into
        self.held = False
        """Whether nothing is to be received now."""
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
            return None  # nothing has come, and whoever looks does not wait
        self.ended = not count
        return count


class Reader(io.BufferedReader):
    """What a connection receives: one for all its answers, so that bytes behind one of them are not lost."""

    def __init__(self, sock: socket.socket) -> None:
        """Receive nothing yet."""
        self._source = _Source(sock)
        super().__init__(self._source, _BUFFER)
        self.allowed = 0
        """Bytes that the lines to come may have."""

    def makefile(self, _mode: str) -> Reader:
        """Itself: http.client asks a socket for a file."""
        return self

    def close(self) -> None:
        """Do nothing: http.client closes its file behind each answer, and the connection lives on."""

    def flush(self) -> None:
        """Do nothing, since nothing is written: an answer that nobody has kept may outlive its connection."""

    def read_head(self) -> bytes:
        """The lines up to an empty one, and that one.

        Raises:
            RemoteDisconnected: the peer closed before.
            HTTPException: that is no HTTP/1, too long, or one line for some parsers and two for others.
        """
        head = b""
        while piece := self.peek(1):
            known, head = len(head), head + piece
            # Whoever speaks another protocol may wait for us: there may be no more of it.
            if not _BEGIN.startswith(head[: len(_BEGIN)]):
                raise http.client.BadStatusLine("what came is no answer of HTTP/1")
            end = _END.search(head, max(0, known - 2))
            head = head[: end.end()] if end else head
            self.read(len(head) - known)
            self.allowed -= len(head) - known
            if self.allowed < 0:
                raise http.client.HTTPException(f"the answer has more than {_MAX_HEAD} bytes of headers")
            if end and head.count(b"\r") != head.count(b"\r\n"):
                raise http.client.HTTPException("a carriage return stands within a line of the answer")
            if end:
                return head
        raise http.client.RemoteDisconnected("the head of the answer broke off")

    def readline(self, size: int | None = -1, /) -> bytes:
        """The next line around a chunk; http.client takes one that breaks off for a whole one.

        Raises:
            RemoteDisconnected: the peer closed before the end of the line.
            HTTPException: there is no end to such lines.
        """
        line = super().readline(size)
        self.allowed -= len(line)
        if self.allowed < 0:
            raise http.client.HTTPException(f"there are more than {_MAX_LINES} bytes between chunks")
        if not line.endswith(b"\n"):
            raise http.client.RemoteDisconnected("the answer broke off")
        return line

    def holds_bytes(self) -> bool:
        """Whether something was received that nobody has asked for."""
        self._source.held = True
        try:
            return bool(self.peek(1))
        finally:
            self._source.held = False

    def is_done(self) -> bool:
        """Whether there is something to read, or the end; of a socket that does not block."""
        return bool(self.peek(1)) or self._source.ended

    def skip_interim(self) -> bool:
        """Pass over interim answers that have come; whether there is nothing else, nor the end."""
        while self.holds_bytes():
            said = self.peek(1)
            end = _END.search(said)
            if end is None or not _INTERIM.match(said):
                return False
            self.read(end.end())
        return not self._source.ended


class Response(http.client.HTTPResponse):
    """One answer: its head, and its body as it comes, undecoded but for chunks.

    Args:
        reader: of its connection.
        method: of the request: the answer to a HEAD has no body.

    Raises:
        RemoteDisconnected: the peer closed before the head was complete.
        HTTPException: that is no HTTP/1.
        OSError: of the socket.
    """

    def __init__(self, reader: Reader, method: str) -> None:
        """Read the head; interim answers are passed over: proxies send 102 and 103 without being asked."""
        super().__init__(cast("socket.socket", reader), method=method)
        self._reader = reader
        self.begin()
        self._frame(of_head=method == "HEAD")

    def begin(self) -> None:
        """Read status and fields as http.client does, by its own parts, and leave what they mean to `_frame`.

        Its own way looks at the first of several fields of one name, and takes half as long again.
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
            raise http.client.HTTPException("the answer's head has lines that are no headers, or too many")
        self.fields = Fields(self.headers.items())

    def _frame(self, *, of_head: bool) -> None:
        """See where the body ends, and whether the connection is of use then (RFC 9112, 6.3 and 9.3)."""
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
        # What follows a change of the protocol is not HTTP/1.
        endless = self.length is None and not self.chunked
        self.will_close = closes or endless or self.status < HTTPStatus.OK

    @property
    def is_over(self) -> bool:
        """Whether all of the body has been read."""
        return self.isclosed() or (self.length == 0 and not self.chunked)

    def take(self, most: int) -> bytes:
        """The next `most` bytes of the body, fewer where it is over.

        Raises:
            IncompleteRead, RemoteDisconnected: the peer closed before the body was complete.
            HTTPException: what should be a chunk is none.
            OSError: of the socket.
        """
        piece = self.read(most)
        if len(piece) < most and self.length:
            raise http.client.IncompleteRead(piece, self.length)
        return piece

    def fill(self, view: memoryview, *, whole: bool) -> int:
        """Fill `view` with the next bytes of the body; how many there were, 0: it is over.

        Args:
            view: of bytes.
            whole: until it is full, or the body is over; else with what one recv brings.

        Raises:
            Exception: as `take`; bytes that came before it are handed out where they end with the connection.
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
        """In place of http.client's own, which takes whatever int() takes."""
        self._reader.allowed = _MAX_LINES
        size = self._reader.readline(_MAX_LINES + 1).partition(b";")[0].strip()
        if not _CHUNK.fullmatch(size):
            raise http.client.HTTPException("what should be the size of a chunk is none")
        return int(size, 16)


def _length(said: str) -> int | None:
    """Bytes by Content-Length; None: it says nothing that can be understood."""
    lengths = {part.strip() for part in said.split(",")}
    if len(lengths) > 1 or len(said) > _MAX_LENGTH:
        raise http.client.HTTPException("the answer has several lengths, or one that is no number of bytes")
    (length,) = lengths
    return int(length) if length.isascii() and length.isdigit() else None
