from __future__ import annotations

import socket
import ssl
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest

from pipeline.errors import RegistryError
from pipeline.http.deadlines import Deadline, OverdueError
from pipeline.model.reference import Reference, Repository
from pipeline.registry.clients import Clients
from pipeline.settings import Retry, Settings, Timeouts
from tests.registry.content import digest_of
from tests.unit.registry.asking import ANONYMOUS, USER, Sent, clients
from tests.unit.registry.peers import endlessly, peer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.model.credential import Credential
    from pipeline.registry.client import Client
    from tests.registry.fixtures import Scripted

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
SHORT = Settings(retry=Retry(tries=1), timeouts=Timeouts(connect=5, read=0.5, send=5, commit=0.5, stall=0.5))
"""Each byte from the peers below arrives within these times; only the whole response does not."""

SLOW = {
    "silence": (b"", b""),
    "status line": (b"HTTP/1.1 200 ", b"O"),
    "header": (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"),
    "headers": (HEAD, b"X-More: 1\r\n"),
    "interim answers": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "body with a length": (HEAD + b"Content-Length: 1000000\r\n\r\n", b" "),
    "body up to the end": (HEAD + b"Connection: close\r\n\r\n", b" "),
    "size of a chunk": (CHUNKED, b"0"),
    "extension of a chunk": (CHUNKED + b"1;", b"x"),
    "trailer": (CHUNKED + b"0\r\n", b"X-More: 1\r\n"),
    "error": (b"HTTP/1.1 404 Not Found\r\nContent-Length: 60000\r\n\r\n", b"x"),
}


def asking(address: str, credential: Credential = ANONYMOUS, *, scheme: str = "http") -> Client:
    """A client with short timeouts."""
    made = Clients(SHORT, lambda _: credential)
    made.at(address)._session._schemes[True] = scheme
    return made.at(address)


@pytest.mark.parametrize("where", SLOW)
def test_slow_answer_is_aborted(where: str) -> None:
    """A response that arrives byte by byte is aborted at its deadline, in whatever part it is slow."""
    with peer(endlessly(*SLOW[where])) as address, pytest.raises(RegistryError) as caught:
        asking(address).get_manifest(Reference(Repository(address, "a/b"), "v1"), limit=10_000)

    fault = caught.value.fault
    if where == "error":
        assert (fault.status, fault.words) == (404, "Not Found")
    else:
        assert (fault.code, fault.retryable) == ("TIMEOUT", True)


@pytest.mark.parametrize("where", ["silence", "header", "body with a length", "trailer"])
def test_slow_answer_over_tls_is_aborted(where: str, certificates: Path) -> None:
    """The same over TLS, whose state belongs to the reading thread."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    with peer(endlessly(*SLOW[where]), tls=context) as address, pytest.raises(RegistryError) as caught:
        asking(address, scheme="https").get_manifest(
            Reference(Repository(address, "a/b"), "v1"), limit=10_000
        )

    assert caught.value.fault.code == "TIMEOUT"


@pytest.mark.parametrize("where", ["header", "body with a length", "body up to the end", "trailer"])
def test_slow_token_server_is_aborted(where: str) -> None:
    """A dripping token server fails, too."""
    with peer(endlessly(*SLOW[where])) as server:
        challenge = f'Bearer realm="http://{server}/token"'
        answer = f"HTTP/1.1 401 No\r\nWWW-Authenticate: {challenge}\r\nContent-Length: 0\r\n\r\n".encode()
        with peer(lambda sock: sock.sendall(answer)) as address, pytest.raises(RegistryError) as caught:
            asking(address, USER).head_blob(Repository(address, "a/b"), f"sha256:{'1' * 64}")

    assert caught.value.fault.code == "TIMEOUT"
    assert "get a token" in caught.value.fault.operation


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_unread_request_body_times_out(scheme: str, certificates: Path) -> None:
    """A body that the peer does not read fails after the timeout for sending a piece."""
    done = threading.Event()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")

    def script(sock: socket.socket) -> None:
        if not heads[-1].startswith(b"PUT"):
            sock.sendall(b"HTTP/1.1 202 Go\r\nLocation: /v2/a/b/up\r\nContent-Length: 0\r\n\r\n")
        else:
            done.wait(30)

    heads: list[bytes] = []
    with peer(script, tls=context if scheme == "https" else None, heads=heads) as address:
        settings = replace(SHORT, timeouts=replace(SHORT.timeouts, send=0.5, commit=30))
        made = Clients(settings, lambda _: ANONYMOUS)
        made.at(address)._session._schemes[True] = scheme
        upload = made.at(address).begin_upload(Repository(address, "a/b"), f"sha256:{'1' * 64}")
        assert upload
        with pytest.raises(RegistryError) as caught:
            upload.put(Sent(b"x" * (64 << 20)))
        done.set()

    assert (caught.value.fault.code, caught.value.fault.retryable) == ("TIMEOUT", True)


def test_slow_source_does_not_count_against_the_peer(scripted: Scripted) -> None:
    """The time to produce a piece of a body does not count against the peer."""

    class Slow:
        def __len__(self) -> int:
            return 2

        def __iter__(self) -> Iterator[bytes]:
            for _ in range(2):
                threading.Event().wait(1.0)
                yield b"x"

    registry = scripted()
    settings = replace(SHORT, timeouts=replace(SHORT.timeouts, send=0.1, commit=5, read=5))
    upload = (
        clients(registry, settings=settings)
        .at(registry.address, push=True)
        .begin_upload(Repository(registry.address, "a/b"), digest_of(b"xx"))
    )

    assert upload
    assert upload.put(Slow())


def test_blob_that_becomes_slow_is_aborted() -> None:
    """A blob that is fast at first and then drips fails."""
    begin = HEAD + b"Content-Length: 100000000\r\n\r\n" + b"x" * (4 << 20)
    with peer(endlessly(begin, b"x")) as address:
        repository, digest = Repository(address, "a/b"), f"sha256:{'1' * 64}"
        with (
            asking(address).open_blob(repository, digest, size=100_000_000) as body,
            pytest.raises(RegistryError) as caught,
        ):
            b"".join(map(bytes, body))

    assert caught.value.fault.code == "TIMEOUT"


def test_slow_proxy_is_aborted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that drips the answer to CONNECT fails within the connect timeout."""
    timeouts = Timeouts(connect=0.5, read=5, send=5, commit=5, stall=5)
    with peer(endlessly(b"HTTP/1.1 200 OK\r\n", b"X-More: 1\r\n")) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy}")
        made = Clients(Settings(retry=Retry(tries=1), timeouts=timeouts), lambda _: ANONYMOUS)
        made.at("registry.test")._session._schemes[True] = "https"
        with pytest.raises(RegistryError) as caught:
            made.at("registry.test").head_blob(Repository("registry.test", "a/b"), f"sha256:{'1' * 64}")

    assert caught.value.fault.code == "TIMEOUT"


