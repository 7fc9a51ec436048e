"""HEAD, and the requests that replace it if its response proves nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.errors import RegistryError
from pipeline.model.messages import ManifestHead
from tests.registry.content import digest_of, image, schema1
from tests.registry.faults import Drop, Fault, Reply
from tests.unit.registry.asking import client, reference, repository

if TYPE_CHECKING:
    from tests.registry.content import Content
    from tests.registry.fixtures import Scripted

BLOB = b"content" * 1000
DIGEST = digest_of(BLOB)
IMAGE = image(b"layer")
OTHER = image(b"another layer")


class TestHeadManifest:
    def test_one_head_gives_digest_and_type(self, scripted: Scripted) -> None:
        """One HEAD gives digest and type."""
        registry = scripted()
        registry.add("team/app", IMAGE, "v1")

        found = client(registry).head_manifest(reference(registry, "v1"))
        assert found == ManifestHead(digest=IMAGE.digest, media_type=IMAGE.media_type)
        assert [entry.method for entry in registry.requests()] == ["HEAD"]

    def test_plain_404_is_final(self, scripted: Scripted) -> None:
        """A plain 404 is final."""
        registry = scripted()

        assert client(registry).head_manifest(reference(registry, "v1")) is None
        assert len(registry.requests()) == 1

    @pytest.mark.parametrize("name", ["v1", IMAGE.digest])
    def test_pull_through_404_is_confirmed_by_get(self, scripted: Scripted, name: str) -> None:
        """If a pull-through cache answers HEAD with 404, a GET confirms it when certainty is required."""
        registry = scripted()
        registry.add("team/app", IMAGE, "v1")
        registry.fault(Fault(action=Reply(status=404), method="HEAD"))

        found = client(registry).head_manifest(reference(registry, name), sure=True)
        assert found is not None
        assert found.digest == IMAGE.digest
        assert [entry.method for entry in registry.requests()] == ["HEAD", "GET"]

    def test_manifest_missing_for_get_too(self, scripted: Scripted) -> None:
        """A manifest that GET does not find either is missing."""
        registry = scripted()

        assert client(registry).head_manifest(reference(registry, "v1"), sure=True) is None
        assert [entry.method for entry in registry.requests()] == ["HEAD", "GET"]

    def test_other_digest_is_computed_from_content(self, scripted: Scripted) -> None:
        """A digest other than the requested one is not trusted: the content decides."""
        registry = scripted()
        registry.add("team/app", IMAGE, "v1")
        headers = {"Docker-Content-Digest": OTHER.digest}
        registry.fault(Fault(action=Reply(status=200, headers=headers), method="HEAD"))

        found = client(registry).head_manifest(reference(registry, IMAGE.digest))
        assert found is not None
        assert found.digest == IMAGE.digest

    @pytest.mark.parametrize(
        ("status", "body"),
        [(200, ""), (200, "[]"), (200, '{"errors":[{"code":"X"}]}'), (202, "{}"), (204, ""), (206, "{}")],
    )
    def test_answer_without_a_manifest_has_no_digest(
        self, scripted: Scripted, status: int, body: str
    ) -> None:
        """An answer that is not a manifest has no digest."""
        registry = scripted()
        registry.fault(Fault(action=Reply(status=status, body=body), times=None))
        with pytest.raises(RegistryError, match="the answer is not a manifest") as caught:
            client(registry).head_manifest(reference(registry, "v1"))

        assert caught.value.fault.status == status

    @pytest.mark.parametrize("content", [IMAGE, schema1(b"layer", signed=True)])
    def test_missing_digest_is_computed(self, scripted: Scripted, content: Content) -> None:
        """If HEAD has no digest, it is computed from the content, also for docker schema 1."""
        registry = scripted(digest_header=False)
        registry.add("team/app", content, "v1")

        found = client(registry).head_manifest(reference(registry, "v1"))
        assert found is not None
        assert found.digest == content.digest

    @pytest.mark.parametrize("status", [403, 405, 500])
    def test_failed_head_is_replaced_by_get(self, scripted: Scripted, status: int) -> None:
        """If HEAD fails and GET works, GET is used."""
        registry = scripted()
        registry.add("team/app", IMAGE, "v1")
        registry.fault(Fault(action=Reply(status=status), method="HEAD", times=None))

        found = client(registry).head_manifest(reference(registry, "v1"))
        assert found is not None
        assert found.digest == IMAGE.digest
        assert [entry.method for entry in registry.requests()] == ["HEAD", "GET"]


class TestHeadBlob:
    def test_existing_blob_has_its_size(self, scripted: Scripted) -> None:
        """An existing blob has its size."""
        registry = scripted()
        registry.add_blob("team/app", BLOB)

        assert client(registry).head_blob(repository(registry), DIGEST) == len(BLOB)

    def test_missing_blob_has_no_size(self, scripted: Scripted) -> None:
        """A missing blob has none."""
        registry = scripted()

        assert client(registry).head_blob(repository(registry), DIGEST) is None

    @pytest.mark.parametrize("size", [-1, len(BLOB)])
    def test_redirected_head_reads_one_byte(self, scripted: Scripted, size: int) -> None:
        """A redirect proves nothing: one byte is read from storage by GET, since storage may refuse HEAD."""
        registry = scripted(redirect="all")
        registry.add_blob("team/app", BLOB)

        assert client(registry).head_blob(repository(registry), DIGEST, size=size) == len(BLOB)
        (asked,) = registry.requests(elsewhere=True)
        assert (asked.method, asked.headers["range"]) == ("GET", "bytes=0-0")

    def test_blob_lost_by_storage_is_missing(self, scripted: Scripted) -> None:
        """A blob that storage has lost is missing."""
        registry = scripted(redirect="all")
        registry.add_blob("team/app", BLOB)
        registry.fault(Fault(action=Reply(status=404), path="/storage/"))

        assert client(registry).head_blob(repository(registry), DIGEST, size=len(BLOB)) is None

    @pytest.mark.parametrize("length", ["", "0", "12", "many"])
    @pytest.mark.parametrize("ranges", ["yes", "ignored"])
    def test_doubtful_length_reads_one_byte(self, scripted: Scripted, ranges: str, length: str) -> None:
        """If the length is missing, or not the manifest's, one byte is read."""
        registry = scripted(ranges=ranges)
        registry.add_blob("team/app", BLOB)
        headers = {"Content-Length": length} if length else {"Transfer-Encoding": "chunked"}
        registry.fault(Fault(action=Reply(status=200, headers=headers), method="HEAD"))

        assert client(registry).head_blob(repository(registry), DIGEST, size=len(BLOB)) == len(BLOB)
        assert [entry.method for entry in registry.requests()] == ["HEAD", "GET"]

    def test_failed_one_byte_read_is_repeated(self, scripted: Scripted) -> None:
        """A failed request for one byte is repeated, since it proves nothing about the blob."""
        registry = scripted()
        registry.add_blob("team/app", BLOB)
        registry.fault(Fault(action=Reply(status=200, headers={"Content-Length": "0"}), method="HEAD"))
        registry.fault(Fault(action=Drop(after=0), method="GET"))

        assert client(registry).head_blob(repository(registry), DIGEST, size=len(BLOB)) == len(BLOB)
        assert [entry.method for entry in registry.requests()] == ["HEAD", "GET", "GET"]

    def test_html_content_type_is_checked_by_content(self, scripted: Scripted) -> None:
        """A blob with the Content-Type of a web page is checked by its first bytes."""
        registry = scripted()
        registry.add_blob("team/app", BLOB)
        headers = {"Content-Type": "text/html", "Content-Length": str(len(BLOB))}
        registry.fault(Fault(action=Reply(status=200, headers=headers), method="HEAD"))

        assert client(registry).head_blob(repository(registry), DIGEST, size=len(BLOB)) == len(BLOB)
        assert [entry.method for entry in registry.requests()] == ["HEAD", "GET"]

    def test_empty_blob_has_length_0(self, scripted: Scripted) -> None:
        """An empty blob has a length of 0, and no byte that could be requested."""
        registry = scripted()
        digest = registry.add_blob("team/app", b"")

        assert client(registry).head_blob(repository(registry), digest, size=0) == 0
        assert [entry.method for entry in registry.requests()] == ["HEAD"]
        assert client(registry).head_blob(repository(registry), digest) == 0

    def test_pull_through_404_is_confirmed_by_one_byte(self, scripted: Scripted) -> None:
        """A 404 is confirmed by a request for one byte when certainty is required."""
        registry = scripted()
        registry.add_blob("team/app", BLOB)
        registry.fault(Fault(action=Reply(status=404), method="HEAD"))

        assert client(registry).head_blob(repository(registry), DIGEST, sure=True) == len(BLOB)

    def test_unsupported_head_reads_one_byte(self, scripted: Scripted) -> None:
        """If HEAD is not supported, one byte is requested."""
        registry = scripted()
        registry.add_blob("team/app", BLOB)
        registry.fault(Fault(action=Reply(status=405), method="HEAD"))

        assert client(registry).head_blob(repository(registry), DIGEST) == len(BLOB)
        assert registry.requests()[-1].headers["range"] == "bytes=0-0"
