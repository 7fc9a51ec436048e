"""Tags that list companions of an image: the destination's entries are merged, never lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.scheduler.world import MIRROR, SOURCE, World, blob, digest, image, index, manifest, rule

LIST = f"sha256-{'a' * 64}"
OTHER = "other.example.org"


def signatures(*names: str) -> bytes:
    """Signatures of one payload, as cosign stores them: they differ only in an annotation."""
    document = json.loads(image(*(["payload"] * len(names)), salt=" ".join(names)))
    for layer, name in zip(document["layers"], names, strict=True):
        layer["annotations"] = {"dev.cosignproject.cosign/signature": name}
    return json.dumps(document).encode()


def listed(world: World, tag: str, place: str = f"{MIRROR}/a") -> list[str]:
    """The entries of the tag at the destination: digests, or signatures."""
    store = world.store(place)
    found: dict[str, Any] = json.loads(store.manifests[store.tags[tag]])
    if tag == LIST:
        return sorted(entry["digest"] for entry in found["manifests"])
    return [layer["annotations"]["dev.cosignproject.cosign/signature"] for layer in found["layers"]]


def pushed(world: World, place: str, *names: str, tag: str = LIST) -> str:
    """Let a repository list referrers, or signatures, of these names."""
    if tag != LIST:
        return world.push(place, signatures(*names), tag)
    children = [image(name) for name in names]
    return world.push(place, index(*children), tag, children=children)


def digests(*names: str) -> list[str]:
    """The digests of the referrers of these names."""
    return sorted(digest(image(name)) for name in names)


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("run", [f"{SOURCE}/a", f"{SOURCE}/a:{LIST}"], ids=["every tag", "named"])
def test_referrers_of_both_sides_are_merged(run: str, force: bool) -> None:  # noqa: FBT001 - pytest's
    """A fallback tag lists the referrers of both sides; a second run asks for two digests."""
    world = World(retries=0, force=force)
    own = pushed(world, f"{SOURCE}/a", "upstream", "both")
    pushed(world, f"{MIRROR}/a", "local", "both")

    scheduler = world.run([rule(run, f"{MIRROR}/a")], "first")

    assert (1, []) == (scheduler.figures.copied, world.early_puts)
    assert digests("local", "both", "upstream") == listed(world, LIST)
    assert world.complete(f"{MIRROR}/a", LIST)
    assert own != world.store(f"{MIRROR}/a").tags[LIST]
    world.requests.clear()
    if not force:
        scheduler = world.run([rule(run, f"{MIRROR}/a")], "second")
        assert (1, 2) == (scheduler.figures.unchanged, world.requests["HEAD"])
        assert 0 == world.requests["GET"] + world.requests["PUT"]


def test_signatures_of_both_sides_are_merged() -> None:
    """A tag of cosign has the source's signatures, then the destination's own, even for one payload."""
    world = World(retries=0)
    pushed(world, f"{SOURCE}/a", "upstream", tag=f"{LIST}.sig")
    pushed(world, f"{MIRROR}/a", "local", tag=f"{LIST}.sig")

    scheduler = world.run([rule(f"{SOURCE}/a", f"{MIRROR}/a")])

    assert 1 == scheduler.figures.copied
    assert ["upstream", "local"] == listed(world, f"{LIST}.sig")
    assert world.complete(f"{MIRROR}/a", f"{LIST}.sig")


def test_destination_layers_are_not_copied() -> None:
    """A layer that only the destination's tag has counts as present, and is not mounted from the source."""
    world = World(retries=0)
    world.push(f"{MIRROR}/from", image("upstream"), f"{LIST}.att")
    world.push(f"{MIRROR}/a", image("local"), f"{LIST}.att")

    scheduler = world.run([rule(f"{MIRROR}/from", f"{MIRROR}/a")])

    assert 1 == scheduler.figures.copied
    store = world.store(f"{MIRROR}/a")
    layers = manifest(store.manifests[store.tags[f"{LIST}.att"]]).blobs[1:]
    assert [blob("upstream")["digest"], blob("local")["digest"]] == [layer.digest for layer in layers]


@pytest.mark.parametrize("tag", [LIST, f"{LIST}.sig"])
@pytest.mark.parametrize("aim", ["copy", "verify"])
def test_destination_with_all_source_entries_is_unchanged(tag: str, aim: str) -> None:
    """A destination that lists everything from the source, and more, is unchanged and complete."""
    world = World(retries=0, aim=aim)
    pushed(world, f"{SOURCE}/a", "upstream", tag=tag)
    there = pushed(world, f"{MIRROR}/a", "local", "upstream", tag=tag)

    scheduler = world.run([rule(f"{SOURCE}/a", f"{MIRROR}/a")])

    assert (1, 0) == (scheduler.figures.unchanged, world.requests["PUT"])
    assert there == world.store(f"{MIRROR}/a").tags[tag]


