"""Each fault happens at the socket, to the requests that it matches."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.real.wire import Endpoint, Wire
from tests.registry.asking import ask, begin, location
from tests.registry.content import digest_of
from tests.registry.faults import (
    Corrupt,
    Drip,
    Drop,
    Extra,
    Fault,
    Reply,
    Stall,
    fault_from_json,
    fault_to_json,
    redirect,
    throttle,
)

if TYPE_CHECKING:
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

BODY = b"0123456789" * 100
FAULTS = [
    Fault(action=Reply(status=418, headers={"X": "y"}, body="z", early=True, read=3, closing="drain")),
    Fault(action=Drop(read=1, perform=True, after=3, framing="none", reset=True), method="PUT", path="x"),
    Fault(action=Stall(seconds=1.5, after=2), skip=3, times=None),
    Fault(action=Drip(size=2, pause=0.5)),
    Fault(action=Corrupt(offset=-1)),
    Fault(action=Extra(body="more")),
]


def fill(scripted: Scripted, *faults: Fault, **options: Any) -> tuple[Registry, str]:
    """A registry with faults and one blob of 1000 bytes, and the blob's path."""
    registry = scripted(**options)
    path = f"/v2/a/b/blobs/{registry.add_blob('a/b', BODY)}"
    for fault in faults:
        registry.fault(fault)
    return registry, path


def raw(address: str, request: bytes) -> tuple[bytes, type[Exception] | None]:
    """Send bytes, and read until the other side closes; returns the answer and how it ended."""
    host, _, port = address.partition(":")
    received = b""
    with closing(socket.create_connection((host, int(port)), timeout=30)) as sock:
        try:
            sock.sendall(request)
            while piece := sock.recv(65536):
                received += piece
        except OSError as error:
            return received, type(error)
    return received, None


def get(path: str) -> bytes:
    """The bytes of a GET."""
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_survives_json(fault: Fault) -> None:
    """A fault survives JSON unchanged."""
    assert fault == fault_from_json(json.loads(json.dumps(fault_to_json(fault))))


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({}, [503, 200, 200, 200]),
        ({"times": 2}, [503, 503, 200, 200]),
        ({"times": None}, [503, 503, 503, 503]),
        ({"skip": 1}, [200, 503, 200, 200]),
        ({"skip": 1, "times": 2}, [200, 503, 503, 200]),
        ({"method": "PUT"}, [200, 200, 200, 200]),
        ({"method": "GET", "path": r"/blobs/sha256:[0-9a-f]{64}$"}, [503, 200, 200, 200]),
        ({"path": "/manifests/"}, [200, 200, 200, 200]),
    ],
)
def test_fault_matches_its_requests(scripted: Scripted, match: dict[str, Any], expected: list[int]) -> None:
    """A fault applies to the requests of its method and path, after `skip` of them, `times` times."""
    registry, path = fill(scripted, Fault(action=Reply(status=503), **match))

    assert expected == [ask(registry.address, "GET", path).status for _ in range(4)]


def test_faults_apply_in_order(scripted: Scripted) -> None:
    """Faults for the same requests apply one after the other, in the order in which they were set."""
    registry, path = fill(scripted, *(Fault(action=Reply(status=status)) for status in (500, 502, 504)))

    assert [500, 502, 504, 200] == [ask(registry.address, "GET", path).status for _ in range(4)]


def test_faults_can_be_cleared(scripted: Scripted) -> None:
    """After clear_faults every request succeeds."""
    registry, path = fill(scripted, Fault(action=Reply(status=503), times=None))
    registry.clear_faults()

    assert ask(registry.address, "GET", path).status == 200


def test_reply_replaces_the_effect(scripted: Scripted) -> None:
    """A Reply has its status, headers and body, and the request has no effect."""
    registry = scripted()
    registry.fault(
        Fault(action=Reply(status=500, headers={"X-Request-Id": "7"}, body="<html>"), method="PUT")
    )
    with Wire(Endpoint(address=registry.address)) as wire:
        answer = wire.ask("PUT", f"{begin(wire)}&digest={digest_of(b'x')}", body=b"x")

    assert (500, "7", b"<html>") == (answer.status, answer.headers["X-Request-Id"], answer.body)
    assert registry.blob("a/b", digest_of(b"x")) is None


