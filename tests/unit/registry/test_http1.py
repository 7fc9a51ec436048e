"""Answers are read as http.client reads them, but for what it gets wrong; requests cannot be broken up."""

from __future__ import annotations

import http.client
import io
import itertools
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from urllib3.exceptions import HTTPError, IncompleteRead, ProtocolError

from pipeline.registry.http1 import Reply, compose

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable


class Peer:
    """A socket on which an answer comes in pieces, and then the end."""

    def __init__(self, sent: bytes, sizes: Callable[[], int] = lambda: 1 << 20) -> None:
        """`sizes` gives the bytes of each piece."""
        self._sent, self._sizes = io.BytesIO(sent), sizes

    def recv(self, most: int) -> bytes:
        """What comes next."""
        return self._sent.read(min(most, max(1, self._sizes())))

    def recv_into(self, view: memoryview) -> int:
        """The same into a buffer."""
        piece = self.recv(len(view))
        view[: len(piece)] = piece
        return len(piece)

    @property
    def left(self) -> int:
        """Bytes that were not taken yet."""
        return len(self._sent.getbuffer()) - self._sent.tell()

    def makefile(self, mode: str) -> io.BytesIO:
        """The same for http.client."""
        assert mode == "rb"
        return self._sent


def ours(sent: bytes, method: str = "GET", sizes: Callable[[], int] = lambda: 1 << 20) -> Reply:
    """The answer that was sent."""
    return Reply(cast("socket.socket", Peer(sent, sizes)), method)


def body_of(reply: Reply, *, whole: bool = True, most: int = 7) -> bytes:
    """All of a body, in small pieces."""
    buffer, pieces = memoryview(bytearray(most)), list[bytes]()
    while count := reply.readinto(buffer, whole=whole):
        pieces.append(bytes(buffer[:count]))
    return b"".join(pieces)


def seen_by_us(sent: bytes, method: str) -> dict[str, Any]:
    """What we make of an answer."""
    reply = ours(sent, method)
    fields = {name: " ".join(value.split()) for name, value in reply.fields.items()}
    return {
        "status": reply.status,
        "fields": fields,
        "body": body_of(reply) if reply.status >= 200 else b"",
        "closes": reply.closes,
    }


def seen_by_library(sent: bytes, method: str) -> dict[str, Any]:
    """What http.client makes of it."""
    response = http.client.HTTPResponse(cast("socket.socket", Peer(sent)), method=method)
    response.begin()
    fields: dict[str, str] = {}
    for name, value in response.getheaders():
        before = f"{fields[name.lower()]}, " if name.lower() in fields else ""
        fields[name.lower()] = " ".join(f"{before}{value}".split())
    closes = response.will_close
    return {"status": response.status, "fields": fields, "body": response.read(), "closes": closes}


TOKEN = st.text(st.sampled_from("abcXYZ019-_"), min_size=1, max_size=12)
VALUE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=30)
FIELD = st.one_of(
    st.tuples(TOKEN, VALUE),
    st.tuples(st.just("Link"), st.just('<a>;\r\n rel="next"')),
)
CONNECTION = st.sampled_from([[], ["Connection: close"], ["Connection: keep-alive"], ["connection: Close"]])
PARTS = st.lists(st.binary(min_size=1, max_size=20), max_size=4)


def chunked(parts: list[bytes]) -> bytes:
    """Parts as chunks, the second with an extension, and a trailer behind them."""
    extended = [b";a=b" if number == 1 else b"" for number in range(len(parts))]
    framed = [b"%x%b\r\n%b\r\n" % (len(part), more, part) for part, more in zip(parts, extended, strict=True)]
    return b"".join(framed) + b"0\r\nX-Trailer: 1\r\n\r\n"