@pytest.mark.parametrize("tag", [LIST, f"{LIST}.sig"])
def test_complete_source_list_is_copied_unchanged(tag: str) -> None:
    """A source that lists everything from the destination, and more, is copied byte for byte."""
    world = World(retries=0)
    own = pushed(world, f"{SOURCE}/a", "local", "upstream", tag=tag)
    pushed(world, f"{MIRROR}/a", "local", tag=tag)

    world.run([rule(f"{SOURCE}/a", f"{MIRROR}/a")])

    assert own == world.store(f"{MIRROR}/a").tags[tag]


def test_verification_finds_missing_entries() -> None:
    """A verification fails a tag that does not list every entry of the source's."""
    world = World(retries=0, aim="verify")
    pushed(world, f"{SOURCE}/a", "upstream", "both")
    pushed(world, f"{MIRROR}/a", "both", "local")
    world.push(f"{MIRROR}/a", image("upstream"))

    world.run([rule(f"{SOURCE}/a", f"{MIRROR}/a")])

    (row,) = world.facts.rows.values()
    assert ("failed", "DIGEST_MISMATCH") == (row.result, row.code)
    assert "lacks entries" in row.fault


@pytest.mark.parametrize("retries", [0, 2])
@pytest.mark.parametrize("pick", [0, -1], ids=["first", "last"])
def test_sources_of_one_tag_take_turns(retries: int, pick: int) -> None:
    """Sources that write one tag take turns, and finally it lists the entries of all."""
    world = World(retries=retries)
    for place, name in ((SOURCE, "one"), (OTHER, "two"), (MIRROR, "three")):
        pushed(world, f"{place}/{name}", name)
    pushed(world, f"{MIRROR}/a", "local")
    world.fail(f"read {OTHER}", retryable=True, side="source")
    sources = (f"{SOURCE}/one", f"{OTHER}/two", f"{MIRROR}/three")

    scheduler = world.run(
        [rule(source, f"{MIRROR}/a", number=n) for n, source in enumerate(sources)],
        pick=lambda count: pick % count,
    )

    names = ("one", "two", "three", "local") if retries else ("one", "three", "local")
    assert digests(*names) == listed(world, LIST)
    assert (3 if retries else 2) == scheduler.figures.copied


def test_image_under_a_list_tag_is_kept() -> None:
    """An image under the tag of the destination's list fails with its own code, and the list stays."""
    world = World(retries=0)
    world.push(f"{SOURCE}/a", image("ordinary"), LIST)
    there = pushed(world, f"{MIRROR}/a", "local")

    world.run([rule(f"{SOURCE}/a", f"{MIRROR}/a")])

    (row,) = world.facts.rows.values()
    assert ("failed", "NOT_JOINED") == (row.result, row.code)
    assert there == world.store(f"{MIRROR}/a").tags[LIST]


def test_unreadable_list_is_kept() -> None:
    """If the destination's list cannot be read, the image fails, and the list stays."""
    world = World(retries=0)
    pushed(world, f"{SOURCE}/a", "upstream")
    there = pushed(world, f"{MIRROR}/a", "local")
    world.fail(f"read {MIRROR}", side="destination")

    scheduler = world.run([rule(f"{SOURCE}/a", f"{MIRROR}/a")])

    assert 1 == scheduler.figures.failed
    assert there == world.store(f"{MIRROR}/a").tags[LIST]


def test_ordinary_images_under_such_a_tag_are_replaced() -> None:
    """Images that only happen to have such a tag are replaced, and the first rule wins."""
    world = World(retries=0)
    own = world.push(f"{SOURCE}/a", image("new"), LIST)
    world.push(f"{OTHER}/a", image("rival"), LIST)
    world.push(f"{MIRROR}/a", image("old"), LIST)

    scheduler = world.run([rule(f"{SOURCE}/a", f"{MIRROR}/a"), rule(f"{OTHER}/a", f"{MIRROR}/a", number=1)])

    assert (1, 1) == (scheduler.figures.copied, scheduler.figures.failed)
    assert ["TAG_CONFLICT"] == [row.code for row in world.facts.rows.values() if row.code]
    assert own == world.store(f"{MIRROR}/a").tags[LIST]
