"""How answers are parsed, and how requests look on the wire."""

from __future__ import annotations

import itertools
import re
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.registry.faults import STACK_ERRORS
from tests.unit.http.sending import finish, sending
from tests.unit.registry.peers import Teller, peer

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from pipeline.http.transport import Answer
    from tests.unit.http.sending import Sender

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class Told:
    """A scripted peer, and its client: all tests share its connections."""

    def __init__(self, sender: Sender, teller: Teller, address: str) -> None:
        """See the class."""
        self._sender, self._teller, self._url = sender, teller, f"http://{address}/v2/"

    def ask(self, *pieces: bytes, method: str = "GET", ends: bool = False) -> Answer:
        """The parsed answer of these bytes; with `ends` the peer closes after them."""
        self._teller.say(*pieces, ends=ends)
        return self._sender.ask(self._url, method)

    def is_kept(self, answer: Answer) -> bool:
        """Whether the next request reuses the connection of a finished answer."""
        following = self.ask(OK + b"Content-Length: 4\r\n\r\nnext")
        assert (following.status_code, finish(following)) == (200, b"next")
        return following.sock is answer.sock


@pytest.fixture(scope="module")
def shared_peer() -> Iterator[Told]:
    """One peer for all: properties use it thousands of times."""
    teller = Teller()
    with peer(teller) as address, sending() as sender:
        yield Told(sender, teller, address)


def body_of(answer: Answer, *, whole: bool = True, most: int = 7) -> bytes:
    """The whole body, read in small pieces."""
    buffer, pieces = memoryview(bytearray(most)), list[bytes]()
    while count := answer.readinto(buffer, whole=whole, seconds=5.0):
        pieces.append(bytes(buffer[:count]))
    return b"".join(pieces)


def cut(sent: bytes, sizes: list[int]) -> list[bytes]:
    """Bytes in pieces of these sizes, repeated in turn."""
    pieces, at, turns = [], 0, itertools.cycle(sizes)
    while at < len(sent):
        size = next(turns)
        pieces.append(sent[at : at + size])
        at += size
    return pieces


TOKEN = st.text(st.sampled_from("abcXYZ019-_"), min_size=1, max_size=12)
VALUE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=30)
FIELD = st.one_of(
    st.tuples(TOKEN, VALUE),
    st.tuples(st.just("Link"), st.just('<a>;\r\n rel="next"')),
)
CONNECTION = st.sampled_from([[], ["Connection: close"], ["Connection: keep-alive"], ["connection: Close"]])
PARTS = st.lists(st.binary(min_size=1, max_size=20), max_size=4)


def chunked(parts: list[bytes]) -> bytes:
    """Parts as chunks, the second one with an extension, and a trailer at the end."""
    extended = [b";a=b" if number == 1 else b"" for number in range(len(parts))]
    framed = [b"%x%b\r\n%b\r\n" % (len(part), more, part) for part, more in zip(parts, extended, strict=True)]
    return b"".join(framed) + b"0\r\nX-Trailer: 1\r\n\r\n"


def joined(fields: list[tuple[str, str]]) -> dict[str, str]:
    """Names in lower case, values of one name joined by commas, white space collapsed."""
    values: dict[str, str] = {}
    for name, value in fields:
        before = f"{values[name.lower()]}, " if name.lower() in values else ""
        values[name.lower()] = " ".join(f"{before}{value}".split())
    return values


