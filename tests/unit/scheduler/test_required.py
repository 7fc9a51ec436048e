"""Rules with tag and digest: what is read and written, and what a digest at a destination requires."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.scheduler.world import MIRROR, SOURCE, World, digest, image, rule

ONE, OTHER = image("one"), image("other")


@pytest.fixture
def world() -> World:
    """A world whose source has two images, the second without a tag."""
    world = World()
    world.push(f"{SOURCE}/a", ONE, "v1")
    world.push(f"{SOURCE}/a", OTHER)
    return world


@pytest.mark.parametrize(
    "destination", [f"{MIRROR}/a", f"{MIRROR}/a:v1", f"{MIRROR}/a:v1@{digest(OTHER)}"], ids=len
)
def test_tag_with_digest_is_written_under_its_tag(world: World, destination: str) -> None:
    """`tag@digest` is read by its digest, wherever the source's tag points, and written under its tag."""
    scheduler = world.run([rule(f"{SOURCE}/a:v1@{digest(OTHER)}", destination)])

    assert 1 == scheduler.figures.copied
    assert {"v1": digest(OTHER)} == world.store(f"{MIRROR}/a").tags


def test_digest_destination_gets_no_tag(world: World) -> None:
    """A destination that names only the digest gets it without a tag."""
    world.run([rule(f"{SOURCE}/a:v1@{digest(ONE)}", f"{MIRROR}/a@{digest(ONE)}")])

    assert {} == world.store(f"{MIRROR}/a").tags
    assert digest(ONE) in world.store(f"{MIRROR}/a").manifests


@pytest.mark.parametrize("there", [None, ONE, OTHER], ids=["new", "the source's", "the required one"])
@pytest.mark.parametrize("retries", [0, 2])
def test_missing_required_digest_fails_the_image(there: bytes | None, retries: int) -> None:
    """If the source lacks the digest that the rule requires, the image fails without a write."""
    world = World(retries=retries)
    world.push(f"{SOURCE}/a", ONE, "v1")
    if there:
        world.push(f"{MIRROR}/a", there, "v1")

    scheduler = world.run([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a:v1@{digest(OTHER)}")])

    (row,) = world.facts.rows.values()
    assert (1, "DIGEST_CHANGED", "source") == (scheduler.figures.failed, row.code, row.side)
    assert digest(ONE) in row.fault
    assert 0 == world.requests["PUT"]


def test_required_digest_overrides_the_records(world: World) -> None:
    """An image from an earlier run under the tag is replaced if a rule now requires the source's digest."""
    world.run([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")], "first")
    world.push(f"{MIRROR}/a", OTHER, "v1")
    (row,) = world.facts.rows.values()
    world.facts.write(replace(row, destination_digest=digest(OTHER)))

    world.run([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a:v1@{digest(ONE)}")], "second")

    assert {"v1": digest(ONE)} == world.store(f"{MIRROR}/a").tags


def test_unfinished_image_names_its_required_digest(world: World) -> None:
    """An unfinished image is listed with the digest that its destination requires."""
    scheduler = world.scheduler([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a:v2@{digest(ONE)}")])

    assert [(f"{SOURCE}/a:v1", f"{MIRROR}/a:v2@{digest(ONE)}", 0)] == scheduler.unfinished