@pytest.mark.parametrize("said", [b"HTTP/1.1 200 OK\r\n", HEAD, HEAD + b"Content-Le", HEAD + b"Link: <x"])
def test_truncated_head_is_a_lost_connection(said: bytes) -> None:
    """A head that breaks off is a lost connection, not an answer with fewer headers."""

    def script(sock: socket.socket) -> None:
        sock.sendall(said)
        sock.shutdown(socket.SHUT_RDWR)

    with peer(script) as address, pytest.raises(RegistryError) as caught:
        asking(address).tags(Repository(address, "a/b"), page="", count=10)

    assert (caught.value.fault.code, caught.value.fault.retryable) == ("CONNECTION_LOST", True)


class TestDeadline:
    def test_reading_thread_is_woken(self) -> None:
        """The reading thread is woken with a timeout error."""
        ours, theirs = socket.socketpair()
        with ours, theirs, pytest.raises(OverdueError, match=r"within 0\.1 s"), Deadline(ours, 0.1):
            ours.recv(1)

    def test_short_deadlines_do_not_hide_later_ones(self) -> None:
        """Deadlines that end before the first check do not hide later ones."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            for _ in range(4):
                for _ in range(3):
                    with Deadline(ours, 60.0):
                        pass
                pause, other = socket.socketpair()
                pause.settimeout(30.0)
                with pause, other, pytest.raises(OverdueError), Deadline(pause, 0.0):
                    pause.recv(1)

    def test_block_in_time_leaves_the_socket_alone(self) -> None:
        """A block that ends in time leaves the socket alone."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            with Deadline(ours, 60.0):
                theirs.sendall(b"x")
                assert ours.recv(1) == b"x"
            theirs.sendall(b"y")
            assert ours.recv(1) == b"y"

    def test_failed_shutdown_does_not_affect_others(self) -> None:
        """A socket that cannot be shut down does not keep others from being woken."""
        ours, theirs = socket.socketpair()
        broken = Deadline(cast("socket.socket", object()), 0.0)
        with (
            ours,
            theirs,
            pytest.raises(OverdueError),
            broken,
            pytest.raises(OverdueError),
            Deadline(ours, 0.1),
        ):
            ours.recv(1)

    def test_one_thread_checks_all_deadlines(self) -> None:
        """One thread checks all deadlines of a process."""
        pairs = [socket.socketpair() for _ in range(20)]
        for ours, _ in pairs:
            with Deadline(ours, 60.0):
                pass
        for pair in pairs:
            for each in pair:
                each.close()

        assert [thread.name for thread in threading.enumerate()].count("deadlines") == 1