@given(
    st.tuples(st.lists(FIELD, max_size=6), CONNECTION),
    st.sampled_from(["length", "chunks", "end", "odd length"]),
    PARTS,
    st.tuples(
        st.sampled_from([200, 201, 204, 304, 401, 404, 503]),
        st.sampled_from(["GET", "HEAD", "PUT"]),
        st.sampled_from(["1.1", "1.0"]),
        st.sampled_from(["\r\n", "\n"]),
    ),
)
def test_any_valid_answer_is_read(
    shared_peer: Told,
    fields: tuple[list[tuple[str, str]], list[str]],
    framing: str,
    parts: list[bytes],
    manner: tuple[int, str, str, str],
) -> None:
    """Any valid answer is read correctly, however its length is stated."""
    status, method, version, end = manner
    content = b"".join(parts)
    said = {
        "length": [f"Content-Length: {len(content)}"],
        "chunks": ["Transfer-Encoding: Chunked"],
        "odd length": ["Content-Length: x"],
        "end": [],
    }
    lines = [*(f"{name}: {value}" for name, value in fields[0]), *fields[1], *said[framing]]
    head = end.join([f"HTTP/{version} {status} Some reason", *lines, "", ""]).encode()
    none = method == "HEAD" or status in {204, 304}
    body = b"" if none else chunked(parts) if framing == "chunks" else content

    answer = shared_peer.ask(head + body, method=method, ends=framing in {"end", "odd length"})

    seen = {name: " ".join(value.split()) for name, value in answer.headers.items()}
    framed = [
        (name, value) for name, _, value in (line.partition(":") for line in (*fields[1], *said[framing]))
    ]
    assert (status, joined([*fields[0], *framed])) == (answer.status_code, seen)
    assert finish(answer) == (b"" if none else content)


@given(
    PARTS,
    st.sampled_from([b"Content-Length: %d", b"Transfer-Encoding: chunked"]),
    st.sampled_from(["read", "readinto", "readinto whole"]),
    st.lists(st.integers(1, 40), min_size=1, max_size=5),
)
def test_any_split_reads_the_same(
    shared_peer: Told, parts: list[bytes], framing: bytes, how: str, sizes: list[int]
) -> None:
    """However the network splits a response, it is read the same, and the connection is reusable."""
    content = b"".join(parts)
    if b"%d" in framing:
        sent = OK + framing % len(content) + b"\r\n\r\n" + content
    else:
        sent = OK + framing + b"\r\n\r\n" + chunked(parts)
    answer = shared_peer.ask(*cut(sent, sizes))

    if how == "read":
        assert content == b"".join(iter(lambda: answer.read(7), b""))
    else:
        assert content == body_of(answer, whole=how == "readinto whole")
    answer.close()
    assert shared_peer.is_kept(answer)


@given(st.binary(max_size=200), st.sampled_from([b"", OK, OK + b"\r\n", CHUNKED]))
def test_any_bytes_are_a_response_or_a_known_error(shared_peer: Told, sent: bytes, begin: bytes) -> None:
    """Whatever a peer sends is a response or a known error, and never part of the next response."""
    with suppress(*STACK_ERRORS):
        answer = shared_peer.ask(begin + sent, ends=True)
        body_of(answer)
        answer.close()

    following = shared_peer.ask(OK + b"Content-Length: 4\r\n\r\nnext")
    assert (following.status_code, finish(following)) == (200, b"next")


