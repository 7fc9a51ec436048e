from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import pytest

from pipeline.errors import LackingError, RegistryError
from tests.registry.content import OCI_MANIFEST, digest_of, image
from tests.registry.faults import Corrupt, Drip, Drop, Fault, Reply
from tests.unit.registry.asking import QUICK, client, clients, reference, repository

if TYPE_CHECKING:
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

BLOB = b"content" * 1000
DIGEST = digest_of(BLOB)
IMAGE = image(b"layer")
OTHER = image(b"another layer")


class TestGetManifest:
    def test_bytes_arrive_as_stored(self, scripted: Scripted) -> None:
        """The bytes arrive as stored, with their type."""
        registry = scripted(gzip=True)
        registry.add("team/app", IMAGE, "v1")

        got = client(registry).get_manifest(reference(registry, IMAGE.digest), limit=1 << 20)
        assert got == (IMAGE.manifest, IMAGE.media_type)

    def test_manifest_over_the_limit_is_refused(self, scripted: Scripted) -> None:
        """A manifest beyond the limit is refused; one at the limit is accepted."""
        registry = scripted()
        registry.add("team/app", IMAGE, "v1")
        asking, size = client(registry), len(IMAGE.manifest)
        asking.get_manifest(reference(registry, "v1"), limit=size)
        with pytest.raises(RegistryError, match="TOO_LARGE"):
            asking.get_manifest(reference(registry, "v1"), limit=size - 1)

    def test_truncated_body_is_read_again(self, scripted: Scripted) -> None:
        """A body that breaks off is read again."""
        registry = scripted()
        registry.add("team/app", IMAGE, "v1")
        registry.fault(Fault(action=Drop(after=10), method="GET"))

        got, _ = client(registry).get_manifest(reference(registry, "v1"), limit=1 << 20)
        assert got == IMAGE.manifest

    def test_fresh_read_bypasses_caches(self, scripted: Scripted) -> None:
        """A fresh read bypasses caches, on a new connection."""
        registry = scripted()
        registry.add("team/app", IMAGE, "v1")
        asking = client(registry)
        asking.get_manifest(reference(registry, "v1"), limit=1 << 20)
        asking.get_manifest(reference(registry, "v1"), limit=1 << 20, fresh=True)

        first, second = registry.requests()
        assert second.headers["cache-control"] == "no-cache"
        assert first.connection != second.connection


