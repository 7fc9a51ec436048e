"""The conformance suite, referrers: by the API if it exists, and by the fallback tag everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.model.companions import fallback_tag
from pipeline.model.reference import Repository
from pipeline.model.referrers import Referrer
from tests.registry import content
from tests.registry.asking import ABSENT, IMAGE
from tests.registry.test_conformance_store import connect, upload_tree

if TYPE_CHECKING:
    from pipeline.registry.image_store import ImageStore
    from tests.registry.fixtures import Scripted

PATH = "team/app"
SIGNATURE = content.artifact(b"signature", kind="application/vnd.example.signature", subject=IMAGE)
SBOM = content.artifact(b"sbom", kind="application/vnd.example.sbom", subject=IMAGE)
SIGNED_SBOM = content.artifact(b"of the sbom", kind="application/vnd.example.signature", subject=SBOM)


@pytest.fixture(params=["yes", "filters"])
def address(request: pytest.FixtureRequest, scripted: Scripted) -> str:
    """The address of a registry with a referrers API, which no real one here has."""
    return scripted(referrers=request.param, referrers_page=2).address


def referrer(artifact: content.Content) -> Referrer:
    """The artifact as a list describes it."""
    return Referrer(
        media_type=artifact.media_type, digest=artifact.digest, artifact_type=artifact.artifact_type
    )


def listed(
    store: ImageStore, repository: Repository, digest: str, *, artifact_type: str = ""
) -> set[Referrer]:
    """All referrers, page after page."""
    found, page = set[Referrer](), ""
    while True:
        answer = store.referrers(repository, digest, page=page, artifact_type=artifact_type)
        assert answer is not None
        found |= set(answer.referrers)
        page = answer.next
        if not page:
            return found


def test_lists_referrers(address: str) -> None:
    """Artifacts are listed by the digest of their subject, with their type, over all pages."""
    store, repository = connect(address), Repository(address, PATH)
    for each in (IMAGE, SIGNATURE, SBOM, SIGNED_SBOM):
        upload_tree(store, repository, each, each.digest)
    more = [content.artifact(bytes([number]), subject=IMAGE) for number in range(3)]
    for each in more:
        upload_tree(store, repository, each, each.digest)

    assert set(map(referrer, (SIGNATURE, SBOM, *more))) == listed(store, repository, IMAGE.digest)
    assert {referrer(SIGNED_SBOM)} == listed(store, repository, SBOM.digest)


def test_lists_referrers_of_one_type(address: str) -> None:
    """Only artifacts of the type are listed, whether or not the registry filters."""
    store, repository = connect(address), Repository(address, PATH)
    for each in (IMAGE, SIGNATURE, SBOM):
        upload_tree(store, repository, each, each.digest)

    found = listed(store, repository, IMAGE.digest, artifact_type="application/vnd.example.sbom")

    assert {referrer(SBOM)} == found


def test_list_without_referrers_is_empty(address: str) -> None:
    """An image without referrers has an empty list, and so has a missing digest."""
    store, repository = connect(address), Repository(address, PATH)
    upload_tree(store, repository, IMAGE, "v1")

    assert set() == listed(store, repository, IMAGE.digest) == listed(store, repository, ABSENT)


def test_stores_a_referrer_before_its_subject(address: str) -> None:
    """An artifact is accepted and listed before its subject exists."""
    store, repository = connect(address), Repository(address, PATH)
    upload_tree(store, repository, SBOM, SBOM.digest)

    assert {referrer(SBOM)} == listed(store, repository, IMAGE.digest)


def test_missing_referrers_api_is_detected(open_registry: str) -> None:
    """A registry without the API is distinguished from one with an empty list; both accept artifacts."""
    store, repository = connect(open_registry), Repository(open_registry, PATH)
    upload_tree(store, repository, SBOM, SBOM.digest)

    assert store.referrers(repository, IMAGE.digest) is None


def test_reads_the_fallback_tag(open_registry: str) -> None:
    """The fallback tag's index lists the referrers; a missing tag, or one with an image, means none."""
    store, repository = connect(open_registry), Repository(open_registry, PATH)
    assert store.tagged_referrers(repository, IMAGE.digest) == ()
    upload_tree(store, repository, content.index(SIGNATURE, SBOM), fallback_tag(IMAGE.digest))
    upload_tree(store, repository, IMAGE, fallback_tag(SBOM.digest))

    assert (referrer(SIGNATURE), referrer(SBOM)) == store.tagged_referrers(repository, IMAGE.digest)
    assert store.tagged_referrers(repository, SBOM.digest) == ()
