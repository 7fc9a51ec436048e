"""Which connections are reused: none that may still carry bytes of another answer."""

from __future__ import annotations

import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from pipeline.registry.faults import STACK_ERRORS
from tests.unit.http.sending import finish, sending
from tests.unit.registry.asking import Sent
from tests.unit.registry.peers import peer

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def tls(certificates: Path) -> ssl.SSLContext:
    """The certificate of a server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    return context


def test_connection_with_another_protocol_is_not_reused() -> None:
    """No other request is sent on a connection that has switched to another protocol."""
    switched = b"HTTP/1.1 101 Wait\r\n\r\n"
    with peer(lambda sock: sock.sendall(switched)) as address, sending() as sender:
        first = sender.ask(f"http://{address}/one")
        finish(first)
        second = sender.ask(f"http://{address}/two")

        assert first.sock is not second.sock


def test_closing_twice_is_harmless() -> None:
    """Closing a response twice does not take the connection from its next user."""
    with peer(lambda sock: sock.sendall(FINE)) as address, sending() as sender:
        first = sender.ask(f"http://{address}/one")
        first.close()
        second = sender.ask(f"http://{address}/two")
        first.close()
        third = sender.ask(f"http://{address}/three")

        assert first.sock is second.sock is not third.sock


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_surplus_bytes_are_not_the_next_response(tls: ssl.SSLContext, scheme: str) -> None:
    """Bytes beyond the length of a body, even decrypted ones, are not taken for the next response."""

    def script(sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n")
        sock.sendall(b"abc" + FINE)

    with peer(script, tls=tls if scheme == "https" else None) as address, sending() as sender:
        first = sender.ask(f"{scheme}://{address}/one")
        finish(first)
        second = sender.ask(f"{scheme}://{address}/two")

        assert first.sock is not second.sock


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_idle_connection_closed_by_server_is_detected(tls: ssl.SSLContext, scheme: str) -> None:
    """A connection that the server has closed is detected before a body is sent on it."""
    closed: list[socket.socket] = []

    def script(sock: socket.socket) -> None:
        sock.sendall(FINE)
        if not closed:
            closed.append(sock)
            sock.close()

    with peer(script, tls=tls if scheme == "https" else None) as address, sending() as sender:
        first = sender.ask(f"{scheme}://{address}/one")
        finish(first)
        while first.sock.recv(1):
            pass
        second = sender.ask(f"{scheme}://{address}/two", "PUT", body=Sent(b""))

        assert second.status_code == 200


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_unread_body_closes_the_connection(tls: ssl.SSLContext, scheme: str) -> None:
    """A response whose body is not read to its end closes its connection."""
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n" + FINE + b"x" * (60 - len(FINE))
    with (
        peer(lambda sock: sock.sendall(long), tls=tls if scheme == "https" else None) as address,
        sending() as sender,
    ):
        first = sender.ask(f"{scheme}://{address}/one")
        first.read(10)
        first.close()
        second = sender.ask(f"{scheme}://{address}/two")

        assert first.sock is not second.sock


class Failing:
    """A body that raises after a while."""

    def __len__(self) -> int:
        """The announced length."""
        return 1 << 20

    def __iter__(self) -> Iterator[bytes]:
        """A piece, then the error."""
        yield b"x" * 1000
        raise KeyError


def test_incomplete_request_body_ends_the_connection() -> None:
    """No other request follows an incomplete body, since it would be taken for the rest of it."""
    heads: list[bytes] = []
    with peer(lambda sock: sock.sendall(FINE), heads=heads) as address, sending() as sender:
        finish(sender.ask(f"http://{address}/one"))
        with pytest.raises(KeyError):
            sender.ask(f"http://{address}/two", "PUT", body=Failing())
        finish(sender.ask(f"http://{address}/three"))

    assert {head.split(b" ")[1] for head in heads} == {b"/one", b"/two", b"/three"}


def test_truncated_head_ends_the_connection() -> None:
    """A connection whose peer closed in the middle of a head is not reused."""

    def script(sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-")
        sock.close()

    with peer(script) as address, sending() as sender:
        for _ in range(3):
            with pytest.raises(STACK_ERRORS):
                sender.ask(f"http://{address}/one")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_interim_answer_during_a_request_body(tls: ssl.SSLContext, scheme: str) -> None:
    """An interim answer during a request body does not stop the rest from being sent."""
    size, received = 16 << 20, list[int]()

    def script(sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nA: b\r\n\r\n")
        while sum(received) < size and (piece := sock.recv(1 << 18)):
            received.append(len(piece))
        sock.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")

    with peer(script, tls=tls if scheme == "https" else None) as address, sending() as sender:
        answer = sender.ask(f"{scheme}://{address}/one", "PUT", body=Sent(b"x" * size))
        finish(answer)
        again = sender.ask(f"{scheme}://{address}/two")

        assert (answer.status_code, sum(received)) == (201, size)
        assert again.sock is answer.sock


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_early_answer_on_a_new_connection_is_read(tls: ssl.SSLContext, scheme: str) -> None:
    """An early answer during a request body is read, even on a new connection."""
    early = b"HTTP/1.1 413 Too Large\r\nContent-Length: 7\r\n\r\nno more"
    received: list[int] = []

    def script(sock: socket.socket) -> None:
        sock.sendall(early)
        while piece := sock.recv(1 << 16):
            received.append(len(piece))

    with peer(script, tls=tls if scheme == "https" else None) as address, sending() as sender:
        answer = sender.ask(f"{scheme}://{address}/one", "PUT", body=Sent(b"x" * (64 << 20)))
        said = finish(answer)

    assert (answer.status_code, said) == (413, b"no more")
    assert sum(received) < 64 << 20


def test_threads_share_connections() -> None:
    """The threads of a process share its connections."""
    socks: list[socket.socket] = []

    def ask() -> None:
        answer = sender.ask(f"http://{address}/one")
        finish(answer)
        socks.append(answer.sock)

    with peer(lambda sock: sock.sendall(FINE)) as address, sending() as sender:
        for _ in range(3):
            thread = threading.Thread(target=ask)
            thread.start()
            thread.join()

    assert socks[0] is socks[1] is socks[2]


def test_simultaneous_requests_use_separate_connections() -> None:
    """Simultaneous requests use separate connections, each of which is reused."""
    all_there = threading.Barrier(4)

    def script(sock: socket.socket) -> None:
        all_there.wait(10)
        sock.sendall(FINE)

    def ask() -> socket.socket:
        answer = sender.ask(f"http://{address}/one")
        finish(answer)
        return answer.sock

    with peer(script) as address, sending() as sender, ThreadPoolExecutor(4) as threads:
        rounds = [{future.result() for future in [threads.submit(ask) for _ in range(4)]} for _ in range(2)]

    assert len(rounds[0]) == 4
    assert rounds[0] == rounds[1]
