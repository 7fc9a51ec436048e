"""Indexes whose entries are blobs, as BuildKit exports its caches."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.model.platform import parse_filter
from tests.unit.scheduler.world import MIRROR, OCI_INDEX, SOURCE, World, blob, digest, image, rule


def listing(*entries: dict[str, Any]) -> bytes:
    """An index of these entries."""
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()


def named(content: bytes) -> dict[str, Any]:
    """The index entry of a manifest."""
    return {"mediaType": json.loads(content)["mediaType"], "digest": digest(content), "size": len(content)}


CACHE = listing(blob("layer"), blob("config") | {"mediaType": "application/vnd.buildkit.cacheconfig.v0"})
CASES = {"a cache": (CACHE, ()), "a cache in an index": (listing(named(CACHE)), (CACHE,))}
CASES["a manifest beside a blob"] = (listing(named(image("one")), blob("beside")), (image("one"),))
RULES = [rule(f"{SOURCE}/a:cache", f"{MIRROR}/a")]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("arch", [[], ["amd64"]])
def test_blob_entries_are_copied(case: str, arch: list[str]) -> None:
    """Each entry that is not a manifest is copied as a blob, also in a nested index, with any filter."""
    world = World(retries=0)
    content, children = CASES[case]
    world.push(f"{SOURCE}/a", content, "cache", children=children)
    world.filter = parse_filter([], arch)

    scheduler = world.run(RULES)

    assert (1, []) == (scheduler.figures.copied, world.early_puts)
    assert world.complete(f"{MIRROR}/a", "cache")
    assert {"cache": digest(content)} == world.store(f"{MIRROR}/a").tags


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("lost", ["layer", "beside"])
def test_missing_blob_under_an_equal_tag_is_copied(case: str, lost: str) -> None:
    """If the destination has the same index but lacks a blob of it, the blob is copied."""
    world = World(retries=0)
    content, children = CASES[case]
    for place in (SOURCE, MIRROR):
        world.push(f"{place}/a", content, "cache", children=children)
    world.store(f"{MIRROR}/a").blobs.discard(digest(lost.encode()))

    world.run(RULES, "first")

    assert world.complete(f"{MIRROR}/a", "cache")
    world.requests.clear()
    scheduler = world.run(RULES, "second")
    assert (1, {"HEAD": 2}) == (scheduler.figures.unchanged, dict(world.requests))


@pytest.mark.parametrize("case", CASES)
def test_verification_finds_a_missing_blob_entry(case: str) -> None:
    """A verification fails an index whose destination lacks a blob that it lists."""
    world = World(retries=0, aim="verify")
    content, children = CASES[case]
    for place in (SOURCE, MIRROR):
        world.push(f"{place}/a", content, "cache", children=children)
    assert 1 == world.run(RULES, "first").figures.unchanged

    lost = "beside" if "beside" in case else "layer"
    world.fail(f"move {MIRROR}/a@{digest(lost.encode())}")

    assert 1 == world.run(RULES, "second").figures.failed