@pytest.mark.parametrize("statuses", [(100,), (102,), (103, 103), (199, 100, 103)])
def test_interim_answers_are_skipped(shared_peer: Told, statuses: tuple[int, ...]) -> None:
    """Interim answers are skipped, however many and whatever their status."""
    interim = b"".join(b"HTTP/1.1 %d Wait\r\nA: b\r\n\r\n" % status for status in statuses)
    answer = shared_peer.ask(interim + b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", method="PUT")

    assert (201, b"", {"content-length": "0"}) == (answer.status_code, finish(answer), dict(answer.headers))
    assert shared_peer.is_kept(answer)


def test_endless_interim_answers_are_an_error(shared_peer: Told) -> None:
    """A thousand interim answers are skipped, but an endless flood of them is an error."""
    interim, final = b"HTTP/1.1 103 Early Hints\r\n\r\n", OK + b"Content-Length: 5\r\n\r\nabcde"

    assert finish(shared_peer.ask(interim * 1000 + final)) == b"abcde"
    with pytest.raises(STACK_ERRORS):
        shared_peer.ask(interim * 100_000)


LOST = ConnectionResetError
"""The error of a connection that was lost before the answer."""


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"", LOST),
        (OK + b"Content-Length: 5\r\n", LOST),
        (OK + b"Content-Length: 5", LOST),
        (OK + b"A: " + b"x" * (1 << 18) + b"\r\n\r\n", STACK_ERRORS),
        (OK + b"A: b\r\n" * 101 + b"\r\n", STACK_ERRORS),
        (OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", STACK_ERRORS),
        (OK + b"Content-Length: 5, 6\r\n\r\n", STACK_ERRORS),
        (OK + b"Content-Length: " + b"1" * 5000 + b"\r\n\r\n", STACK_ERRORS),
        (b"HTTP/2 200 OK\r\n\r\n", STACK_ERRORS),
        (b"HTTP/1.1 1000 Wait\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", STACK_ERRORS),
        (OK + b"A: b\rContent-Length: 3\r\n\r\nabc", STACK_ERRORS),
        (OK + b"no header\r\nContent-Length: 3\r\n\r\nabc", STACK_ERRORS),
        (OK + b" folded: nothing\r\nContent-Length: 3\r\n\r\nabc", STACK_ERRORS),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", STACK_ERRORS),
    ],
)
def test_invalid_head_is_an_error(shared_peer: Told, sent: bytes, error: type[Exception]) -> None:
    """A head that is incomplete, contradicts itself, or is too large is an error."""
    with pytest.raises(error):
        shared_peer.ask(sent, ends=True)


@pytest.mark.parametrize("sent", [b"220 mail.example ESMTP\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\x15\x03\x01"])
def test_other_protocol_is_detected(shared_peer: Told, sent: bytes) -> None:
    """Another protocol is detected by the first bytes, since there may be no others."""
    with pytest.raises(STACK_ERRORS) as caught:
        shared_peer.ask(sent)

    assert not isinstance(caught.value, TimeoutError)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("blank", [b"\n", b"\r\n"])
def test_mixed_line_endings_are_read(shared_peer: Told, end: bytes, blank: bytes) -> None:
    """The lines of a head may have different endings, as if a script wrote some of them."""
    answer = shared_peer.ask(
        b"HTTP/1.1 200 OK" + end + b"ETag: a\nContent-Length: 5\r\nX: y" + end + blank + b"abcde"
    )

    assert {"etag": "a", "content-length": "5", "x": "y"} == dict(answer.headers)
    assert finish(answer) == b"abcde"
    assert shared_peer.is_kept(answer)


@pytest.mark.parametrize("said", [b"5\r\nContent-Length: 5", b"5, 5"])
def test_repeated_equal_length_is_accepted(shared_peer: Told, said: bytes) -> None:
    """A repeated equal length is accepted."""
    answer = shared_peer.ask(OK + b"Content-Length: " + said + b"\r\n\r\nabcde")

    assert finish(answer) == b"abcde"
    assert shared_peer.is_kept(answer)


@pytest.mark.parametrize("into", [True, False])
@pytest.mark.parametrize(
    "body",
    [
        b"5\r\nabc",
        b"5\r\nabcde\r\n",
        b"5\r\nabcdef\r\n0\r\n\r\n",
        b"-1\r\nabc",
        b"\r\n0\r\n\r\n",
        b"0\r\n",
        b"0\r\nA: b\r\n",
        b"0\r\n" + b"A: b\r\n" * (1 << 16),
        b"1;" + b"x" * (1 << 18),
    ],
)
def test_broken_chunks_are_an_error(shared_peer: Told, body: bytes, into: bool) -> None:  # noqa: FBT001 - a column
    """Incomplete or invalid chunks are an error at every read, not the end of the body."""
    answer = shared_peer.ask(CHUNKED + body, ends=True)
    for _ in range(2):
        with pytest.raises(STACK_ERRORS):
            body_of(answer) if into else answer.read(1 << 20)
    answer.close()
    assert not shared_peer.is_kept(answer)


