"""HTTP/1.1 on a connected socket: requests as bytes, and answers whose bodies are still to be read.

Most of a run is requests of a few hundred bytes. Through urllib3 and http.client one of them costs five times
what the system takes for it: messages of the mail parser, buffers and wrappers that nobody looks at.
Source: RFC 9112.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Mapping
from http import HTTPStatus
from time import monotonic
from typing import TYPE_CHECKING

from urllib3.exceptions import HTTPError, IncompleteRead, ProtocolError

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

_MAX_HEAD = 128 << 10
_MAX_LINE = 64 << 10
"""Bytes of a chunk's size with its extensions, or of a trailer."""
_MAX_FIELDS = 100
_MAX_LENGTH = 1 << 10
"""Characters of a Content-Length: Python takes no number of more than 4,300 digits."""
_RECV = 16 << 10
_MOMENT = 1.0
"""Seconds that the whole of a piece is waited for."""
_BEGIN = b"HTTP/1."
_END = re.compile(rb"\r?\n\r?\n")
_FOLD = re.compile(r"\r?\n[ \t]+")
_STATUS = re.compile(r"HTTP/1\.(\d) +(\d{3})(?: .*)?")
_CHUNK = re.compile(rb"[0-9A-Fa-f]{1,15}")
_NO_BODY = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
_ANNOUNCED = frozenset({"POST", "PUT", "PATCH"})
"""Methods that usually have a body: that there is none is said (RFC 9110, 8.6)."""


class Fields(Mapping[str, str]):
    """The header fields of an answer; names in any case, several of one name joined by commas."""

    __slots__ = ("_values",)

    def __init__(self, lines: list[str]) -> None:
        """Take apart the lines of a head, without the first and unfolded."""
        self._values: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            name, value = name.lower(), value.strip()
            if name in self._values:
                value = f"{self._values[name]}, {value}"
            self._values[name] = value

    def __getitem__(self, name: str) -> str:
        """The value of a field."""
        return self._values[name.lower()]

    def __contains__(self, name: object) -> bool:
        """Whether there is such a field."""
        return isinstance(name, str) and name.lower() in self._values

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override] # what Mapping has is slow
        """The value of a field; `default`: there is none."""
        return self._values.get(name.lower(), default)

    def __iter__(self) -> Iterator[str]:
        """The names in lower case."""
        return iter(self._values)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._values)


def _is_interim(status: int) -> bool:
    """Whether the final answer follows (RFC 9110, 15.2): proxies send 102 and 103 without being asked."""
    return HTTPStatus.CONTINUE <= status < HTTPStatus.OK and status != HTTPStatus.SWITCHING_PROTOCOLS


def compose(method: str, target: str, fields: Mapping[str, str | bytes], *, length: int) -> bytes:
    """The head of a request.

    Args:
        method: of the request.
        target: what stands in the request line, all of it printable ASCII.
        fields: the header fields, Host among them and Content-Length not.
        length: bytes of its body.

    Raises:
        ValueError: a value has characters that would end its line, or that no header has.
    """
    lines = [f"{method} {target} HTTP/1.1".encode("ascii")]
    for name, value in fields.items():
        encoded = value if isinstance(value, bytes) else value.encode("iso-8859-1")
        lines.append(b"%b: %b" % (name.encode("ascii"), encoded))
    if length or method in _ANNOUNCED:
        lines.append(b"Content-Length: %d" % length)
    head = b"\r\n".join(lines)
    if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1:
        raise ValueError("a header's value has more than one line")
    return head + b"\r\n\r\n"


