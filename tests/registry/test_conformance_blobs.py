"""The conformance suite, blobs: what both kinds of registry answer alike to uploads, reads and mounts."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.registry import content
from tests.registry.asking import ABSENT, begin, code, finish, location

if TYPE_CHECKING:
    from tests.real.wire import Wire


def test_stores_a_blob_in_two_requests(wire: Wire) -> None:
    """POST and a PUT with the whole body store a blob, and return its location and digest."""
    body = content.layer("a blob", size=300_000)
    digest = content.digest_of(body)

    answer = finish(wire, begin(wire), digest, body)

    assert (201, digest) == (answer.status, answer.headers["Docker-Content-Digest"])
    assert f"/v2/a/b/blobs/{digest}" == location(answer)
    assert body == wire.ask("GET", f"/v2/a/b/blobs/{digest}").body


def test_stores_a_blob_in_chunks(wire: Wire) -> None:
    """PATCHes and an empty PUT store a blob; each answer has the Range and the next Location."""
    body = content.layer("a blob", size=1000)
    session = begin(wire)
    ranges = []
    for start, stop in ((0, 400), (400, 1000)):
        headers = {"Content-Range": f"{start}-{stop - 1}", "Content-Type": "application/octet-stream"}
        answer = wire.need(202, "PATCH", session, body=body[start:stop], headers=headers)
        ranges.append(answer.headers["Range"])
        session = location(answer)

    assert 201 == finish(wire, session, content.digest_of(body)).status
    assert ["0-399", "0-999"] == ranges


def test_put_may_carry_the_last_chunk(wire: Wire) -> None:
    """The body of the PUT is appended to the body of the PATCH."""
    session = location(wire.need(202, "PATCH", begin(wire), body=b"first "))

    assert 201 == finish(wire, session, content.digest_of(b"first last"), b"last").status


def test_get_session_returns_received_range(wire: Wire) -> None:
    """GET of a session is 204 with the Range received and a Location to continue."""
    session = location(wire.need(202, "PATCH", begin(wire), body=b"12345"))

    answer = wire.ask("GET", session)

    assert (204, "0-4") == (answer.status, answer.headers["Range"])
    assert 201 == finish(wire, location(answer), content.digest_of(b"12345")).status


def test_new_session_is_empty(wire: Wire) -> None:
    """A new session answers with Range 0-0, a Location and an empty body."""
    answer = wire.ask("POST", "/v2/a/b/blobs/uploads/")

    assert (202, "0-0", b"") == (answer.status, answer.headers["Range"], answer.body)
    assert answer.headers["Docker-Upload-UUID"] in answer.headers["Location"]


def test_outdated_location_is_404(wire: Wire) -> None:
    """After a PATCH the Location of the POST is 404 BLOB_UPLOAD_INVALID."""
    session = begin(wire)
    wire.need(202, "PATCH", session, body=b"12345")

    answer = wire.ask("PATCH", session, body=b"67890")

    assert (404, "BLOB_UPLOAD_INVALID") == (answer.status, code(answer))


def test_repeated_put_is_404(wire: Wire) -> None:
    """A PUT that is repeated after its 201 gets 404 BLOB_UPLOAD_UNKNOWN, although the blob exists."""
    session, digest = begin(wire), content.digest_of(b"body")
    finish(wire, session, digest, b"body")

    answer = finish(wire, session, digest, b"body")

    assert (404, "BLOB_UPLOAD_UNKNOWN") == (answer.status, code(answer))
    assert 200 == wire.ask("HEAD", f"/v2/a/b/blobs/{digest}").status


def test_delete_cancels_a_session(wire: Wire) -> None:
    """DELETE of a session gets 204, and the session is unknown afterwards."""
    session = begin(wire)

    assert 204 == wire.ask("DELETE", session).status
    assert 404 == finish(wire, session, content.digest_of(b"body"), b"body").status


def test_refuses_body_with_wrong_digest(wire: Wire) -> None:
    """A body that does not match the digest gets 400 DIGEST_INVALID, and nothing is stored."""
    digest = content.digest_of(b"right")

    answer = finish(wire, begin(wire), digest, b"wrong")

    assert (400, "DIGEST_INVALID") == (answer.status, code(answer))
    assert 404 == wire.ask("HEAD", f"/v2/a/b/blobs/{digest}").status
    assert 404 == wire.ask("HEAD", f"/v2/a/b/blobs/{content.digest_of(b'wrong')}").status


@pytest.mark.parametrize("digest", ["", "sha256", "sha256:abc", "md5:d41d8cd98f00b204e9800998ecf8427e"])
def test_refuses_missing_or_malformed_digest(wire: Wire, digest: str) -> None:
    """A PUT with no digest, or a malformed one, gets 400 DIGEST_INVALID."""
    answer = finish(wire, begin(wire), digest, b"body")

    assert (400, "DIGEST_INVALID") == (answer.status, code(answer))


def test_stores_an_empty_blob(wire: Wire) -> None:
    """A PUT with Content-Length 0 stores the empty blob."""
    digest = content.digest_of(b"")

    assert 201 == finish(wire, begin(wire), digest).status
    answer = wire.ask("GET", f"/v2/a/b/blobs/{digest}")
    assert (200, "0", b"") == (answer.status, answer.headers["Content-Length"], answer.body)


def test_head_describes_a_blob(wire: Wire) -> None:
    """HEAD of a blob gives length and digest, and no body."""
    digest = wire.send_blob("a/b", b"12345")

    answer = wire.ask("HEAD", f"/v2/a/b/blobs/{digest}")

    found = (answer.status, answer.headers["Content-Length"], answer.headers["Docker-Content-Digest"])
    assert (200, "5", digest) == found


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_missing_blob_is_404(wire: Wire, method: str) -> None:
    """A missing blob gets 404, with BLOB_UNKNOWN in the body if there is one."""
    answer = wire.ask(method, f"/v2/a/b/blobs/{ABSENT}")

    assert 404 == answer.status
    assert method == "HEAD" or "BLOB_UNKNOWN" == code(answer)


@pytest.mark.parametrize(
    ("asked", "expected", "body"),
    [
        ("bytes=3-", "bytes 3-9/10", b"3456789"),
        ("bytes=3-5", "bytes 3-5/10", b"345"),
        ("bytes=8-99", "bytes 8-9/10", b"89"),
        ("bytes=-2", "bytes 8-9/10", b"89"),
    ],
)
def test_range_returns_part_of_a_blob(wire: Wire, asked: str, expected: str, body: bytes) -> None:
    """Range is answered with 206, the Content-Range and exactly these bytes."""
    digest = wire.send_blob("a/b", b"0123456789")

    answer = wire.ask("GET", f"/v2/a/b/blobs/{digest}", headers={"Range": asked})

    assert (206, expected, body) == (answer.status, answer.headers["Content-Range"], answer.body)


def test_if_range_returns_all_of_a_changed_blob(wire: Wire) -> None:
    """If-Range with another entity tag gives 200 and everything; with the right one, the part."""
    digest = wire.send_blob("a/b", b"0123456789")

    def part(etag: str) -> tuple[int, bytes]:
        headers = {"Range": "bytes=7-", "If-Range": etag}
        answer = wire.ask("GET", f"/v2/a/b/blobs/{digest}", headers=headers)
        return answer.status, answer.body

    assert (206, b"789") == part(f'"{digest}"')
    assert (200, b"0123456789") == part('"another"')


def test_mounts_a_blob(wire: Wire) -> None:
    """A mount of a blob that the other repository holds is 201 and adds it here."""
    digest = wire.send_blob("a/b", b"shared")

    answer = wire.ask("POST", f"/v2/a/c/blobs/uploads/?mount={quote(digest)}&from=a/b")

    assert (201, f"/v2/a/c/blobs/{digest}") == (answer.status, location(answer))
    assert digest == answer.headers["Docker-Content-Digest"]
    assert b"shared" == wire.ask("GET", f"/v2/a/c/blobs/{digest}").body


@pytest.mark.parametrize(
    "query",
    [
        f"mount={ABSENT}&from=a/b",
        f"mount={content.digest_of(b'shared')}&from=not/there",
        f"mount={content.digest_of(b'shared')}",
        "mount=nonsense&from=a/b",
        "from=a/b",
    ],
    ids=["absent", "no repository", "no source", "no digest", "nothing"],
)
def test_impossible_mount_opens_a_session(wire: Wire, query: str) -> None:
    """An impossible mount gets 202 with a session that accepts the blob."""
    wire.send_blob("a/b", b"shared")

    answer = wire.ask("POST", f"/v2/a/c/blobs/uploads/?{query}")

    assert 202 == answer.status
    assert 201 == finish(wire, location(answer), content.digest_of(b"other"), b"other").status


@pytest.mark.parametrize(("origin", "status"), [("a/b", 201), ("a/c", 202)])
def test_mounts_from_the_repository_itself(wire: Wire, origin: str, status: int) -> None:
    """A mount from the destination itself is 201 if the blob exists, else 202."""
    digest = wire.send_blob("a/b", b"shared")

    assert status == wire.ask("POST", f"/v2/{origin}/blobs/uploads/?mount={digest}&from={origin}").status


def test_post_with_digest_discards_its_body(wire: Wire) -> None:
    """POST with digest and body is 202 and stores nothing."""
    digest = content.digest_of(b"body")

    answer = wire.ask("POST", f"/v2/a/b/blobs/uploads/?digest={digest}", body=b"body")

    assert 202 == answer.status
    assert 404 == wire.ask("HEAD", f"/v2/a/b/blobs/{digest}").status