@pytest.mark.parametrize("retry_after", ["", "7", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_429_has_the_given_retry_after(scripted: Scripted, retry_after: str) -> None:
    """A 429 has the given Retry-After, or none."""
    registry, path = fill(scripted, throttle(retry_after=retry_after, method="GET"))

    answer = ask(registry.address, "GET", path)

    assert (429, retry_after) == (answer.status, answer.headers.get("Retry-After", ""))


def test_redirect_has_the_given_location(scripted: Scripted) -> None:
    """A redirect has the location that the test sets."""
    registry, path = fill(scripted, redirect("http://127.0.0.3/elsewhere", status=302))

    answer = ask(registry.address, "GET", path)

    assert (302, "http://127.0.0.3/elsewhere") == (answer.status, answer.headers["Location"])


@pytest.mark.parametrize(("reset", "expected"), [(False, None), (True, ConnectionResetError)])
def test_drop_before_the_answer(scripted: Scripted, reset: bool, expected: type[Exception] | None) -> None:  # noqa: FBT001  a parameter of the test
    """A Drop closes or resets the connection without a byte; the request is logged without a status."""
    registry, path = fill(scripted, Fault(action=Drop(reset=reset)))

    assert (b"", expected) == raw(registry.address, get(path))
    assert [0] == [entry.status for entry in registry.wait_for(path="/blobs/")]


@pytest.mark.parametrize("framing", ["length", "chunked", "none"])
def test_drop_within_the_body(scripted: Scripted, framing: Any) -> None:
    """A Drop after k bytes sends the head and k bytes, whatever the head announced."""
    registry, path = fill(scripted, Fault(action=Drop(after=7, framing=framing)))

    head, _, body = raw(registry.address, get(path))[0].partition(b"\r\n\r\n")

    assert (framing == "length") == (b"Content-Length: 1000" in head)
    assert (framing == "chunked") == (b"Transfer-Encoding: chunked" in head)
    assert (b"7\r\n0123456\r\n" if framing == "chunked" else b"0123456") == body


def test_drop_after_the_answer(scripted: Scripted) -> None:
    """A Drop beyond the end sends everything, then closes without notice."""
    registry, path = fill(scripted, Fault(action=Drop(after=10_000)))

    head, _, body = raw(registry.address, get(path))[0].partition(b"\r\n\r\n")

    assert BODY == body
    assert b"connection" not in head.lower()


def test_performed_request_loses_its_answer(scripted: Scripted) -> None:
    """With `perform` a PUT is stored and its answer is lost."""
    registry = scripted()
    registry.fault(Fault(action=Drop(perform=True), method="PUT"))
    with Wire(Endpoint(address=registry.address)) as wire:
        session = begin(wire)
        with pytest.raises(http.client.RemoteDisconnected):
            wire.ask("PUT", f"{session}&digest={digest_of(b'x')}", body=b"x")

    assert registry.blob("a/b", digest_of(b"x")) == b"x"


def test_drop_within_the_request_body(scripted: Scripted) -> None:
    """With `read` this many bytes of the body are read and counted before the connection is cut."""
    registry = scripted()
    registry.fault(Fault(action=Drop(read=1000), method="PUT"))
    with Wire(Endpoint(address=registry.address)) as wire:
        session = begin(wire)
        with pytest.raises(ConnectionError):
            wire.ask("PUT", f"{session}&digest={digest_of(b'x')}", body=bytes(50_000_000))
    registry.wait_for(method="PUT", path="uploads")

    assert registry.count(method="PUT", status=0) == 1
    assert registry.bytes_received == 1000


@pytest.mark.parametrize("closing_", ["close", "drain", "reset"])
def test_early_reply_before_the_body_is_read(scripted: Scripted, closing_: Any) -> None:
    """An early Reply is sent during the body; with `drain` it can always be read."""
    registry = scripted()
    registry.fault(Fault(action=Reply(status=401, early=True, closing=closing_), method="PATCH"))
    body = bytes(5_000_000 if closing_ == "drain" else 10)
    request = b"PATCH /v2/a/b/blobs/uploads/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n" + body

    answer, error = raw(registry.address, request)

    assert closing_ == "reset" or answer.startswith(b"HTTP/1.1 401 ")
    assert closing_ != "drain" or error is None
    assert [(401, 0)] == [(entry.status, entry.length) for entry in registry.requests(method="PATCH")]


def test_stall_lasts_until_released(scripted: Scripted) -> None:
    """A stalled request is in the log, and continues when it is released."""
    registry, path = fill(scripted, Fault(action=Stall(seconds=60)))
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.append(ask(registry.address, "GET", path).body))
    thread.start()
    registry.wait_for(path="/blobs/")

    assert registry.requests(status=0)
    registry.release()
    thread.join(30)
    assert [BODY] == found


def test_stall_within_the_body(scripted: Scripted) -> None:
    """A Stall after k bytes sends the head and k bytes before it pauses."""
    registry, path = fill(scripted, Fault(action=Stall(seconds=60, after=10)))
    host, _, port = registry.address.partition(":")
    with closing(http.client.HTTPConnection(host, int(port), timeout=30)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        first = response.read(10)
        registry.release()

        assert (BODY[:10], BODY[10:]) == (first, response.read())


def test_stall_ends_after_its_seconds(scripted: Scripted) -> None:
    """A Stall is over after its seconds."""
    registry, path = fill(scripted, Fault(action=Stall(seconds=0.01)))

    assert ask(registry.address, "GET", path).body == BODY


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (Drip(size=300, pause=0.0), BODY),
        (Corrupt(offset=1), b"0\xce23456789" + BODY[10:]),
        (Corrupt(offset=-1), BODY[:-1] + b"\xc6"),
        (Extra(body="more"), BODY),
    ],
)
def test_dripping_corrupt_and_surplus_bodies(scripted: Scripted, action: Any, expected: bytes) -> None:
    """A dripping body is complete, a corrupt one has one wrong byte, a surplus follows the end."""
    registry, path = fill(scripted, Fault(action=action))

    assert expected == ask(registry.address, "GET", path).body


def test_surplus_is_sent(scripted: Scripted) -> None:
    """The surplus is really sent."""
    registry, path = fill(scripted, Fault(action=Extra(body="more")))

    received, _ = raw(registry.address, get(path).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))

    assert received.endswith(BODY + b"more")


@pytest.mark.parametrize(("dies", "expected"), [(True, 404), (False, 204)])
def test_incomplete_patch_ends_its_session(scripted: Scripted, dies: bool, expected: int) -> None:  # noqa: FBT001  a parameter of the test
    """After an incomplete PATCH the session is 404, or (session_dies off) has the received bytes."""
    registry = scripted(session_dies=dies, session_state=False)
    session = location(ask(registry.address, "POST", "/v2/a/b/blobs/uploads/"))
    raw_request = f"PATCH {session} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n12345".encode()
    host, _, port = registry.address.partition(":")
    with closing(socket.create_connection((host, int(port)), timeout=30)) as sock:
        sock.sendall(raw_request)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(100) == b""

    answer = ask(registry.address, "GET", session)

    assert (expected, None if dies else "0-4") == (answer.status, answer.headers.get("Range"))