class Reply:
    """The head of an answer, and its body as it comes: undecoded but for chunks.

    Args:
        sock: where it is read.
        method: of the request: the answer to HEAD has no body.

    Raises:
        RemoteDisconnected: the peer closed before the head was complete.
        ProtocolError: that is no HTTP/1.
        OSError: of the socket.
    """

    __slots__ = (
        "_at",
        "_chunked",
        "_failed",
        "_left",
        "_rest",
        "_sock",
        "closes",
        "fields",
        "over",
        "status",
    )

    def __init__(self, sock: socket.socket, method: str) -> None:
        """Read the head; interim answers are passed over, all but the change to another protocol."""
        self._sock = sock
        self._rest, self._at = b"", 0
        self._failed: HTTPError | OSError | None = None
        self.status: int = HTTPStatus.CONTINUE
        while _is_interim(self.status):
            version = self._read_head()
        said = self.fields.get("connection").lower()
        self.closes = "close" in said if version else "keep-alive" not in said
        """Whether the connection is of no further use."""
        coding = self.fields.get("transfer-encoding").lower()
        self._chunked = coding == "chunked"
        # Of a coding that nobody asked for only the end of the connection is the end (RFC 9112, 6.3).
        unknown = coding not in {"", "identity", "chunked"}
        self._left = 0 if self._chunked else -1 if unknown else self._length()
        """Bytes that are left of the body, or of the chunk; -1: it ends with the connection."""
        self.over = method == "HEAD" or self.status in _NO_BODY or self.status < HTTPStatus.OK
        """Whether all of the body has been read."""
        if not self._left and not self._chunked:
            self.over = True
        if (self._left < 0 and not self.over) or self.status < HTTPStatus.OK:
            self.closes = True  # what follows is not HTTP/1

    @property
    def sock(self) -> socket.socket:
        """Where it is read: what is known of the peer."""
        return self._sock

    @property
    def reusable(self) -> bool:
        """Whether another request may follow on the connection: nothing of this answer is left there."""
        return self.over and not self.closes and self._at == len(self._rest)

    def read(self, most: int) -> bytes:
        """The next bytes of the body, `most` at most, as many as one recv brings; empty: it is over.

        Raises:
            IncompleteRead: the peer closed before the body was complete.
            ProtocolError: what should be a chunk is none.
            OSError: of the socket.
        """
        most = self._due(most)
        if not most:
            return b""
        if self._at < len(self._rest):
            piece = self._rest[self._at : self._at + most]
            self._at += len(piece)
        else:
            piece = self._sock.recv(most) or b""  # 0 of urllib3's TLS within a proxy's
        self._came(len(piece))
        return piece

    def readinto(self, view: memoryview, *, whole: bool) -> int:
        """Fill `view` with the next bytes of the body; how many there were, 0: it is over.

        Args:
            view: of bytes.
            whole: wait a moment until it is full, or the body is over; else take what one recv brings.

        Raises:
            Exception: as `read`, after all that came before it was handed out.
        """
        if self._failed:
            raise self._failed
        until = monotonic() + _MOMENT if whole else 0.0
        count = self._fill(view)
        try:
            while whole and 0 < count < len(view) and monotonic() < until:
                more = self._fill(view[count:])
                if not more:
                    break
                count += more
        except (HTTPError, OSError) as error:
            self._failed = error  # what came before it need not be asked for again
        return count

    def _fill(self, view: memoryview) -> int:
        most = self._due(len(view))
        if not most:
            return 0
        if self._at < len(self._rest):
            count = min(most, len(self._rest) - self._at)
            view[:count] = self._rest[self._at : self._at + count]
            self._at += count
        else:
            count = self._sock.recv_into(view[:most])
        self._came(count)
        return count

    def _read_head(self) -> int:
        """Take in one head; returns the minor version."""
        while True:
            found = _END.search(self._rest, self._at)
            if found:
                break
            if len(self._rest) - self._at > _MAX_HEAD:
                raise ProtocolError(f"the head of the answer has more than {_MAX_HEAD} bytes")
            piece = self._sock.recv(_RECV)
            if not piece:
                raise http.client.RemoteDisconnected("the head of the answer broke off")
            self._rest, self._at = self._rest[self._at :] + piece, 0
            if not _BEGIN.startswith(self._rest[: len(_BEGIN)]):
                raise ProtocolError("what came is no answer of HTTP/1")
        text = self._rest[self._at : found.start()].decode("iso-8859-1")
        self._at = found.end()
        if "\n " in text or "\n\t" in text:
            text = _FOLD.sub(" ", text)
        first, *lines = text.replace("\r\n", "\n").split("\n")
        status = _STATUS.fullmatch(first)
        if not status:
            raise ProtocolError("what came is no answer of HTTP/1")
        if len(lines) > _MAX_FIELDS:
            raise ProtocolError(f"the answer has more than {_MAX_FIELDS} headers")
        self.status, self.fields = int(status[2]), Fields(lines)
        return int(status[1])

    def _length(self) -> int:
        """Bytes by Content-Length; -1: it says nothing that can be understood."""
        said = self.fields.get("content-length")
        if len(said) > _MAX_LENGTH:
            raise ProtocolError("the answer's length is no number of bytes")
        if said.isascii() and said.isdigit():
            return int(said)
        lengths = {part.strip() for part in said.split(",")}
        if len(lengths) > 1:
            raise ProtocolError("the answer has several lengths")
        (length,) = lengths
        return int(length) if length.isascii() and length.isdigit() else -1

    def _due(self, most: int) -> int:
        """How many bytes of the body may be read next; 0: it is over."""
        if self.over:
            return 0
        if self._chunked and not self._left:
            self._left = self._begin_chunk()
            if not self._left:
                self.over = True
                return 0
        return most if self._left < 0 else min(most, self._left)

    def _came(self, count: int) -> None:
        """Take down that bytes of the body were read; none: the peer has closed."""
        if self._left < 0:
            self.over = not count
        elif not count:
            raise IncompleteRead(0, self._left)
        else:
            self._left -= count
            if not self._left and not self._chunked:
                self.over = True
            elif not self._left and self._line():
                raise ProtocolError("a chunk is longer than it said")

    def _begin_chunk(self) -> int:
        """Bytes of the next chunk; 0: it was the last one, and its trailers are passed over."""
        size = self._line().partition(b";")[0].strip()
        if not _CHUNK.fullmatch(size):
            raise ProtocolError("what should be the size of a chunk is none")
        if count := int(size, 16):
            return count
        for _ in range(_MAX_FIELDS):
            if not self._line():
                return 0
        raise ProtocolError(f"the answer has more than {_MAX_FIELDS} trailers")

    def _line(self) -> bytes:
        """The next line, without its end."""
        while (end := self._rest.find(b"\n", self._at)) < 0:
            if len(self._rest) - self._at > _MAX_LINE:
                raise ProtocolError(f"a line between chunks has more than {_MAX_LINE} bytes")
            piece = self._sock.recv(_RECV)
            if not piece:
                raise IncompleteRead(0, 1)
            self._rest, self._at = self._rest[self._at :] + piece, 0
        line, self._at = self._rest[self._at : end], end + 1
        return line.removesuffix(b"\r")