@given(
    st.sampled_from([200, 201, 204, 304, 401, 404, 503]),
    st.tuples(st.lists(FIELD, max_size=6), CONNECTION),
    st.sampled_from(["length", "chunks", "end", "odd length"]),
    PARTS,
    st.tuples(
        st.sampled_from(["GET", "HEAD", "PUT"]),
        st.sampled_from(["1.1", "1.0"]),
        st.sampled_from(["\r\n", "\n"]),
    ),
)
def test_like_the_library(
    status: int,
    fields: tuple[list[tuple[str, str]], list[str]],
    framing: str,
    parts: list[bytes],
    manner: tuple[str, str, str],
) -> None:
    """Any sound answer means what http.client takes it for, whatever says how long its body is."""
    method, version, end = manner
    if status in {204, 304} and framing == "chunks":
        framing = "length"  # http.client would read them
    content = b"".join(parts)
    said = {
        "length": [f"Content-Length: {len(content)}"],
        "chunks": ["Transfer-Encoding: Chunked"],
        "odd length": ["Content-Length: x"],
        "end": [],
    }
    lines = [*(f"{name}: {value}" for name, value in fields[0]), *fields[1]]
    head = end.join([f"HTTP/{version} {status} Some reason", *lines, *said[framing], "", ""]).encode()
    sent = head + (chunked(parts) if framing == "chunks" else content)

    assert seen_by_library(sent, method) == seen_by_us(sent, method)


@given(PARTS, st.booleans(), st.booleans(), st.data())
def test_any_pieces(parts: list[bytes], in_chunks: bool, whole: bool, data: st.DataObject) -> None:  # noqa: FBT001 - drawn
    """However the network cuts an answer, the same comes out, and the connection may be used again."""
    content = b"".join(parts)
    framing = b"Transfer-Encoding: chunked" if in_chunks else b"Content-Length: %d" % len(content)
    sent = b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n" + (chunked(parts) if in_chunks else content)
    reply = ours(sent, sizes=lambda: data.draw(st.integers(1, 40)))

    if data.draw(st.booleans()):
        assert content == b"".join(iter(lambda: reply.read(7), b""))
    else:
        assert content == body_of(reply, whole=whole)
    assert reply.reusable


@given(st.binary(max_size=200), st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]))
def test_anything(sent: bytes, begin: bytes) -> None:
    """Whatever a peer sends is an answer, or an error that is known."""
    with suppress(HTTPError, OSError):
        body_of(ours(begin + sent))


@given(st.binary(max_size=200))
def test_any_chunks(sent: bytes) -> None:
    """Whatever comes where chunks should be is a body, or an error that is known."""
    with suppress(HTTPError, OSError):
        body_of(ours(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + sent))


@pytest.mark.parametrize("statuses", [(100,), (102,), (103, 103), (199, 100, 103)])
def test_interim(statuses: tuple[int, ...]) -> None:
    """Interim answers are passed over, however many and whatever their status."""
    interim = b"".join(b"HTTP/1.1 %d Wait\r\nA: b\r\n\r\n" % status for status in statuses)
    reply = ours(interim + b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", "PUT")

    assert (201, True, "") == (reply.status, reply.reusable, reply.fields.get("A"))


def test_protocol_changed() -> None:
    """An answer that changes the protocol is no interim one: what follows it is not HTTP/1."""
    reply = ours(b"HTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    assert (101, False) == (reply.status, reply.reusable)


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"", http.client.RemoteDisconnected),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", http.client.RemoteDisconnected),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5", http.client.RemoteDisconnected),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * (1 << 18) + b"\r\n\r\n", ProtocolError),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 101 + b"\r\n", ProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", ProtocolError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"1" * 5000 + b"\r\n\r\n", ProtocolError),
        (b"HTTP/2 200 OK\r\n\r\n", ProtocolError),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", ProtocolError),
    ],
)
def test_unsound(sent: bytes, error: type[Exception]) -> None:
    """A head that breaks off, contradicts itself, or is larger than any registry's, is an error."""
    with pytest.raises(error):
        ours(sent)


