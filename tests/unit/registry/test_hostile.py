"""Peers that send too much, or something unexpected: each is stopped with one line about it."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import RegistryError
from pipeline.model.manifest import IMAGE_CONFIG_TYPES
from pipeline.model.messages import FetchManifest
from pipeline.model.reference import Reference, Repository
from pipeline.registry.clients import Clients
from pipeline.registry.tokens import _life
from pipeline.settings import MAX_CONFIG, MAX_MANIFEST, MAX_TAG_PAGE, MIB, Retry, Settings, Timeouts
from pipeline.stages.context import StageContext
from pipeline.stages.parallel import ParallelRequests
from pipeline.stages.resolve import fetch_manifest
from tests.registry.content import digest_of
from tests.unit.registry.asking import USER
from tests.unit.registry.peers import peer

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from pipeline.registry.client import Client
    from tests.unit.registry.peers import Script

SETTINGS = Settings(retry=Retry(tries=1), timeouts=Timeouts(connect=5, read=20, send=20, commit=20, stall=20))
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
DIGEST = f"sha256:{'1' * 64}"
PIECE = b" " * (1 << 16)
SOCKETS = 16 * MIB
"""Bytes that the buffers of both ends of a connection may hold beyond what was read."""


def clients(address: str) -> Clients:
    """Clients that know that the peer speaks plain HTTP."""
    made = Clients(SETTINGS, lambda _: USER)
    made.at(address)._session._schemes[True] = "http"
    return made


class Flood:
    """A peer that answers without end."""

    def __init__(
        self, head: bytes, *, piece: bytes = PIECE, first: Mapping[bytes, bytes] | None = None
    ) -> None:
        """Args: head: sent once; piece: sent forever; first: complete answers to the first requests."""
        self.head, self.piece, self.first = head, piece, list((first or {}).values())
        self.sent = 0

    def __call__(self, sock: socket.socket) -> None:
        """Answer one request."""
        if self.first:
            sock.sendall(self.first.pop(0))
            return
        sock.sendall(self.head)
        while True:
            sock.sendall(self.piece)
            self.sent += len(self.piece)


def fault_of(script: Script, ask: Callable[[Client, str], object]) -> RegistryError:
    """The error of a request to such a peer."""
    with peer(script) as address, pytest.raises(RegistryError) as caught:
        ask(clients(address).at(address), address)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1500
    return caught.value


def get(asking: Client, address: str) -> object:
    """Read a manifest."""
    return asking.get_manifest(Reference(Repository(address, "a/b"), "v1"), limit=MAX_MANIFEST)


FRAMES = {
    "close": OK + b"Connection: close\r\n\r\n",
    "length": OK + b"Content-Length: 99999999999999\r\n\r\n",
    "lengths": OK + b"Content-Length: 5\r\nContent-Length: 99999999999\r\n\r\n",
    "no length": OK + b"Content-Length: many\r\n\r\n",
    "negative length": OK + b"Content-Length: -1\r\n\r\n",
    "chunk": OK + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFF\r\n",
    "negative chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
    "no chunk": OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "gzip": OK + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n",
    "status": b"HTTP/1.1 99999 What\r\n\r\n",
    "no status": b"SSH-2.0-OpenSSH\r\n",
    "line": b"HTTP/1.1 200 OK\r\nX: ",
}


class TestFloods:
    @pytest.mark.parametrize("frame", FRAMES)
    def test_endless_manifest_is_abandoned(self, frame: str) -> None:
        """An endless manifest is abandoned after 4 MiB, however it is framed."""
        flood = Flood(FRAMES[frame])
        error = fault_of(flood, get)

        assert error.fault.code in {"TOO_LARGE", "CONNECTION_LOST", "NOT_A_REGISTRY", ""}
        assert flood.sent < MAX_MANIFEST + SOCKETS

    def test_endless_headers_are_abandoned(self) -> None:
        """Endless headers are abandoned after a hundred."""
        flood = Flood(b"HTTP/1.1 200 OK\r\n", piece=b"X-More: x\r\n" * 1000)
        fault_of(flood, get)

        assert flood.sent < SOCKETS

    def test_endless_tag_list_is_abandoned(self) -> None:
        """An endless tag list is abandoned after 32 MiB."""
        flood = Flood(FRAMES["close"] + b'{"tags": [')
        error = fault_of(flood, lambda asking, at: asking.tags(Repository(at, "a/b"), page="", count=10))

        assert error.fault.code == "TOO_LARGE"
        assert flood.sent < MAX_TAG_PAGE + SOCKETS

    def test_endless_error_is_truncated(self) -> None:
        """An endless error is read up to 64 KiB, and shown up to 500 characters."""
        flood = Flood(b"HTTP/1.1 404 No\r\nConnection: close\r\n\r\n", piece=b"\x1b[31mno " * 1000)
        error = fault_of(flood, get)

        assert (error.fault.status, len(error.fault.words)) == (404, 500)
        assert error.fault.words.startswith("[31mno [31mno")
        assert flood.sent < SOCKETS

    def test_endless_token_is_abandoned(self) -> None:
        """An endless token is abandoned after 1 MiB."""
        flood = Flood(FRAMES["close"] + b'{"token": "')
        with peer(flood) as server:
            answer = f'HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer realm="http://{server}/"\r\n'
            script: Script = lambda sock: sock.sendall(answer.encode() + b"Content-Length: 0\r\n\r\n")  # noqa: E731 - two lines else
            error = fault_of(script, get)

        assert error.fault.code == "TOO_LARGE"
        assert "get a token" in error.fault.operation
        assert flood.sent < MIB + SOCKETS

    def test_endless_config_is_abandoned(self) -> None:
        """An endless config that a platform filter reads is abandoned after its stated size."""
        config = {"mediaType": min(IMAGE_CONFIG_TYPES), "digest": DIGEST, "size": 100}
        content = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": config,
                "layers": [],
            }
        ).encode()
        manifest = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content)
        flood = Flood(FRAMES["close"], first={b"GET": manifest})
        with peer(flood) as address:
            context = StageContext(
                stores=clients(address),
                settings=SETTINGS,
                parallel=ParallelRequests(),
                on_progress=lambda _: None,
                on_checkpoint=lambda _: None,
            )
            place, digest = Repository(address, "a/b"), digest_of(content)
            with pytest.raises(RegistryError) as caught:
                fetch_manifest(
                    FetchManifest(repository=place, digest=digest, side="source", config=True), context
                )

        assert caught.value.fault.code == "SIZE_MISMATCH"
        assert flood.sent < MAX_CONFIG + SOCKETS


class TestCompressed:
    """With a Content-Encoding although identity was requested, nothing is decoded."""

    BOMB = gzip.compress(b" " * (64 * MIB))

    def answer(self, body: bytes) -> Script:
        """A compressed body."""
        head = OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
        return lambda sock: sock.sendall(head + body)

    def test_compressed_manifest_is_refused(self) -> None:
        """A compressed manifest is not a manifest."""
        error = fault_of(self.answer(self.BOMB), get)

        assert error.fault.code == "NOT_A_REGISTRY"

    def test_compressed_blob_is_not_decoded(self) -> None:
        """A compressed blob is not decoded."""
        with peer(self.answer(self.BOMB)) as address:
            asking = clients(address).at(address)
            with asking.open_blob(Repository(address, "a/b"), DIGEST, size=len(self.BOMB)) as body:
                assert self.BOMB == b"".join(map(bytes, body))

    def test_compressed_tag_list_is_refused(self) -> None:
        """A compressed tag list is not a list."""
        packed = gzip.compress(b'{"tags": ["v1"]}')
        error = fault_of(
            self.answer(packed), lambda asking, at: asking.tags(Repository(at, "a/b"), page="", count=10)
        )

        assert error.fault.code == "NOT_A_REGISTRY"


@pytest.mark.parametrize(
    ("said", "life"),
    [
        (3600, 3600.0),
        (0.5, 60.0),
        (-1, 60.0),
        (10**300, 86400.0),
        (10**4000, 86400.0),
        (float("nan"), 60.0),
        (float("inf"), 86400.0),
        (float("-inf"), 60.0),
        (True, 60.0),
        ("3600", 60.0),
        (None, 60.0),
        ([1], 60.0),
    ],
)
def test_token_lifetime_is_bounded(said: object, life: float) -> None:
    """A token lives for a minute to a day, whatever its server states."""
    assert life == _life({"expires_in": said}, "opaque")


@pytest.mark.parametrize(
    "pattern", ["<title", "<h1", "<", "<a;", "https://x?", '"', "basic ", "eyJ", "<Code>"]
)
def test_repetitive_error_is_parsed_quickly(pattern: str) -> None:
    """An error body made to slow down regular expressions is parsed like any other."""
    body = pattern.encode() * (60_000 // len(pattern))
    head = b"HTTP/1.1 404 No\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(body)
    header = ('WWW-Authenticate: x="' + "\\" * 15_000).encode()
    link = b"Link: " + pattern.encode() * (15_000 // len(pattern))
    error = fault_of(
        lambda sock: sock.sendall(head.replace(b"\r\n\r\n", b"\r\n%b\r\n%b\r\n\r\n" % (header, link)) + body),
        get,
    )

    assert error.fault.status == 404
