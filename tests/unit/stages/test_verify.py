"""The results of a verification for one blob and one manifest."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import RegistryError
from pipeline.model.manifest import Descriptor
from pipeline.model.messages import CopyBlob, PushManifest
from pipeline.model.reference import Reference
from pipeline.registry.clients import Clients
from pipeline.stages import verify
from pipeline.stages.context import StageContext
from pipeline.stages.parallel import ParallelRequests
from tests.registry.content import OCI_MANIFEST, digest_of, image, layer
from tests.registry.faults import Corrupt, Drop, Fault
from tests.unit.registry.asking import ANONYMOUS, QUICK, repository

if TYPE_CHECKING:
    from tests.registry.fixtures import Scripted
    from tests.registry.registry import Registry

BLOB = layer("blob", size=50_000)
MADE = image(layer("one"))


def context(*, deep: bool = False) -> StageContext:
    """The context of a worker."""
    settings = replace(QUICK, aim="verify", deep=deep)
    return StageContext(
        stores=Clients(settings, lambda _: ANONYMOUS),
        settings=settings,
        parallel=ParallelRequests(),
        on_progress=lambda _: None,
        on_checkpoint=lambda _: None,
    )


def blob_at(source: Registry, mirror: Registry, *, size: int = len(BLOB)) -> CopyBlob:
    """The task that checks a blob at the mirror."""
    return CopyBlob(
        source=repository(source),
        blob=Descriptor(media_type="m", digest=digest_of(BLOB), size=size),
        destination=repository(mirror, "copy/app"),
        ask=True,
    )


def complaint(task: CopyBlob | PushManifest, *, deep: bool = False) -> tuple[str, str]:
    """Side and code of the fault, or empty."""
    try:
        if isinstance(task, CopyBlob):
            verify.copy_blob(task, context(deep=deep))
        else:
            verify.push_manifest(task, context(deep=deep))
    except RegistryError as error:
        return error.fault.side, error.fault.code
    return "", ""


@pytest.mark.parametrize(("deep", "asked"), [(False, ["HEAD"]), (True, ["GET"])])
def test_cost_of_a_present_blob(scripted: Scripted, deep: bool, asked: list[str]) -> None:  # noqa: FBT001 - pytest hands it over
    """A present blob costs one request, a full read with --deep, and none at the source."""
    source, mirror = scripted(), scripted()
    mirror.add_blob("copy/app", BLOB)

    assert complaint(blob_at(source, mirror), deep=deep) == ("", "")

    assert [entry.method for entry in mirror.requests()] == asked
    assert source.requests() == []


@pytest.mark.parametrize("deep", [False, True])
def test_missing_blob_is_reported(scripted: Scripted, deep: bool) -> None:  # noqa: FBT001 - pytest hands it over
    """A missing blob is unknown at the destination."""
    assert complaint(blob_at(scripted(), scripted()), deep=deep) == ("destination", "BLOB_UNKNOWN")


@pytest.mark.parametrize("deep", [False, True])
def test_blob_of_another_size_is_reported(scripted: Scripted, deep: bool) -> None:  # noqa: FBT001 - pytest hands it over
    """A blob with another size than in the manifest is reported."""
    source, mirror = scripted(), scripted()
    mirror.add_blob("copy/app", BLOB)

    assert complaint(blob_at(source, mirror, size=7), deep=deep) == ("destination", "SIZE_MISMATCH")


def test_wrong_bytes_are_reported_after_two_reads(scripted: Scripted) -> None:
    """Bytes with a wrong digest are read twice and reported."""
    source, mirror = scripted(), scripted()
    mirror.add_blob("copy/app", BLOB)
    mirror.fault(Fault(action=Corrupt(offset=9), method="GET", path="/blobs/", times=None))

    assert complaint(blob_at(source, mirror), deep=True) == ("destination", "DIGEST_MISMATCH")
    assert len(mirror.requests(method="GET")) == 2


def test_bytes_damaged_once_are_accepted(scripted: Scripted) -> None:
    """Bytes that were damaged in transit are read again and accepted."""
    source, mirror = scripted(), scripted()
    mirror.add_blob("copy/app", BLOB)
    mirror.fault(Fault(action=Corrupt(offset=9), method="GET", path="/blobs/"))

    assert complaint(blob_at(source, mirror), deep=True) == ("", "")


def test_broken_body_is_resumed(scripted: Scripted) -> None:
    """A body that breaks off resumes where it broke."""
    source, mirror = scripted(), scripted()
    mirror.add_blob("copy/app", BLOB)
    mirror.fault(Fault(action=Drop(after=20_000), method="GET", path="/blobs/"))

    assert complaint(blob_at(source, mirror), deep=True) == ("", "")


@pytest.mark.parametrize("at_source", [False, True])
def test_foreign_layer_may_be_missing_on_both_sides(scripted: Scripted, at_source: bool) -> None:  # noqa: FBT001 - pytest hands it over
    """A layer with urls may be missing only if the source lacks it too."""
    source, mirror = scripted(), scripted()
    if at_source:
        source.add_blob(repository(source).path, BLOB)
    task = blob_at(source, mirror)
    task = replace(task, blob=replace(task.blob, has_urls=True))

    assert complaint(task) == (("destination", "BLOB_UNKNOWN") if at_source else ("", ""))


def manifest_at(mirror: Registry, name: str) -> PushManifest:
    """A task that checks whether a name points to the manifest."""
    return PushManifest(
        destination=Reference(repository(mirror, "copy/app"), name),
        media_type=MADE.media_type,
        digest=MADE.digest,
        content=MADE.manifest,
    )


@pytest.mark.parametrize(("deep", "asked"), [(False, ["HEAD"]), (True, ["GET"])])
def test_cost_of_a_present_manifest(scripted: Scripted, deep: bool, asked: list[str]) -> None:  # noqa: FBT001 - pytest hands it over
    """A present manifest costs one request, which with --deep reads it."""
    mirror = scripted()
    mirror.add("copy/app", MADE, "v1")

    assert complaint(manifest_at(mirror, MADE.digest), deep=deep) == ("", "")
    assert [entry.method for entry in mirror.requests()] == asked


@pytest.mark.parametrize("deep", [False, True])
def test_missing_manifest_is_reported(scripted: Scripted, deep: bool) -> None:  # noqa: FBT001 - pytest hands it over
    """A missing manifest is unknown at the destination."""
    assert complaint(manifest_at(scripted(), "v1"), deep=deep) == ("destination", "MANIFEST_UNKNOWN")


@pytest.mark.parametrize("deep", [False, True])
def test_moved_tag_is_reported(scripted: Scripted, deep: bool) -> None:  # noqa: FBT001 - pytest hands it over
    """A tag that names another manifest is found."""
    mirror = scripted()
    mirror.add("copy/app", image(layer("two")), "v1")

    assert complaint(manifest_at(mirror, "v1"), deep=deep) == ("destination", "DIGEST_MISMATCH")


def test_wrong_manifest_bytes_are_found_with_deep(scripted: Scripted) -> None:
    """A manifest with content that does not match its digest is found with --deep only."""
    mirror = scripted()
    mirror.add_manifest("copy/app", MADE.manifest + b" ", OCI_MANIFEST, digest=MADE.digest)
    task = manifest_at(mirror, MADE.digest)

    assert complaint(task) == ("", "")
    assert complaint(task, deep=True) == ("destination", "DIGEST_MISMATCH")


def test_only_read_access_is_requested(scripted: Scripted) -> None:
    """The token only allows reading, since the user may not have any other."""
    source, mirror = scripted(), scripted(auth="token")
    mirror.add_blob("copy/app", BLOB)

    complaint(blob_at(source, mirror))

    scopes = [entry.query for entry in mirror.requests() if "scope" in entry.query]
    assert scopes
    assert not any("push" in query for query in scopes)
