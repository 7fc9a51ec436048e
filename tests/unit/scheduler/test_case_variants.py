"""Tags that differ only in case: a warning and a read-back, since a registry may treat them as equal."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.model.messages import HeadManifests, ManifestHead, ManifestsHeaded, Task
from tests.unit.scheduler.world import MIRROR, SOURCE, World, digest, image, rule

RULES = [rule(f"{SOURCE}/a", f"{MIRROR}/a")]


def make(*tags: str, **settings: Any) -> World:
    """A world whose source has an image of its own under each tag."""
    world = World(**settings)
    for tag in tags:
        world.push(f"{SOURCE}/a", image(tag), tag)
    return world


def read_back(world: World) -> list[str]:
    """The destination tags that were read back."""
    return [
        str(task.destinations[0])
        for task in world.done
        if isinstance(task, HeadManifests) and not task.source
    ]


@pytest.mark.parametrize("tags", [("V1", "v1"), ("v1.RC", "v1.rc", "v1.Rc", "other")])
@pytest.mark.parametrize("is_one_rule", [True, False])
def test_case_variants_are_read_back_once(tags: tuple[str, ...], *, is_one_rule: bool) -> None:
    """Each of them is read back once when all images are finished, with one warning."""
    world = make(*tags)
    each = [rule(f"{SOURCE}/a:{tag}", f"{MIRROR}/a", number=n) for n, tag in enumerate(tags)]

    scheduler = world.run(RULES if is_one_rule else each)

    assert (len(tags), 0) == (scheduler.figures.copied, scheduler.figures.failed)
    wanted = sorted(f"{MIRROR}/a:{tag}" for tag in tags if tag != "other")
    assert wanted == sorted(read_back(world))
    assert all(isinstance(task, HeadManifests) for task in world.done[-len(wanted) :])


def test_warning_names_both_tags() -> None:
    """The warning names the repository and both tags."""
    world = make("V1", "v1")
    scheduler = world.scheduler(RULES)
    world.go(scheduler)

    (warning,) = [event for event in scheduler.events() if event.name == "tags.twins"]

    assert {"destination": f"{MIRROR}/a", "twins": "v1, V1"} == warning.fields


def test_case_insensitive_registry_fails_one_image() -> None:
    """An image whose tag ends up with another digest fails with a code of its own; the other succeeds."""
    world = make("V1", "v1", retries=2)
    scheduler = world.scheduler(RULES)

    def answer(task: Task) -> object:
        outcome = world.answer(task)
        if isinstance(task, HeadManifests) and not task.source and not task.destinations[0].is_digest:
            return ManifestsHeaded(
                key=task.key, source=None, destinations=(ManifestHead(digest=digest(image("v1"))),)
            )
        return outcome

    world.go(scheduler, answer=answer)  # type: ignore[arg-type]  # an Outcome

    assert (1, 1, 2) == (scheduler.figures.copied, scheduler.figures.failed, scheduler.figures.known)
    failed = [row for row in world.facts.rows.values() if row.result == "failed"]
    assert [(f"{MIRROR}/a:V1", "TAG_OVERWRITTEN")] == [(row.destination, row.code) for row in failed]
    assert scheduler.finished


def test_failed_read_back_fails_the_image() -> None:
    """If the read-back fails, the image fails, since its content is unknown."""
    world = make("V1", "v1", retries=1)
    world.fail(f"look  -> {MIRROR}/a:V1", retryable=True)

    scheduler = world.run(RULES)

    assert (1, 1) == (scheduler.figures.copied, scheduler.figures.failed)


@pytest.mark.parametrize("aim", ["plan", "verify", "copy"])
def test_no_read_back_if_nothing_was_stored(aim: str) -> None:
    """If this run has stored none of them, no further requests are made."""
    world = make("V1", "v1", aim=aim)
    for tag in ("V1", "v1"):
        world.push(f"{MIRROR}/a", image(tag), tag)

    scheduler = world.run(RULES)

    assert 2 == scheduler.figures.unchanged
    assert [] == read_back(world)


def test_stopped_before_the_read_back_is_unfinished() -> None:
    """A run that is stopped before the read-back is not finished."""
    world = make("V1", "v1")
    scheduler = world.scheduler(RULES)
    running: list[Task] = []
    while len(scheduler.unfinished) or not scheduler.figures.known:
        running += world.take_all(scheduler)
        scheduler.settle(world.answer(running.pop(0)), world.now)

    scheduler.drain(world.now)

    assert scheduler.done
    assert not scheduler.finished
