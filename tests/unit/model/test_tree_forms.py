"""Trees: which index is written when entries are left out, and attestations."""

from __future__ import annotations

import pytest

from pipeline.errors import ManifestError
from pipeline.model.platform import parse_filter
from pipeline.model.pruning import Pruning
from pipeline.model.tree import Plan, Skip, prune
from tests.unit.model import documents as make
from tests.unit.model.trees import Read, digests, image, on, root_of, store

AMD64 = Pruning(platforms=parse_filter([], ["amd64"]))
UNKNOWN = {"os": "unknown", "architecture": "unknown"}


def test_attestations_are_dropped() -> None:
    """Dropping attestations writes a new index with the images, and keeps an entry of an unknown platform."""
    read: Read = {}
    amd, odd = on("amd64", image(read, "a")), make.entry(image(read, "o"), platform=UNKNOWN)
    attested = make.attestation(image(read, "of amd"), amd["digest"])
    root = root_of(store(read, make.index(amd, attested, odd)))

    plan = prune(root, read, Pruning(attestations="drop"))

    assert isinstance(plan, Plan)
    assert [amd["digest"], odd["digest"]] == [entry.digest for entry in plan.manifests[-1].children]
    assert 1 == plan.dropped


def test_index_of_only_attestations_is_skipped() -> None:
    """An index with only attestations is skipped if attestations are dropped."""
    read: Read = {}
    attested = make.attestation(image(read, "of amd"), make.digest_of(b"amd"))
    root = root_of(store(read, make.index(attested)))

    outcome = prune(root, read, Pruning(attestations="drop"))

    assert outcome == Skip(reason="it has nothing but attestations, and attestations are dropped")


def test_single_image_replaces_the_index() -> None:
    """The only image that is left replaces the index, even if it was below a nested one."""
    read: Read = {}
    amd, arm = on("amd64", image(read, "a")), on("arm64", image(read, "b"))
    attested = make.attestation(image(read, "of amd"), amd["digest"])
    inner = store(read, make.index(amd, attested))
    root = root_of(store(read, make.index(arm, make.entry(inner, make.OCI_INDEX))))

    plan = prune(root, read, Pruning(platforms=AMD64.platforms, index="single"))

    assert [amd["digest"]] == digests(plan)


def test_single_with_two_images_is_an_error() -> None:
    """With two images left none is picked: the error names both."""
    read: Read = {}
    root = root_of(store(read, make.index(on("amd64", image(read, "a")), on("arm64", image(read, "b")))))

    with pytest.raises(ManifestError, match=r"exactly one image.*left: linux/amd64, linux/arm64"):
        prune(root, read, Pruning(index="single"))


def test_sparse_index_keeps_the_original_bytes() -> None:
    """A sparse index is the original index, pushed with only the kept children."""
    read: Read = {}
    amd = on("amd64", image(read, "a"))
    root = root_of(store(read, make.index(amd, on("arm64", image(read, "b")))))

    plan = prune(root, read, Pruning(platforms=AMD64.platforms, index="sparse"))

    assert [amd["digest"], root] == digests(plan)
    assert isinstance(plan, Plan)
    assert (1, True) == (plan.dropped, plan.sparse)


def test_sparse_with_incomplete_nested_index_fails() -> None:
    """A nested index that would lack children fails the image, since another image may expect it complete."""
    read: Read = {}
    inner = store(read, make.index(on("amd64", image(read, "a")), on("arm64", image(read, "b"))))
    root = root_of(store(read, make.index(make.entry(inner, make.OCI_INDEX))))

    with pytest.raises(ManifestError, match="nested index"):
        prune(root, read, Pruning(platforms=AMD64.platforms, index="sparse"))


@pytest.mark.parametrize("pruning", [Pruning(index="sparse"), Pruning(attestations="keep"), AMD64])
def test_complete_index_is_pushed_unchanged(pruning: Pruning) -> None:
    """An index from which nothing is dropped is pushed as it is."""
    read: Read = {}
    root = root_of(store(read, make.index(on("amd64", image(read, "a")))))

    assert root == digests(prune(root, read, pruning))[-1]