@pytest.mark.parametrize("sent", [b"220 mail.example ESMTP\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\x15\x03\x01"])
def test_other_protocol(sent: bytes) -> None:
    """Whoever speaks something else is known by the first bytes: there may be no more of them."""
    peer = Peer(sent + b"more", lambda: len(sent))
    with pytest.raises(ProtocolError):
        Reply(cast("socket.socket", peer), "GET")

    assert peer.left == 4


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("blank", [b"\n", b"\r\n"])
def test_mixed_ends(end: bytes, blank: bytes) -> None:
    """Each line of a head may end in its own way, as where a script behind the server wrote some of them."""
    reply = ours(b"HTTP/1.1 200 OK" + end + b"ETag: a\nContent-Length: 5\r\nX: y" + end + blank + b"abcde")

    assert {"etag": "a", "content-length": "5", "x": "y"} == dict(reply.fields)
    assert (body_of(reply), reply.reusable) == (b"abcde", True)


def test_said_twice() -> None:
    """A length that is said twice is that length."""
    reply = ours(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nabcde")

    assert body_of(reply) == b"abcde"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"5\r\nabc", IncompleteRead),
        (b"5\r\nabcde\r\n", IncompleteRead),
        (b"5\r\nabcdef\r\n0\r\n\r\n", ProtocolError),
        (b"-1\r\nabc", ProtocolError),
        (b"\r\n0\r\n\r\n", ProtocolError),
        (b"0\r\n" + b"A: b\r\n" * 200, ProtocolError),
        (b"1;" + b"x" * (1 << 18), ProtocolError),
    ],
)
def test_broken_chunks(body: bytes, error: type[Exception]) -> None:
    """Chunks that break off, or are none, are an error and not the end of the body."""
    reply = ours(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    with pytest.raises(error):
        body_of(reply)


def test_broken_off() -> None:
    """A body that is shorter than its length is an error, after all that came of it."""
    reply = ours(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", sizes=lambda: 1)
    buffer = bytearray(5)
    count = reply.readinto(memoryview(buffer), whole=True)
    with pytest.raises(IncompleteRead):
        reply.readinto(memoryview(buffer), whole=True)

    assert buffer[:count] == b"abc"
    assert not reply.reusable


def test_slower_than_thought(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes slowly is handed out before a piece of it is whole: it would seem to be no progress."""
    reply = ours(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n" + b"x" * 50, sizes=lambda: 1)
    clock = itertools.count(0.0, 0.1)
    monkeypatch.setattr("pipeline.registry.http1.monotonic", lambda: next(clock))
    first = reply.readinto(memoryview(bytearray(50)), whole=True)

    assert 1 < first < 20
    assert body_of(reply) == b"x" * (50 - first)


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 404 Not Found\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
        b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 3\r\n\r\nabc",
    ],
)
def test_not_again(sent: bytes) -> None:
    """A connection is not used again that says so, or on which more lies than the answer."""
    reply = ours(sent)
    body_of(reply)

    assert reply.over
    assert not reply.reusable


class TestCompose:
    def test_request(self) -> None:
        """A request has its fields, and the length of its body."""
        head = compose("PUT", "/v2/a?b=c", {"Host": "x:1", "Authorization": b"Basic eA=="}, length=5)

        assert head.split(b"\r\n") == [
            b"PUT /v2/a?b=c HTTP/1.1",
            b"Host: x:1",
            b"Authorization: Basic eA==",
            b"Content-Length: 5",
            b"",
            b"",
        ]

    @pytest.mark.parametrize(("method", "said"), [("GET", False), ("HEAD", False), ("POST", True)])
    def test_no_body(self, method: str, said: bool) -> None:  # noqa: FBT001 - a column
        """That there is no body is said where one is usual."""
        head = compose(method, "/", {"Host": "x"}, length=0)

        assert said == bool(re.search(rb"\r\nContent-Length: 0\r\n", head))

    @pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\rb", "\N{SNOWMAN}", b"a\r\n\r\n"])
    def test_injection(self, value: str | bytes) -> None:
        """No value can end its line."""
        with pytest.raises(ValueError, match=r"line|codec"):
            compose("GET", "/", {"Host": "x", "Accept": value}, length=0)
