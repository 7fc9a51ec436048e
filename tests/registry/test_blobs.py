"""Blob options: each makes the registry behave like a registry in use."""

from __future__ import annotations

import gzip
import http.client
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from tests.real.wire import Endpoint, Wire
from tests.registry import content
from tests.registry.asking import ask

if TYPE_CHECKING:
    from tests.registry.fixtures import Scripted


@pytest.mark.parametrize(("redirect", "head"), [("get", 200), ("all", 307)])
def test_redirects_blobs_to_storage(scripted: Scripted, redirect: str, head: int) -> None:
    """A GET is redirected to the second host, which serves it unless the request has an Authorization."""
    registry = scripted(redirect=redirect)
    path = f"/v2/a/b/blobs/{registry.add_blob('a/b', b'0123456789')}"

    answer = ask(registry.address, "GET", path)
    prefix, _, target = answer.headers["Location"].partition("/storage")

    assert (307, f"http://{registry.elsewhere}") == (answer.status, prefix)
    assert head == ask(registry.address, "HEAD", path).status
    storage = f"/storage{target}"
    assert b"0123456789" == ask(registry.elsewhere, "GET", storage).body
    assert b"89" == ask(registry.elsewhere, "GET", storage, headers={"Range": "bytes=8-"}).body
    assert 400 == ask(registry.elsewhere, "GET", storage, headers={"Authorization": "Bearer x"}).status
    assert 403 == ask(registry.elsewhere, "HEAD", storage).status


@pytest.mark.parametrize(
    ("ranges", "status", "body"),
    [("ignored", 200, b"0123456789"), ("wrong-start", 206, b"456789"), ("yes", 206, b"56789")],
)
def test_range_follows_option(scripted: Scripted, ranges: str, status: int, body: bytes) -> None:
    """A Range is served, ignored, or served from one byte too early."""
    registry = scripted(ranges=ranges)
    path = f"/v2/a/b/blobs/{registry.add_blob('a/b', b'0123456789')}"

    answer = ask(registry.address, "GET", path, headers={"Range": "bytes=5-"})

    assert (status, body) == (answer.status, answer.body)


def test_refuses_a_range_beyond_the_end(scripted: Scripted) -> None:
    """A Range that starts at the end gets 416 with the size."""
    registry = scripted()
    path = f"/v2/a/b/blobs/{registry.add_blob('a/b', b'0123456789')}"

    answer = ask(registry.address, "GET", path, headers={"Range": "bytes=10-"})

    assert (416, "bytes */10") == (answer.status, answer.headers["Content-Range"])


def test_416_may_announce_a_wrong_length(scripted: Scripted) -> None:
    """With `lying` a 416 announces the blob's length and sends a short text, as distribution 2.8 does."""
    registry = scripted(ranges="lying")
    path = f"/v2/a/b/blobs/{registry.add_blob('a/b', b'0' * 1000)}"
    host, _, port = registry.address.partition(":")
    with closing(http.client.HTTPConnection(host, int(port), timeout=30)) as connection:
        connection.request("GET", path, headers={"Range": "bytes=1000-"})
        response = connection.getresponse()

        assert (416, "1000") == (response.status, response.headers["Content-Length"])
        assert response.read1(1000) == b"requested range not satisfiable"


@pytest.mark.parametrize("method", ["PATCH", "GET"])
def test_location_may_be_missing(scripted: Scripted, method: str) -> None:
    """With `missing` only the response to POST has a Location."""
    registry = scripted(location="missing", session_state=False)
    session = ask(registry.address, "POST", "/v2/a/b/blobs/uploads/").headers["Location"]

    answer = ask(registry.address, method, session)

    assert ({"PATCH": 202, "GET": 204}[method], None) == (answer.status, answer.headers.get("Location"))


def test_blob_may_be_compressed(scripted: Scripted) -> None:
    """With gzip an answer is compressed only if the client accepts it."""
    registry = scripted(gzip=True)
    path = f"/v2/a/b/blobs/{registry.add_blob('a/b', b'0' * 1000)}"

    packed, plain = (
        ask(registry.address, "GET", path, headers={"Accept-Encoding": accepted})
        for accepted in ("gzip, deflate", "identity")
    )

    assert ("gzip", b"0" * 1000) == (packed.headers["Content-Encoding"], gzip.decompress(packed.body))
    assert b"0" * 1000 == plain.body


