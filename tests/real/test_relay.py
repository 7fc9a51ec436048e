"""The relay does the requested harm, and nothing else."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from tests.real.relay import Harm, Relay

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = bytes(range(256)) * 200


@pytest.fixture
def echo() -> Iterator[str]:
    """A server that echoes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                while piece := connection.recv(1 << 16):
                    connection.sendall(piece)
            except OSError:
                pass

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=(connection,)))
            threads[-1].start()

    threads = [threading.Thread(target=accept)]
    threads[0].start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(10)
    listener.close()


def talk(address: str, data: bytes = DATA, *, patience: float = 10.0) -> bytes:
    """Send the data and its end; returns what came back until the end or a break."""
    host, _, port = address.partition(":")
    back = b""
    with socket.create_connection((host, int(port)), timeout=patience) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(1 << 16):
                back += piece
        except OSError:
            pass
    return back


def test_all_bytes_pass_in_both_directions(echo: str) -> None:
    """Without a fault all bytes and the end of the stream are forwarded, in both directions."""
    with Relay(echo) as relay:
        assert DATA == talk(relay.address)


@pytest.mark.parametrize("way", ["up", "down"])
def test_cut_happens_once_at_its_byte(echo: str, way: str) -> None:
    """A cut happens once, at its byte, and both sides lose the connection."""
    harm = Harm(kind="cut", way="up" if way == "up" else "down", at=20_000)
    with Relay(echo, harm) as relay:
        assert len(talk(relay.address)) < len(DATA)
        assert DATA == talk(relay.address)

    assert [harm] == relay.done


def test_stall_lasts_until_client_gives_up(echo: str) -> None:
    """In a stall nothing moves until the client gives up."""
    with Relay(echo, Harm(kind="stall", way="down", at=1)) as relay:
        assert b"" == talk(relay.address, b"x", patience=0.2)


def test_slow_data_arrives_complete(echo: str) -> None:
    """Slow data arrives complete."""
    with Relay(echo, Harm(kind="slow", way="up", at=1)) as relay:
        assert DATA[:5_000] == talk(relay.address, DATA[:5_000])


def test_callback_runs_once_before_its_byte(echo: str) -> None:
    """A callback is called once, before its byte is passed on."""
    called = []
    with Relay(echo, Harm(kind="call", way="up", at=100, act=lambda: called.append(1))) as relay:
        talk(relay.address, b"x" * 99)
        assert not called
        talk(relay.address, b"x")
        talk(relay.address)

    assert [1] == called


def test_moved_server_is_found(echo: str) -> None:
    """A missing server is a lost connection; one that moved is found."""
    with Relay("127.0.0.1:1") as relay:
        assert b"" == talk(relay.address)
        relay.upstream = echo
        assert DATA == talk(relay.address)


def test_answers_overtake_each_other(echo: str) -> None:
    """Answers of several connections overtake each other, and all arrive."""
    with Relay(echo, reorder=1) as relay:
        answers: list[bytes] = []
        threads = [threading.Thread(target=lambda: answers.append(talk(relay.address))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

    assert [DATA] * 8 == answers
    assert relay.overtaken > 0
