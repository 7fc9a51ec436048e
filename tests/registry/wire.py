"""HTTP/1.1 at the socket: heads and bodies are read and written with just the checks that a test needs.

http.server parses heads with the email package and hides the socket; here a request costs some tens of
microseconds, and every fault of faults.py can be performed.
"""

from __future__ import annotations

import hashlib
import http
import io
import json
import socket
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

_MAX_LINE = 1 << 16
_PIECE = 1 << 18
_HANDSHAKE = b"\x16"
"""The first byte of TLS (RFC 8446, 5.1); no HTTP method starts with it."""
_NO_BODY = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request."""

    method: str
    target: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a request."""

    content: bytes
    """Empty if it was not kept."""
    length: int
    sha256: str
    whole: bool
    """Whether everything that was announced arrived."""


@dataclass(slots=True, kw_only=True)
class Response:
    """The response."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    stream: Iterable[bytes] | None = None
    """Instead of `body`; `length` is its size."""
    length: int | None = None
    """Announced in Content-Length; None: the body's."""


class Refusal(Exception):  # noqa: N818  an answer like any other
    """A response with an OCI error body, raised by the handler."""

    def __init__(self, status: int, code: str, message: str = "", *, detail: Any = None) -> None:
        """One error; a list as `detail` makes one error for each item."""
        super().__init__(code)
        details = detail if isinstance(detail, list) else [detail]
        errors = [{"code": code, "message": message or code.lower(), "detail": each} for each in details]
        self.response = json_response({"errors": errors}, status=status)


def json_response(body: Any, *, status: int = 200) -> Response:
    """A JSON answer."""
    headers = {"Content-Type": "application/json; charset=utf-8"}
    return Response(status=status, headers=headers, body=json.dumps(body).encode())


class Connection:
    """One accepted connection, used by one thread."""

    def __init__(self, sock: socket.socket) -> None:
        """Take over the socket."""
        self.socket = sock
        self._reader = io.BufferedReader(sock.makefile("rb", buffering=0), _MAX_LINE)

    def read_head(self) -> Head | None:
        """The next request's head; None if the other side has closed, ValueError if it is not HTTP.

        A TLS handshake, which may never contain the end of a line, counts as closed.
        """
        if self._reader.peek(1)[:1] == _HANDSHAKE:
            return None
        line = self._reader.readline(_MAX_LINE)
        if not line:
            return None
        method, target, version = line.decode("latin-1").rstrip("\r\n").split(" ", 2)
        if not version.startswith("HTTP/1."):
            raise ValueError("no HTTP")  # a TLS hello may contain line feeds and spaces
        headers: dict[str, str] = {}
        while line := self._reader.readline(_MAX_LINE).rstrip(b"\r\n"):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return Head(method, target, headers)

    def read_body(self, head: Head, *, keep: bool = True, limit: int | None = None) -> Body:
        """The body, kept or only hashed; at most `limit` bytes of it."""
        if "100-continue" in head.headers.get("expect", "").lower():
            self.socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        announced = int(head.headers.get("content-length") or 0)
        if "chunked" in head.headers.get("transfer-encoding", "").lower():
            return self._read_chunked(keep=keep, limit=limit)
        wanted = announced if limit is None else min(announced, limit)
        hasher = hashlib.sha256()
        target = memoryview(bytearray(wanted if keep else min(wanted, _PIECE)))
        done = 0
        while done < wanted:
            view = target[done : done + _PIECE] if keep else target[: wanted - done]
            count = self._reader.readinto(view)
            if not count:
                break
            hasher.update(view[:count])
            done += count
        content = bytes(target[:done]) if keep else b""
        return Body(content, done, hasher.hexdigest(), done == announced)

    def _read_chunked(self, *, keep: bool, limit: int | None) -> Body:
        hasher, pieces, done, whole = hashlib.sha256(), [], 0, False
        while limit is None or done < limit:
            size = int(self._reader.readline(_MAX_LINE).split(b";")[0] or b"-1", 16)
            if size < 0:
                break
            piece = self._reader.read(size)
            self._reader.readline(_MAX_LINE)
            hasher.update(piece)
            done += len(piece)
            if keep:
                pieces.append(piece)
            if len(piece) < size or not size:
                whole = not size
                break
        return Body(b"".join(pieces), done, hasher.hexdigest(), whole)

    def send(
        self,
        response: Response,
        *,
        pieces: Iterable[bytes],
        framing: Literal["length", "chunked", "none"] = "length",
        close: bool = False,
        bodyless: bool = False,
    ) -> None:
        """Write the head and then `pieces`, unchanged.

        Chunked framing is never finished: only truncated bodies are sent this way.
        """
        lines = [f"HTTP/1.1 {response.status} {_reason(response.status)}"]
        lines += [f"{name}: {value}" for name, value in response.headers.items()]
        if framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
        elif (
            framing == "length"
            and response.status not in _NO_BODY
            and "Content-Length" not in response.headers
        ):
            lines.append(f"Content-Length: {length_of(response)}")
        if close or framing == "none":
            lines.append("Connection: close")
        pending = "\r\n".join([*lines, "", ""]).encode("latin-1")
        for piece in () if bodyless else pieces:
            framed = b"%x\r\n%b\r\n" % (len(piece), piece) if framing == "chunked" and piece else piece
            if pending and len(piece) < _MAX_LINE:
                framed, pending = pending + framed, b""
            elif pending:
                self.socket.sendall(pending)
                pending = b""
            self.socket.sendall(framed)
        if pending:
            self.socket.sendall(pending)

    def drain(self, seconds: float) -> None:
        """Close the sending side, and read until the other side has closed too."""
        self.socket.shutdown(socket.SHUT_WR)
        self.socket.settimeout(seconds)
        while self._reader.read1(_PIECE):
            pass

    def close(self, *, reset: bool = False) -> None:
        """Close with FIN, or with RST."""
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._reader.close()
        self.socket.close()


def length_of(response: Response) -> int:
    """The value of Content-Length."""
    return len(response.body) if response.length is None else response.length


def _reason(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