@pytest.mark.parametrize(
    ("mount", "status", "there"),
    [
        ("yes", 201, True),
        ("refused", 202, False),
        ("lie", 201, False),
        ("unauthorized", 401, False),
        ("denied", 403, False),
        ("unsupported", 405, False),
        ("broken", 500, False),
    ],
)
def test_mount_follows_option(scripted: Scripted, mount: str, status: int, there: bool) -> None:  # noqa: FBT001  a parameter
    """A mount is done, refused in one of many ways, or only claimed."""
    registry = scripted(mount=mount)
    digest = registry.add_blob("a/b", b"shared")

    assert status == ask(registry.address, "POST", f"/v2/c/d/blobs/uploads/?mount={digest}&from=a/b").status
    assert there == (registry.blob("c/d", digest) is not None)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("relative", "/v2/"),
        ("absolute", "http://{address}/v2/"),
        ("http", "http://{address}/v2/"),
        ("other-host", "http://{elsewhere}/v2/"),
    ],
)
def test_location_form_follows_option(scripted: Scripted, location: str, expected: str) -> None:
    """The Location of a session has the form that the option names, and leads to it."""
    registry = scripted(location=location)
    where = {"address": registry.address, "elsewhere": registry.elsewhere}

    found = ask(registry.address, "POST", "/v2/a/b/blobs/uploads/").headers["Location"]

    assert found.startswith(expected.format(**where) + "a/b/blobs/uploads/")
    host = registry.elsewhere if location == "other-host" else registry.address
    path = "/v2/" + found.partition("/v2/")[2]
    assert 201 == ask(host, "PUT", f"{path}&digest={content.digest_of(b'x')}", body=b"x").status


@pytest.mark.parametrize(
    ("options", "status", "shown"),
    [
        ({}, 202, ["0-3", "0-7"]),
        ({"patch_status": 201, "patch_range": "stuck"}, 201, ["0-3", "0-3"]),
        ({"patch_range": "one-too-many"}, 202, ["0-4", "0-8"]),
        ({"patch_range": "none"}, 202, [None, None]),
    ],
)
def test_patch_answer_follows_options(
    scripted: Scripted, options: dict[str, Any], status: int, shown: list[str | None]
) -> None:
    """PATCH answers with the status and the Range of the options, and stores everything."""
    registry = scripted(session_state=False, **options)
    session = ask(registry.address, "POST", "/v2/a/b/blobs/uploads/").headers["Location"]

    answers = [ask(registry.address, "PATCH", session, body=body) for body in (b"1234", b"5678")]
    digest = content.digest_of(b"12345678")
    ask(registry.address, "PUT", f"{session}?digest={digest}")

    assert [(status, found) for found in shown] == [
        (each.status, each.headers.get("Range")) for each in answers
    ]
    assert b"12345678" == registry.blob("a/b", digest)


@pytest.mark.parametrize(("start", "expected"), [(4, 202), (3, 416), (5, 416)])
def test_content_range_may_be_checked(scripted: Scripted, start: int, expected: int) -> None:
    """With check_content_range a PATCH must start at the end of the session."""
    registry = scripted(session_state=False, check_content_range=True)
    session = ask(registry.address, "POST", "/v2/a/b/blobs/uploads/").headers["Location"]
    ask(registry.address, "PATCH", session, body=b"1234")

    headers = {"Content-Range": f"{start}-{start + 3}"}
    assert expected == ask(registry.address, "PATCH", session, body=b"5678", headers=headers).status


def test_one_post_may_store_a_blob(scripted: Scripted) -> None:
    """With monolithic_post a POST with digest and body is 201."""
    registry = scripted(monolithic_post=True)
    digest = content.digest_of(b"body")

    answer = ask(registry.address, "POST", f"/v2/a/b/blobs/uploads/?digest={digest}", body=b"body")

    assert (201, b"body") == (answer.status, registry.blob("a/b", digest))


def test_sha512_digest_is_accepted(scripted: Scripted) -> None:
    """A blob may be stored under its sha512 digest."""
    registry = scripted()
    digest = content.digest_of(b"body", "sha512")
    session = ask(registry.address, "POST", "/v2/a/b/blobs/uploads/").headers["Location"]

    assert 201 == ask(registry.address, "PUT", f"{session}&digest={digest}", body=b"body").status
    assert b"body" == registry.blob("a/b", digest)


def test_sink_keeps_no_blob_bytes(scripted: Scripted) -> None:
    """With sink the digest of an upload is checked and its size kept, but not its bytes."""
    registry = scripted(sink=True)
    with Wire(Endpoint(address=registry.address)) as wire:
        digest = wire.send_blob("a/b", b"12345")

        assert "5" == wire.ask("HEAD", f"/v2/a/b/blobs/{digest}").headers["Content-Length"]
    assert (b"\0" * 5, 5) == (registry.blob("a/b", digest), registry.bytes_received)


def test_large_blob_is_generated(scripted: Scripted) -> None:
    """A large blob has the promised size and digest, at any offset."""
    registry = scripted()
    size = (3 << 20) + 5
    digest = registry.add_large_blob("a/b", size)

    whole = ask(registry.address, "GET", f"/v2/a/b/blobs/{digest}").body
    headers = {"Range": f"bytes={(2 << 20) - 3}-"}
    part = ask(registry.address, "GET", f"/v2/a/b/blobs/{digest}", headers=headers).body

    assert (size, digest) == (len(whole), content.digest_of(whole))
    assert whole[(2 << 20) - 3 :] == part
