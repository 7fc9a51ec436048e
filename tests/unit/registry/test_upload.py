from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.errors import OperationError, RegistryError, ThrottledError
from pipeline.registry import upload as uploads
from pipeline.registry.meter import metering
from tests.registry.content import digest_of
from tests.registry.faults import Drop, Fault, Reply
from tests.unit.registry.asking import USER, Sent, client, repository

if TYPE_CHECKING:
    from pipeline.registry.upload import Upload
    from tests.registry.faults import Closing
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

BLOB = b"content" * 100_000
DIGEST = digest_of(BLOB)


def begin(registry: Registry, *, digest: str = DIGEST, mount: str = "", path: str = "team/app") -> Upload:
    """An open session."""
    upload = client(registry, USER, push=True).begin_upload(repository(registry, path), digest, mount=mount)
    assert upload is not None
    return upload


class TestPut:
    @pytest.mark.parametrize("location", ["relative", "absolute", "http", "other-host"])
    def test_blob_is_stored_and_confirmed(self, scripted: Scripted, location: str) -> None:
        """A blob is stored by POST and PUT, wherever the session is, and the digest confirmed."""
        registry = scripted(location=location, auth="token")
        with metering() as meter:
            assert begin(registry).put(Sent(BLOB)) is True

        assert registry.blob("team/app", DIGEST) == BLOB
        assert meter.written == len(BLOB)
        assert [entry.method for entry in registry.requests(path="uploads") if entry.status < 400] == [
            "POST",
            "PUT",
        ]

    def test_session_elsewhere_gets_no_authorization(self, scripted: Scripted) -> None:
        """A session on another host gets no Authorization."""
        registry = scripted(location="other-host", auth="basic")
        begin(registry).put(Sent(BLOB))

        (entry,) = registry.requests(elsewhere=True)
        assert "authorization" not in entry.headers

    def test_body_has_a_length(self, scripted: Scripted) -> None:
        """The body has a length, even if empty, and is sent on the connection of the POST."""
        registry = scripted()
        empty = digest_of(b"")
        begin(registry, digest=empty).put(Sent(b""))

        post, put = registry.requests()
        assert put.headers["content-length"] == "0"
        assert "transfer-encoding" not in put.headers
        assert post.connection == put.connection
        assert registry.blob("team/app", empty) == b""

    def test_answer_without_digest_is_not_confirmed(self, scripted: Scripted) -> None:
        """A registry that returns no digest has not confirmed it."""
        registry = scripted(digest_header=False)

        assert begin(registry).put(Sent(BLOB)) is False

    def test_other_digest_is_retryable(self, scripted: Scripted) -> None:
        """After a registry computed another digest, a new session may succeed."""
        registry = scripted()
        with pytest.raises(RegistryError, match="DIGEST_INVALID") as caught:
            begin(registry).put(Sent(BLOB[:-1] + b"x"))

        assert caught.value.fault.retryable

    def test_accepted_put_is_polled(self, scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
        """After a 202 to the PUT the blob is polled until it is present."""
        monkeypatch.setattr(uploads, "_COMMIT_POLLS", (0.0,) * 5)
        registry = scripted()
        registry.fault(Fault(action=Reply(status=202), method="PUT"))
        registry.fault(Fault(action=Reply(status=404), method="HEAD", times=2))
        registry.add_blob("team/app", BLOB)

        assert begin(registry).put(Sent(BLOB)) is False, "it is yet to be seen what came there"
        assert len(registry.requests(method="HEAD")) == 3

    def test_blob_missing_after_202_is_retryable(
        self, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A blob that is missing after a 202 is a retryable failure."""
        monkeypatch.setattr(uploads, "_COMMIT_POLLS", (0.0,) * 5)
        registry = scripted()
        registry.fault(Fault(action=Reply(status=202), method="PUT"))
        with pytest.raises(RegistryError) as caught:
            begin(registry).put(Sent(BLOB))

        assert (caught.value.fault.code, caught.value.fault.retryable) == ("TIMEOUT", True)

    def test_body_is_sent_once(self, scripted: Scripted) -> None:
        """A body is sent once: the caller reopens the source."""
        registry = scripted()
        registry.fault(Fault(action=Drop(perform=True), method="PUT", times=None))
        with pytest.raises(RegistryError) as caught:
            begin(registry).put(Sent(BLOB))

        assert (caught.value.fault.code, caught.value.fault.retryable) == ("CONNECTION_LOST", True)
        assert len(registry.requests(method="PUT")) == 1

    def test_upload_can_be_cancelled(self, scripted: Scripted) -> None:
        """An upload can be cancelled, whatever the registry answers."""
        registry = scripted()
        upload = begin(registry)
        upload.cancel()
        upload.cancel()

        assert [entry.status for entry in registry.requests(method="DELETE")] == [204, 404]


class TestBrokenBody:
    def test_error_of_the_body_is_raised_unchanged(self, scripted: Scripted) -> None:
        """Exceptions of the body's iterable are raised unchanged, and nothing is committed."""
        registry = scripted()
        upload = begin(registry)
        mine = BrokenPipeError("of the source")
        with pytest.raises(BrokenPipeError) as caught:
            upload.put(Sent(BLOB, announced=len(BLOB) + 1, error=mine))

        assert caught.value is mine
        assert registry.blobs("team/app") == []

    def test_connection_is_never_reused(self, scripted: Scripted) -> None:
        """The connection of an incomplete body is never reused."""
        registry = scripted()
        asking = client(registry, push=True)
        upload = asking.begin_upload(repository(registry), DIGEST)
        assert upload
        with pytest.raises(KeyError):
            upload.put(Sent(BLOB, announced=len(BLOB) + 1, error=KeyError()))
        asking.head_blob(repository(registry), DIGEST)

        put, head = (registry.wait_for(method=method)[0] for method in ("PUT", "HEAD"))
        assert put.connection != head.connection

    @pytest.mark.parametrize("announced", [len(BLOB) - 1, len(BLOB) + 1])
    def test_short_body_is_never_complete(self, scripted: Scripted, announced: int) -> None:
        """A body shorter than announced is never complete at the registry."""
        registry = scripted()
        with pytest.raises(RegistryError) as caught:
            begin(registry).put(Sent(BLOB, announced=announced))

        assert caught.value.fault.code == "SIZE_MISMATCH"
        assert registry.blobs("team/app") == []

    def test_empty_body_may_raise(self, scripted: Scripted) -> None:
        """An empty body may raise, too."""
        registry = scripted()
        with pytest.raises(KeyError):
            begin(registry).put(Sent(b"", error=KeyError()))

        assert registry.blobs("team/app") == []


@pytest.mark.parametrize("closing", ["close", "drain"])
class TestEarlyAnswer:
    """The registry answers during the body, and closes at once or reads the rest."""

    LARGE = b"x" * (16 << 20)

    def put(self, registry: Registry, status: int, closing: Closing) -> OperationError:
        """Send a large body to a peer that answers early; returns the error."""
        reply = Reply(status=status, body="no more", early=True, read=1 << 16, closing=closing)
        registry.fault(Fault(action=reply, method="PUT"))
        asking = client(registry, USER, push=True)
        upload = asking.begin_upload(repository(registry), DIGEST)
        assert upload
        with metering() as meter, pytest.raises(OperationError) as caught:
            upload.put(Sent(self.LARGE))
        assert meter.written < len(self.LARGE)
        assert asking.head_blob(repository(registry), DIGEST) is None
        return caught.value

    def test_plain_http_reads_the_early_answer(self, scripted: Scripted, closing: Closing) -> None:
        """Over plain HTTP the response is read, the rest is not sent, and the next request works."""
        error = self.put(scripted(), 413, closing)

        assert (error.fault.status, error.fault.words) == (413, "no more")

    def test_tls_reads_the_early_answer(self, tls_registry: Registry, closing: Closing) -> None:
        """The same over TLS, where the standard stack only sees an end of file."""
        error = self.put(tls_registry, 413, closing)

        assert (error.fault.status, error.fault.words) == (413, "no more")

    def test_early_rate_limit_is_raised(self, tls_registry: Registry, closing: Closing) -> None:
        """A request for a pause during a body is a ThrottledError."""
        assert isinstance(self.put(tls_registry, 429, closing), ThrottledError)


class TestMount:
    def test_granted_mount_needs_no_upload(self, scripted: Scripted) -> None:
        """A granted mount needs no upload."""
        registry = scripted(auth="token")
        registry.add_blob("team/base", BLOB)
        asking = client(registry, USER, push=True)

        assert asking.begin_upload(repository(registry), DIGEST, mount="team/base") is None
        assert registry.blob("team/app", DIGEST) == BLOB
        scopes = registry.requests(path="token")[0].parameters["scope"]
        assert scopes == ["repository:team/app:pull,push", "repository:team/base:pull"]

    def test_refused_mount_opens_an_upload(self, scripted: Scripted) -> None:
        """A refused mount opens an upload, which is used."""
        registry = scripted(mount="refused")
        registry.add_blob("team/base", BLOB)
        upload = begin(registry, mount="team/base")

        assert upload.refused
        assert upload.put(Sent(BLOB))
        assert len(registry.requests(method="POST")) == 1

    @pytest.mark.parametrize("mount", ["unauthorized", "denied", "unsupported"])
    def test_failed_mount_is_followed_by_an_upload(self, scripted: Scripted, mount: str) -> None:
        """A mount that fails is followed by one plain upload."""
        registry = scripted(mount=mount, auth="token")
        registry.add_blob("team/base", BLOB)
        upload = begin(registry, mount="team/base")

        assert upload.refused
        assert "mount" not in registry.requests(method="POST", status=202)[-1].parameters
        assert upload.put(Sent(BLOB))

    def test_refused_second_scope_allows_the_upload(self, scripted: Scripted) -> None:
        """A token server that refuses the second scope does not prevent the upload."""
        registry = scripted(auth="token")
        registry.fault(Fault(action=Reply(status=403), path="token.*base", times=None))
        upload = begin(registry, mount="team/base")

        assert upload.refused
        assert registry.requests(path="token")[-1].parameters["scope"] == ["repository:team/app:pull,push"]

    def test_rate_limit_at_a_mount(self, scripted: Scripted) -> None:
        """A rate limit at a mount is a rate limit."""
        registry = scripted()
        registry.fault(Fault(action=Reply(status=429), method="POST"))
        with pytest.raises(ThrottledError):
            begin(registry, mount="team/base")


class TestBegin:
    def test_post_is_retried(self, scripted: Scripted) -> None:
        """A POST has no body and is retried."""
        registry = scripted()
        registry.fault(Fault(action=Reply(status=500), method="POST"))

        assert begin(registry).put(Sent(BLOB))

    def test_missing_repository_fails_with_a_hint(self, scripted: Scripted) -> None:
        """A repository that has to be created first is a failure with that hint."""
        registry = scripted(create_first=True)
        with pytest.raises(RegistryError, match="create the repository") as caught:
            begin(registry)

        assert not caught.value.fault.retryable

    def test_missing_location_is_an_error(self, scripted: Scripted) -> None:
        """A session without a Location is an error."""
        registry = scripted()
        registry.fault(Fault(action=Reply(status=202), method="POST"))
        with pytest.raises(RegistryError, match="without a Location"):
            begin(registry)

    def test_errors_have_no_session_url(self, scripted: Scripted) -> None:
        """No error contains the session's URL."""
        registry = scripted()
        registry.fault(Fault(action=Drop(read=0), method="PUT"))
        with pytest.raises(RegistryError) as caught:
            begin(registry).put(Sent(BLOB))

        assert "_state" not in str(caught.value)
        assert "uploads" not in str(caught.value)

    def test_other_algorithm_is_announced(self, scripted: Scripted) -> None:
        """A digest of another algorithm is announced when the session begins."""
        registry = scripted()
        begin(registry, digest=digest_of(BLOB, "sha512"))

        assert registry.requests(method="POST")[0].query == "digest-algorithm=sha512"