def test_truncated_body_is_an_error(shared_peer: Told) -> None:
    """A body that is shorter than its length is an error, raised after all received bytes."""
    answer = shared_peer.ask(OK + b"Content-Length: 5\r\n\r\n", b"ab", b"c", ends=True)
    buffer = bytearray(5)
    count = answer.readinto(memoryview(buffer), whole=True, seconds=5.0)
    for _ in range(2):
        with pytest.raises(STACK_ERRORS):
            answer.readinto(memoryview(buffer), whole=True, seconds=5.0)
    answer.close()

    assert buffer[:count] == b"abc"
    assert not shared_peer.is_kept(answer)


@pytest.mark.parametrize(
    "sent",
    [
        OK + b"Content-Length: 3\r\n\r\nabcHTTP/1.1 404 Not Found\r\n\r\n",
        OK + b"Content-Length: 3\r\nConnection: close\r\n\r\nabc",
        OK + b"Content-Length: 3\r\nConnection: keep-alive\r\nConnection: close\r\n\r\nabc",
        b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ],
)
def test_connection_is_not_reused_after_close_or_surplus(shared_peer: Told, sent: bytes) -> None:
    """A connection is not reused after `close`, or with bytes after the answer."""
    answer = shared_peer.ask(sent)
    finish(answer)

    assert not shared_peer.is_kept(answer)


@pytest.mark.parametrize(
    "framing",
    [
        b"",
        b"Transfer-Encoding: gzip, chunked\r\nContent-Length: 2\r\n",
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    ],
)
def test_body_without_framing_ends_with_the_connection(shared_peer: Told, framing: bytes) -> None:
    """A body with unknown framing ends with its connection."""
    answer = shared_peer.ask(OK + framing + b"\r\nabc", ends=True)

    assert finish(answer) == b"abc"
    assert not shared_peer.is_kept(answer)


class TestRequests:
    def head(self, method: str, path: str, *, body: bytes = b"", headers: dict[str, str | bytes]) -> bytes:
        """The bytes that a peer receives."""
        heads: list[bytes] = []

        def script(sock: socket.socket) -> None:
            left = len(body)
            while left:
                left -= len(sock.recv(left))
            sock.sendall(OK + b"Content-Length: 0\r\n\r\n")

        with peer(script, heads=heads) as address, sending() as sender:
            finish(sender.ask(f"http://{address}{path}", method, headers=headers, body=body))
        (head,) = heads
        return head.replace(address.encode(), b"ADDRESS")

    def test_request_has_its_fields_and_length(self) -> None:
        """A request has its fields, and the length of its body."""
        head = self.head("PUT", "/v2/a?b=c", body=b"abcde", headers={"Authorization": b"Basic eA=="})

        assert head.split(b"\r\n") == [
            b"PUT /v2/a?b=c HTTP/1.1",
            b"Host: ADDRESS",
            b"Authorization: Basic eA==",
            b"Content-Length: 5",
            b"",
            b"",
        ]

    @pytest.mark.parametrize(
        "target", ["/v2/%7e%2F//../a;b,c?x=%&y=[]{}|^`\"<>\\'", "/?", "/v2/?_state=a==&b=%2f+c"]
    )
    def test_target_is_sent_as_given(self, target: str) -> None:
        """Path and query are sent byte for byte as given."""
        expected = target.encode() if target != "/?" else b"/"

        assert self.head("GET", target, headers={}).split(b" ")[1] == expected

    @pytest.mark.parametrize(("method", "said"), [("GET", False), ("HEAD", False), ("POST", True)])
    def test_empty_body_is_announced(self, method: str, said: bool) -> None:  # noqa: FBT001 - a column
        """An empty body is announced for methods that usually have one."""
        assert said == bool(re.search(rb"\r\nContent-Length: 0\r\n", self.head(method, "/", headers={})))

    @pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\rb", "\N{SNOWMAN}", b"a\r\n\r\n"])
    def test_header_values_cannot_contain_line_ends(self, value: str | bytes) -> None:
        """No header value can contain a line end."""
        with pytest.raises(ValueError, match=r"line|codec"):
            self.head("GET", "/", headers={"Accept": value})
