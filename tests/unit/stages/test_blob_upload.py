"""One blob: in chunks if it is large, and resumed where it stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import RegistryError, ThrottledError
from pipeline.registry.upload_strategy import Quirks
from tests.registry.faults import Corrupt, Drop, Fault, Reply, throttle
from tests.registry.store import Blob
from tests.unit.stages.blob_copy import BLOB, CHUNK, CHUNKS, DIGEST, start_copy

if TYPE_CHECKING:
    from tests.registry.fixtures import Scripted


class TestChunks:
    def test_large_blob_is_uploaded_in_chunks(self, scripted: Scripted) -> None:
        """A large blob is uploaded in chunks and an empty PUT, and each confirmed chunk is reported."""
        made = start_copy(scripted, check_content_range=True)

        assert made.run().how == "uploaded"

        assert CHUNKS == made.patched()
        assert made.arrived()
        ends = [min(begin + CHUNK, len(BLOB)) for begin in range(0, len(BLOB), CHUNK)]
        assert ends == [session.offset for session in made.said if session]
        (put,) = made.sent("PUT")
        assert put.headers["content-length"] == "0"

    @pytest.mark.parametrize(
        "options",
        [
            {"patch_range": "stuck"},
            {"patch_range": "none"},
            {"patch_range": "one-too-many"},
            {"patch_status": 201},
            {"location": "missing", "session_state": False},
            {"location": "absolute"},
            {"location": "other-host"},
        ],
        ids=str,
    )
    def test_nothing_accepted_is_sent_twice(self, scripted: Scripted, options: dict[str, Any]) -> None:
        """Whatever a registry answers to a chunk that it accepted, nothing is sent twice."""
        made = start_copy(scripted, **options)

        assert made.run().how == "uploaded"

        assert CHUNKS == made.patched()
        assert made.arrived()

    def test_chunks_have_the_announced_size(self, scripted: Scripted) -> None:
        """Chunks have the size that a registry announces, even for a blob that is not large."""
        made = start_copy(scripted, chunk_max=150_000, chunk_min=120_000)

        made.run()

        begins = range(0, len(BLOB), 120_000)
        assert [f"{begin}-{min(begin + 120_000, len(BLOB)) - 1}" for begin in begins] == made.patched()

    def test_last_chunk_is_sent_with_the_put(self, scripted: Scripted) -> None:
        """If the last chunk has to be sent with the PUT, it is."""
        made = start_copy(scripted, check_content_range=True)

        made.run(quirks=Quirks(chunk=CHUNK, ends_with_bytes=True))

        assert CHUNKS[:-1] == made.patched()
        assert made.arrived()

    def test_wrong_bytes_cancel_the_upload(self, scripted: Scripted) -> None:
        """A blob with wrong bytes is read once more, and then its upload is cancelled."""
        made = start_copy(scripted)
        made.source.fault(Fault(action=Corrupt(offset=len(BLOB) - 5), method="GET", times=None))

        with pytest.raises(RegistryError, match="DIGEST_MISMATCH"):
            made.run()

        assert not made.sent("PUT")
        assert made.said[-1] is None
        assert len(made.sent("DELETE")) == 2
        assert len(made.source.requests(method="GET")) == 2


class TestSameRun:
    def test_only_the_broken_chunk_is_sent_again(self, scripted: Scripted) -> None:
        """A broken chunk is sent again, those before it are not, and the digest is checked locally."""
        made = start_copy(scripted, broken_bodies=False)
        made.mirror.fault(Fault(action=Drop(read=50_000), method="PATCH", skip=3))

        assert made.run().how == "uploaded"

        assert [*CHUNKS[:4], *CHUNKS[3:]] == made.patched()
        assert made.arrived()
        assert [event.fields["offset"] for event in made.meter.events if event.name == "blob.resumed"] == [
            3 * CHUNK
        ]

    def test_announced_chunk_size_applies_when_resumed(self, scripted: Scripted) -> None:
        """Chunk sizes announced at the start of an upload also apply when it is resumed."""
        made = start_copy(scripted, chunk_max=90_000)
        made.mirror.fault(Fault(action=Reply(status=401), method="PATCH", skip=2))

        assert made.run().how == "uploaded"

        assert {"90000", "50001"} >= {entry.headers["content-length"] for entry in made.sent("PATCH")}
        assert made.arrived()

    def test_progress_does_not_count_as_failure(self, scripted: Scripted) -> None:
        """Chunks that break repeatedly do not count as failed attempts while each makes progress."""
        made = start_copy(scripted, broken_bodies=False)
        for number in range(5):
            made.mirror.fault(
                Fault(action=Drop(read=10), method="PATCH", path="uploads", skip=2 * number + 1)
            )

        made.run()

        assert made.arrived()

    def test_upload_without_progress_restarts(self, scripted: Scripted) -> None:
        """An upload without progress is resumed once; then the blob starts from zero."""
        made = start_copy(scripted, broken_bodies=False)
        made.mirror.fault(Fault(action=Drop(read=10), method="PATCH", skip=2, times=2))

        made.run()

        assert [*CHUNKS[:3], CHUNKS[2], *CHUNKS] == made.patched()
        assert made.arrived()

    def test_dead_session_restarts(self, scripted: Scripted) -> None:
        """An upload that a broken chunk ended, as with distribution, starts from zero."""
        made = start_copy(scripted)
        made.mirror.fault(Fault(action=Drop(read=50_000), method="PATCH", skip=3))

        made.run()

        assert [*CHUNKS[:4], *CHUNKS] == made.patched()
        assert None in made.said
        assert made.arrived()

    def test_rest_of_a_partial_chunk_is_sent(self, scripted: Scripted) -> None:
        """After a partly accepted chunk, the registry gets the rest of it."""
        made = start_copy(scripted, patch_takes=90_000, check_content_range=True)

        made.run()

        begins = [int(each.partition("-")[0]) for each in made.patched()]
        assert list(range(0, len(BLOB), 90_000)) == begins
        assert made.arrived()

    def test_lost_final_answer_is_found_by_head(self, scripted: Scripted) -> None:
        """A final PUT whose response was lost is found to have succeeded by one HEAD."""
        made = start_copy(scripted)
        made.mirror.fault(Fault(action=Drop(perform=True), method="PUT", times=2))

        assert made.run().how == "uploaded"

        assert len(made.mirror.requests(method="HEAD")) == 1
        assert CHUNKS == made.patched()

    def test_upload_resumes_after_a_rate_limit(self, scripted: Scripted) -> None:
        """After a rate limit between two chunks the upload resumes when the task is given again."""
        made = start_copy(scripted)
        made.mirror.fault(throttle(method="PATCH", skip=2))
        with pytest.raises(ThrottledError):
            made.run()

        made.run(session=made.kept())

        assert [*CHUNKS[:3], *CHUNKS[2:]] == made.patched()
        assert made.arrived()

    @pytest.mark.parametrize("method", ["PUT", "PATCH"])
    def test_nothing_is_sent_after_a_rate_limit(self, scripted: Scripted, method: str) -> None:
        """After a rate limit nothing more is sent, not even a cancellation of the upload."""
        made = start_copy(scripted)
        made.mirror.fault(throttle(method=method, times=None))
        with pytest.raises(ThrottledError):
            made.run(quirks=Quirks(forms=("whole",)) if method == "PUT" else None)

        assert made.mirror.requests()[-1].method == method

    def test_paused_source_cancels_the_upload(self, scripted: Scripted) -> None:
        """An upload whose source asks for a pause is cancelled, since the pause may outlast the session."""
        made = start_copy(scripted)
        made.source.fault(throttle(times=None))
        with pytest.raises(ThrottledError):
            made.run()

        assert made.mirror.requests()[-1].method == "DELETE"

    def test_only_the_refused_put_is_repeated(self, scripted: Scripted) -> None:
        """If only the final PUT is refused for a moment, only the PUT is repeated."""
        made = start_copy(scripted)
        made.mirror.fault(Fault(action=Reply(status=500), method="PUT"))

        made.run()

        assert CHUNKS == made.patched()
        assert len(made.source.requests(method="GET")) == 1
        assert made.arrived()


class TestReadBack:
    def test_other_stored_size_is_missing(self, scripted: Scripted) -> None:
        """A registry that stores another size than it confirmed does not have the blob."""
        made = start_copy(scripted)
        made.mirror.fault(Fault(action=Reply(status=200, body="cut"), path="/blobs/sha256", times=None))

        with pytest.raises(RegistryError) as caught:
            made.run(check=True)

        assert "it has 3 bytes" in caught.value.fault.words
        assert (caught.value.fault.code, caught.value.fault.retryable) == ("SIZE_MISMATCH", False)
        assert len(made.sent("PUT")) == 1

    @pytest.mark.parametrize("length", ["0", "7"])
    def test_wrong_head_length_is_corrected(self, scripted: Scripted, length: str) -> None:
        """A wrong length by HEAD, such as 0 from many proxies, is corrected by reading one byte."""
        made = start_copy(scripted)
        answer = Reply(status=200, headers={"Content-Length": length})
        made.mirror.fault(Fault(action=answer, method="HEAD", times=None))

        assert made.run(check=True).how == "uploaded"
        assert len(made.sent("PUT")) == 1

    def test_accepted_upload_of_another_size_fails(self, scripted: Scripted) -> None:
        """An upload that is accepted (202) and then has another size has failed."""
        made = start_copy(scripted)
        made.mirror.fault(Fault(action=Reply(status=202), method="PUT", times=None))
        made.mirror.fault(Fault(action=Reply(status=200, body="cut"), path="/blobs/sha256", times=None))

        with pytest.raises(RegistryError, match="it has 3 bytes"):
            made.run()


class TestPresent:
    @pytest.mark.parametrize("overwrites", [True, False])
    def test_present_blob_of_another_size_is_sent_again(self, scripted: Scripted, overwrites: bool) -> None:  # noqa: FBT001 - pytest hands it over
        """A blob with another size than in the manifest is sent again, and checked afterwards."""
        made = start_copy(scripted)
        cut = Blob(BLOB[:10], 10)
        made.mirror.store.create("copy/app").blobs[DIGEST] = cut
        if not overwrites:
            made.mirror.fault(Fault(action=Reply(status=201), method="PUT", times=None))

        if overwrites:
            assert made.run(ask=True).how == "uploaded"
            assert made.arrived()
        else:
            with pytest.raises(RegistryError, match=f"it has 10 bytes, the manifest says {len(BLOB)}"):
                made.run(ask=True)
        assert len(made.sent("PUT")) == 1

    def test_unreadable_blob_is_sent_once(self, scripted: Scripted) -> None:
        """A blob for which the registry answers 500, and again after its upload, is sent only once."""
        made = start_copy(scripted)
        made.mirror.fault(Fault(action=Reply(status=500), method="HEAD", times=None))

        with pytest.raises(RegistryError, match="500"):
            made.run(ask=True)
        assert len(made.sent("PUT")) == 1

    def test_blob_lost_by_storage_is_sent(self, scripted: Scripted) -> None:
        """A redirect to storage that has lost the blob proves nothing."""
        made = start_copy(scripted, redirect="all")
        made.mirror.add_blob("copy/app", BLOB)
        made.mirror.fault(Fault(action=Reply(status=404), path="/storage/"))

        assert made.run(ask=True).how == "uploaded"

    def test_present_blob_costs_one_request(self, scripted: Scripted) -> None:
        """A blob with the right size costs one request."""
        made = start_copy(scripted)
        made.mirror.add_blob("copy/app", BLOB)

        assert made.run(ask=True).how == "present"
        assert [entry.method for entry in made.mirror.requests()] == ["HEAD"]

    def test_blob_created_before_upload_is_checked(self, scripted: Scripted) -> None:
        """A registry that has a blob before any of it was sent is checked."""
        made = start_copy(scripted)
        made.mirror.fault(Fault(action=Reply(status=201), method="POST"))

        assert made.run().how == "uploaded"

        assert made.arrived()