class TestPutManifest:
    def put(self, registry: Registry, name: str = "v1") -> bool:
        """Push IMAGE."""
        asking = client(registry, push=True)
        stored = asking.put_manifest(
            reference(registry, name), IMAGE.manifest, media_type=OCI_MANIFEST, digest=IMAGE.digest
        )
        return stored.confirmed

    def fill(self, registry: Registry) -> None:
        """Push IMAGE's blobs."""
        for blob in IMAGE.blobs:
            registry.add_blob("team/app", blob)

    def test_exact_bytes_are_stored(self, scripted: Scripted) -> None:
        """The exact bytes arrive with their type, and the registry's confirmation is returned."""
        registry = scripted()
        self.fill(registry)

        assert self.put(registry) is True
        assert registry.manifest("team/app", "v1") == IMAGE.manifest
        (entry,) = registry.requests()
        assert entry.headers["content-type"] == OCI_MANIFEST

    def test_answer_without_digest_is_not_confirmed(self, scripted: Scripted) -> None:
        """A registry that returns no digest has not confirmed it."""
        registry = scripted(digest_header=False)
        self.fill(registry)

        assert self.put(registry) is False

    def test_other_stored_digest_is_detected(self, scripted: Scripted) -> None:
        """A registry that stored something else is detected."""
        registry = scripted()
        answer = Reply(status=201, headers={"Docker-Content-Digest": OTHER.digest})
        registry.fault(Fault(action=answer))
        with pytest.raises(RegistryError) as caught:
            self.put(registry)

        assert caught.value.fault.code == "DIGEST_MISMATCH"

    def test_missing_content_fails_at_once(self, scripted: Scripted) -> None:
        """A manifest whose content the registry lacks fails after one attempt, with an error of its own."""
        registry = scripted()
        with pytest.raises(LackingError):
            self.put(registry)
        assert len(registry.requests()) == 1

    @pytest.mark.parametrize("kind", ["ecr", "harbor", "quay", "acr"])
    def test_immutable_tag_with_same_digest_succeeds(self, scripted: Scripted, kind: str) -> None:
        """An immutable tag with the same digest is a success."""
        registry = scripted(immutable=kind)
        registry.add("team/app", IMAGE, "v1")

        assert self.put(registry) is True

    @pytest.mark.parametrize("kind", ["ecr", "harbor", "quay", "acr"])
    def test_immutable_tag_with_other_digest_fails(self, scripted: Scripted, kind: str) -> None:
        """An immutable tag with another digest is a final failure with the reason."""
        registry = scripted(immutable=kind)
        registry.add("team/app", OTHER, "v1")
        self.fill(registry)
        with pytest.raises(RegistryError) as caught:
            self.put(registry)

        assert (caught.value.fault.code, caught.value.fault.retryable) == ("TAG_IMMUTABLE", False)
        assert OTHER.digest in caught.value.fault.words

    def test_missing_right_does_not_blame_immutable_tag(self, scripted: Scripted) -> None:
        """Without write access the error does not blame an immutable tag, although one exists."""
        registry = scripted()
        registry.add("team/app", OTHER, "v1")
        self.fill(registry)
        denied = Reply(status=403, body='{"errors":[{"code":"DENIED","message":"no push for you"}]}')
        registry.fault(Fault(action=denied, method="PUT", times=None))
        with pytest.raises(RegistryError) as caught:
            self.put(registry)

        assert caught.value.fault.code == "DENIED"
        assert OTHER.digest not in caught.value.fault.words

    def test_lost_answer_is_made_up_for(self, scripted: Scripted) -> None:
        """A PUT whose response is lost is repeated, or found to have succeeded."""
        registry = scripted()
        self.fill(registry)
        registry.fault(Fault(action=Drop(perform=True), method="PUT", times=None))

        assert self.put(registry) is True

    def test_missing_repository_fails_with_a_hint(self, scripted: Scripted) -> None:
        """A repository that has to be created first is a failure with that hint."""
        registry = scripted(create_first=True)
        with pytest.raises(RegistryError, match="create the repository"):
            self.put(registry)


