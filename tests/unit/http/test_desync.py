"""Peers that send more, less or something else: no request gets the response to another."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.registry.faults import STACK_ERRORS
from tests.unit.http.sending import finish, sending
from tests.unit.registry.asking import Sent
from tests.unit.registry.peers import peer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.http.transport import Answer
    from tests.unit.http.sending import Sender

BODY = 200_000
"""Bytes of a request body: more than is sent together with the head."""
STRAY = b"HTTP/1.1 200 OK\r\nX-For: stray\r\nContent-Length: 5\r\n\r\nstray"
EARLY = b"HTTP/1.1 103 Early Hints\r\nX-For: stray\r\nContent-Length: 5\r\n\r\n"


@dataclass(frozen=True)
class Step:
    """One request, what the peer does with it, and what happens to the answer."""

    method: str
    does: str
    how_many: int
    """The number of bytes or answers, depending on `does`."""
    ends: str
    then: str


DEEDS = """sound; chunks; two; two apart; junk; interim; flood; cut; longer; shorter; body in any case;
no last chunk; more chunks; early; nothing""".replace("\n", " ").split("; ")
"""What a peer can do; see `pieces`."""
STEPS = st.builds(
    Step,
    st.sampled_from(["GET", "HEAD", "PUT"]),
    st.sampled_from(DEEDS),
    st.integers(0, 120),
    st.sampled_from(["goes on", "goes on", "shuts", "resets"]),
    st.sampled_from(["all", "all", "part", "closed", "held"]),
)


def pieces(number: bytes, step: Step) -> list[bytes]:
    """The response to the request with that number; each piece is sent separately."""
    start = b"HTTP/1.1 200 OK\r\nX-For: %b\r\n" % number
    body = b"" if step.method == "HEAD" else number
    sound = start + b"Content-Length: %d\r\n\r\n" % len(number) + body
    chunks = start + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(number), number)
    return {
        "sound": [sound],
        "chunks": [start + b"Transfer-Encoding: chunked\r\n\r\n"] if not body else [chunks + b"0\r\n\r\n"],
        "two": [sound + STRAY],
        "two apart": [sound, STRAY],
        "junk": [sound, b"\r\n" * step.how_many],
        "interim": [EARLY * step.how_many + sound],
        "flood": [EARLY * 5_000 + sound],
        "cut": [sound[: step.how_many]],
        "longer": [start + b"Content-Length: %d\r\n\r\n" % (len(number) + len(STRAY)) + number, STRAY],
        "shorter": [start + b"Content-Length: 1\r\n\r\n" + number + STRAY],
        "body in any case": [
            start.replace(b"200", b"204") + b"Content-Length: %d\r\n\r\n" % len(STRAY),
            STRAY,
        ],
        "no last chunk": [chunks],
        "more chunks": [chunks + b"0\r\n\r\n" + chunks.partition(b"\r\n\r\n")[2] + STRAY],
        "early": [sound],
        "nothing": [],
    }[step.does]


class Hostile:
    """A peer that follows drawn steps: the request for `/N` gets step N."""

    def __init__(self) -> None:
        """Start without steps."""
        self.heads: list[bytes] = []
        self.steps: list[Step] = []
        self._spoken = threading.Event()

    def wait(self) -> None:
        """Wait until the last response is sent, since later bytes could not be told from it."""
        assert self._spoken.wait(10)
        self._spoken.clear()

    def __call__(self, sock: socket.socket) -> None:
        """Answer one request."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        number = self.heads[-1].split(b" ")[1].removeprefix(b"/")
        step = self.steps[int(number)]
        left = int((re.search(rb"Content-Length: (\d+)", self.heads[-1]) or [b"", b"0"])[1])
        try:
            if step.does != "early":
                left = take(sock, left)
            for piece in pieces(number, step):
                sock.sendall(piece)
            if step.ends == "resets":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                sock.close()
            elif step.ends == "shuts" or step.does in {"nothing", "cut", "no last chunk"}:
                socket.socket.shutdown(sock, socket.SHUT_WR)
        finally:
            self._spoken.set()
        take(sock, left)


def take(sock: socket.socket, left: int) -> int:
    """Receive up to that many bytes of a body; returns 0."""
    while left > 0 and (piece := sock.recv(min(left, 1 << 16))):
        left -= len(piece)
    return 0


def follow(sender: Sender, hostile: Hostile, address: str) -> None:
    """Send a request for each step, and check whose response arrives."""
    held: list[tuple[int, Answer]] = []
    for number, step in enumerate(hostile.steps):
        with suppress(*STACK_ERRORS):
            body = Sent(b"x" * BODY) if step.method == "PUT" else b""
            answer = sender.ask(f"{address}/{number}", step.method, body=body)
            assert answer.headers["X-For"] == str(number)
            if step.then == "held":
                held.append((number, answer))
            elif step.then == "closed":
                answer.close()
            else:
                said = answer.read(1 if step.then == "part" else 1 << 20)
                answer.close()
                check(number, said)
        hostile.wait()
    for number, answer in held:
        with suppress(*STACK_ERRORS):
            check(number, finish(answer))


def check(number: int, said: bytes) -> None:
    """Whether a body is, or begins like, that of the request with this number."""
    mine = str(number).encode()
    assert said.startswith(mine) or mine.startswith(said)


@contextmanager
def hostile_peer(scheme: str, certificates: Path) -> Iterator[tuple[Hostile, str]]:
    """A scripted peer, and its address."""
    hostile, context = Hostile(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    with peer(hostile, tls=context if scheme == "https" else None, heads=hostile.heads) as address:
        yield hostile, f"{scheme}://{address}"


@pytest.fixture(scope="module", params=["http", "https"])
def peers(request: pytest.FixtureRequest, certificates: Path) -> Iterator[tuple[Hostile, str]]:
    """One peer for all examples, without and with TLS."""
    with hostile_peer(request.param, certificates) as made:
        yield made


@given(st.lists(STEPS, min_size=1, max_size=8))
def test_each_request_gets_its_own_response(peers: tuple[Hostile, str], steps: list[Step]) -> None:
    """Whatever a peer answers to one request, the next ones get their own responses, or an error."""
    hostile, address = peers
    hostile.steps = [*steps, Step("GET", "sound", 0, "goes on", "all")]
    with sending() as sender:
        follow(sender, hostile, address)
