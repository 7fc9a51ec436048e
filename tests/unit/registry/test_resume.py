"""A blob that breaks off resumes where it stopped, within one body."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import RegistryError, ThrottledError
from pipeline.model.reference import Repository
from pipeline.registry.clients import Clients
from pipeline.registry.meter import metering
from pipeline.registry.resume import ResumingBody
from tests.registry.content import digest_of, layer
from tests.registry.faults import Drop, Fault, Reply, throttle
from tests.unit.registry.asking import ANONYMOUS, QUICK, client, repository
from tests.unit.registry.peers import peer

if TYPE_CHECKING:
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

BLOB = layer("large", size=900_000)
DIGEST = digest_of(BLOB)


def read(registry: Registry) -> bytes:
    """The whole blob through one body."""
    with ResumingBody(client(registry), repository(registry), DIGEST, size=len(BLOB)) as body:
        return b"".join(map(bytes, body))


def filled(scripted: Scripted, **options: object) -> Registry:
    """A registry that holds the blob."""
    registry = scripted(**options)
    registry.add_blob(repository(registry).path, BLOB)
    return registry


def gets(registry: Registry) -> list[str]:
    """The requested ranges."""
    return [entry.headers.get("range", "") for entry in registry.requests(method="GET", path="/blobs/")]


def test_each_byte_is_requested_once(scripted: Scripted) -> None:
    """Each of five breaks costs one more GET, and every byte is requested once."""
    registry = filled(scripted)
    for _ in range(5):
        registry.fault(Fault(action=Drop(after=100_000), method="GET", path="/blobs/"))

    with metering() as meter:
        assert read(registry) == BLOB

    assert len(gets(registry)) == 6
    starts = [int(asked.removeprefix("bytes=").rstrip("-") or 0) for asked in gets(registry)]
    assert starts == sorted(set(starts))
    assert meter.read == len(BLOB)
    assert [event.name for event in meter.events if event.name == "blob.retry"] == ["blob.retry"] * 5


def test_known_bytes_are_skipped_if_range_is_ignored(scripted: Scripted) -> None:
    """If the server starts from zero, the known bytes are skipped."""
    registry = filled(scripted, ranges="ignored")
    registry.fault(Fault(action=Drop(after=300_000), method="GET", path="/blobs/"))

    assert read(registry) == BLOB


@pytest.mark.parametrize("ranges", ["wrong-start"])
def test_wrong_range_ends_the_body(scripted: Scripted, ranges: str) -> None:
    """A range other than the requested one ends the body with the error of the break."""
    registry = filled(scripted, ranges=ranges)
    registry.fault(Fault(action=Drop(after=300_000), method="GET", path="/blobs/"))

    with pytest.raises(RegistryError, match="CONNECTION_LOST"):
        read(registry)


@pytest.mark.parametrize("stated", ["bytes 300000-899998/899999", "bytes 300000-899999/900001"])
def test_range_with_another_size_is_refused(scripted: Scripted, stated: str) -> None:
    """A rest whose range states another size than the blob's is refused."""
    registry = filled(scripted)
    registry.fault(Fault(action=Drop(after=300_000), method="GET", path="/blobs/"))
    headers = {"Content-Range": stated}
    reply = Reply(status=206, headers=headers, body="x" * 600_000)
    registry.fault(Fault(action=reply, method="GET", path="/blobs/"))

    with pytest.raises(RegistryError, match="CONNECTION_LOST"):
        read(registry)


def test_body_that_starts_within_the_blob(scripted: Scripted) -> None:
    """A body may start within the blob and break there, even if the server ignores ranges."""
    for ranges in ("yes", "ignored"):
        registry = filled(scripted, ranges=ranges)
        registry.fault(Fault(action=Drop(after=100_000), method="GET", path="/blobs/", times=2))
        source = client(registry)
        with ResumingBody(source, repository(registry), DIGEST, size=len(BLOB), offset=250_000) as body:
            assert b"".join(map(bytes, body)) == BLOB[250_000:]


def test_three_resumptions_without_progress_end_the_body(scripted: Scripted) -> None:
    """Three resumptions in a row without a byte end the body."""
    registry = filled(scripted)
    registry.fault(Fault(action=Drop(after=300_000), method="GET", path="/blobs/"))
    registry.fault(Fault(action=Drop(after=0), method="GET", path="/blobs/", times=None))

    with pytest.raises(RegistryError, match="CONNECTION_LOST"):
        read(registry)

    assert len(gets(registry)) == 4


def test_rate_limit_is_passed_on(scripted: Scripted) -> None:
    """A rate limit at a resumption is passed on to the scheduler."""
    registry = filled(scripted)
    registry.fault(Fault(action=Drop(after=300_000), method="GET", path="/blobs/"))
    registry.fault(throttle(retry_after="7", method="GET", path="/blobs/"))

    with pytest.raises(ThrottledError):
        read(registry)


def test_unchanged_rest_is_required_by_etag(scripted: Scripted) -> None:
    """With a strong validator the rest is requested only if it is unchanged."""
    registry = filled(scripted)
    registry.fault(Fault(action=Drop(after=300_000), method="GET", path="/blobs/"))

    read(registry)

    first, second = registry.requests(method="GET", path="/blobs/")
    assert "if-range" not in first.headers
    assert second.headers.get("if-range", f'"{DIGEST}"') == f'"{DIGEST}"'


@pytest.mark.parametrize("etag", [b'"a\x00b"', b'"a\x85b"'])
def test_unusable_etag_is_not_sent(etag: bytes) -> None:
    """An ETag that is invalid in a header is not sent: the rest is requested without it."""
    head = b"HTTP/1.1 %b\r\nETag: %b\r\nContent-Length: %d\r\nContent-Range: bytes %d-3/4\r\n\r\n"
    answers = iter([head % (b"200 OK", etag, 4, 0) + b"ab", head % (b"206 Partial", etag, 2, 2) + b"cd"])

    def script(sock: socket.socket) -> None:
        sock.sendall(next(answers))
        sock.shutdown(socket.SHUT_RDWR)

    with peer(script) as address:
        asking = Clients(QUICK, lambda _: ANONYMOUS).at(address)
        asking._session._schemes[True] = "http"
        with ResumingBody(asking, Repository(address, "team/app"), digest_of(b"abcd"), size=4) as body:
            assert b"".join(map(bytes, body)) == b"abcd"