class TestOpenBlob:
    def test_blob_is_requested_uncompressed(self, scripted: Scripted) -> None:
        """The bytes are requested uncompressed, and their number is known."""
        registry = scripted(gzip=True)
        registry.add_blob("team/app", BLOB)
        with client(registry).open_blob(repository(registry), DIGEST, size=len(BLOB)) as body:
            assert (body.offset, body.total) == (0, len(BLOB))
            assert b"".join(map(bytes, body)) == BLOB

    def test_complete_blob_keeps_the_connection(self, scripted: Scripted) -> None:
        """A completely read blob leaves a reusable connection, an incomplete one does not."""
        registry = scripted()
        blob = b"x" * 1_000_000
        digest = registry.add_blob("team/app", blob)
        asking, where = client(registry), repository(registry)
        with asking.open_blob(where, digest, size=len(blob)) as body:
            b"".join(map(bytes, body))
        with asking.open_blob(where, digest, size=len(blob)) as body:
            next(iter(body))
        asking.head_blob(where, DIGEST)

        first, second, third = registry.requests()
        assert first.connection == second.connection != third.connection

    def test_rest_of_a_blob_is_read(self, scripted: Scripted) -> None:
        """The rest of a blob can be read."""
        registry = scripted()
        registry.add_blob("team/app", BLOB)
        with client(registry).open_blob(repository(registry), DIGEST, size=len(BLOB), offset=100) as body:
            assert (body.offset, body.total) == (100, len(BLOB))
            assert b"".join(map(bytes, body)) == BLOB[100:]

    def test_ignored_range_is_reported(self, scripted: Scripted) -> None:
        """If a server ignores the range, the offset says so."""
        registry = scripted(ranges="ignored")
        registry.add_blob("team/app", BLOB)
        with client(registry).open_blob(repository(registry), DIGEST, size=len(BLOB), offset=100) as body:
            assert body.offset == 0

    def test_wrong_range_is_refused(self, scripted: Scripted) -> None:
        """A part that starts elsewhere is refused."""
        registry = scripted(ranges="wrong-start")
        registry.add_blob("team/app", BLOB)
        with pytest.raises(RegistryError):
            client(registry).open_blob(repository(registry), DIGEST, size=len(BLOB), offset=100)

    def test_wrong_size_is_refused(self, scripted: Scripted) -> None:
        """An answer with another size than in the manifest is refused before it is read."""
        registry = scripted()
        registry.add_blob("team/app", BLOB)
        with pytest.raises(RegistryError) as caught:
            client(registry).open_blob(repository(registry), DIGEST, size=len(BLOB) + 1)

        assert caught.value.fault.code == "SIZE_MISMATCH"

    def test_layer_with_html_content_type_and_right_size(self, scripted: Scripted) -> None:
        """A layer with the Content-Type of a web page and the right size is read: its digest decides."""
        registry = scripted()
        headers = {"Content-Type": "text/html"}
        registry.fault(Fault(action=Reply(status=200, headers=headers, body="content")))
        with client(registry).open_blob(repository(registry), DIGEST, size=7) as body:
            assert b"".join(map(bytes, body)) == b"content"

    def test_web_page_is_not_a_layer(self, scripted: Scripted) -> None:
        """A web page is not accepted as a layer."""
        registry = scripted()
        registry.fault(Fault(action=Reply(status=200, headers={"Content-Type": "text/html"}, body="<html>")))
        with pytest.raises(RegistryError, match="NOT_A_REGISTRY"):
            client(registry).open_blob(repository(registry), DIGEST, size=-1)

    @pytest.mark.parametrize("framing", ["length", "chunked"])
    def test_truncated_body_is_a_lost_connection(
        self, scripted: Scripted, framing: Literal["length", "chunked"]
    ) -> None:
        """A body that breaks off is a lost connection, not an end."""
        registry = scripted()
        registry.add_blob("team/app", BLOB)
        registry.fault(Fault(action=Drop(after=100, framing=framing), method="GET"))
        with (
            client(registry).open_blob(repository(registry), DIGEST, size=len(BLOB)) as body,
            pytest.raises(RegistryError) as caught,
        ):
            b"".join(map(bytes, body))

        assert caught.value.fault.code == "CONNECTION_LOST"
        assert caught.value.fault.retryable

    def test_dripping_body_is_aborted(self, scripted: Scripted) -> None:
        """A body that drips is aborted, although each byte arrives in time."""
        registry = scripted()
        registry.add_blob("team/app", BLOB)
        registry.fault(Fault(action=Drip(size=1, pause=0.05), method="GET"))
        impatient = replace(QUICK, timeouts=replace(QUICK.timeouts, stall=0.01))
        asking = clients(registry, settings=impatient).at(registry.address)
        with (
            asking.open_blob(repository(registry), DIGEST, size=len(BLOB)) as body,
            pytest.raises(RegistryError, match="TIMEOUT") as caught,
        ):
            b"".join(map(bytes, body))
        registry.release()

        assert (caught.value.fault.code, caught.value.fault.retryable) == ("TIMEOUT", True)

    def test_damaged_bytes_are_passed_on(self, scripted: Scripted) -> None:
        """Damaged bytes pass: the caller checks size and digest."""
        registry = scripted()
        registry.add_blob("team/app", BLOB)
        registry.fault(Fault(action=Corrupt(), method="GET"))
        with client(registry).open_blob(repository(registry), DIGEST, size=len(BLOB)) as body:
            assert b"".join(map(bytes, body)) != BLOB


def test_each_manifest_type_is_accepted_by_name(scripted: Scripted) -> None:
    """Every manifest is requested by its exact type, because distribution 2.8 answers 404 otherwise."""
    registry = scripted(strict_accept=True)
    content = json.dumps({"mediaType": "application/vnd.oci.artifact.manifest.v1+json"}).encode()
    registry.add_manifest("team/app", content, "application/vnd.oci.artifact.manifest.v1+json", ["v1"])

    assert client(registry).head_manifest(reference(registry, "v1")) is not None
