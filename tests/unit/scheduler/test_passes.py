"""The scheduler step by step: claims, retries and passes, pauses, stopping, memory."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pipeline.model.messages import CopyBlob, HeadManifests, TagsListed
from pipeline.scheduler import tag_pages
from pipeline.scheduler.adaptive_limit import FIRST
from pipeline.settings import Limits
from tests.unit.scheduler.world import MIRROR, SOURCE, World, digest, image, rule

if TYPE_CHECKING:
    import pytest

    from pipeline.model.messages import Outcome, Task


def test_first_rule_wins_a_destination_tag() -> None:
    """The first rule in the file wins a destination tag; the other image fails with both lines."""
    world = World()
    world.push(f"{SOURCE}/a", image("one"), "v1")
    world.push(f"{SOURCE}/b", image("two"), "v1")

    scheduler = world.run(
        [rule(f"{SOURCE}/a:v1", f"{MIRROR}/x"), rule(f"{SOURCE}/b:v1", f"{MIRROR}/x", number=1)]
    )

    assert (1, 1) == (scheduler.figures.copied, scheduler.figures.failed)
    assert digest(image("one")) == world.store(f"{MIRROR}/x").tags["v1"]
    row = world.facts.image(f"{SOURCE}/b:v1", f"{MIRROR}/x:v1", "")
    assert row is not None
    assert "line 2 and line 1" in row.fault


def test_equal_digests_do_not_conflict() -> None:
    """Two sources for one destination tag do not conflict if their digests are equal."""
    world = World()
    world.push(f"{SOURCE}/a", image("one"), "v1")
    world.push(f"{SOURCE}/b", image("one"), "v1")

    scheduler = world.run(
        [rule(f"{SOURCE}/a:v1", f"{MIRROR}/x"), rule(f"{SOURCE}/b:v1", f"{MIRROR}/x", number=1)]
    )

    assert (1, 1, 0) == (scheduler.figures.copied, scheduler.figures.unchanged, scheduler.figures.failed)


def test_same_pair_twice_is_one_image() -> None:
    """Two rules that give the same pair are one image."""
    world = World()
    world.push(f"{SOURCE}/a", image("one"), "v1", "v2")

    scheduler = world.run(
        [rule(f"{SOURCE}/a", f"{MIRROR}/a"), rule(f"{SOURCE}/a:v1", f"{MIRROR}/a", number=1)]
    )

    assert (2, 2) == (scheduler.figures.known, scheduler.figures.copied)


def test_failed_image_is_retried_in_the_next_pass() -> None:
    """A failed image that may succeed is retried in the next pass, and counts once."""
    world = World()
    world.push(f"{SOURCE}/a", image("one"), "v1", "v2")
    world.fail("look", side="source", status=500, retryable=True)

    scheduler = world.run([rule(f"{SOURCE}/a", f"{MIRROR}/a")])

    assert (2, 2, 0, 0) == (
        scheduler.figures.known,
        scheduler.figures.copied,
        scheduler.figures.failed,
        scheduler.figures.to_retry,
    )


def test_permanent_failure_is_not_retried() -> None:
    """An image that cannot succeed is tried once, whatever --retries is."""
    world = World(retries=5)
    world.push(f"{SOURCE}/a", image("one"), "v1")

    scheduler = world.run([rule(f"{SOURCE}/a:nope,v1", f"{MIRROR}/a")])

    assert (1, 1) == (scheduler.figures.copied, scheduler.figures.failed)
    assert 1 == sum(task.key.startswith(f"look {SOURCE}/a:nope") for task in world.done)


def test_retries_end() -> None:
    """With --retries 2 an image fails after three attempts."""
    world = World(retries=2)
    world.push(f"{SOURCE}/a", image("one"), "v1")
    world.fail("look", side="source", status=500, retryable=True, times=9)

    scheduler = world.run([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")])

    assert 1 == scheduler.figures.failed
    assert 3 == len(world.done)


def test_failed_image_drops_its_queued_blobs() -> None:
    """When one blob fails, the queued copies of the image's other blobs are dropped."""
    world = World(limits=Limits(requests=1))
    layers = [f"layer {number}" for number in range(20)]
    world.push(f"{SOURCE}/a", image(*layers), "v1")
    world.store(f"{SOURCE}/a").blobs.discard(digest(b"layer 0"))

    scheduler = world.run([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")])

    assert 1 == scheduler.figures.failed
    assert sum(isinstance(task, CopyBlob) for task in world.done) <= 3


def test_task_that_kills_its_worker() -> None:
    """A task that killed two workers runs alone, and fails if its worker dies again; others continue."""
    world = World()
    world.push(f"{SOURCE}/a", image("one"), "v1", "v2")
    bad = f"look {SOURCE}/a:v1"
    world.lose(bad, times=2)
    world.lose(bad, alone=True)

    scheduler = world.run([rule(f"{SOURCE}/a", f"{MIRROR}/a")])

    assert (1, 1) == (scheduler.figures.copied, scheduler.figures.failed)


def test_throttled_registry_gets_no_requests() -> None:
    """A 429 is not counted as an attempt, and its registry gets no requests until its pause is over."""
    world = World(retries=0)
    world.push(f"{SOURCE}/a", image("one"), "v1")
    world.throttle("look", SOURCE, delay=30, times=4)

    scheduler = world.run([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")])

    assert 1 == scheduler.figures.copied
    assert 120 <= world.now


def test_registry_is_unavailable_after_patience() -> None:
    """A registry that accepts nothing for --patience is unavailable, and its images fail."""
    world = World(retries=0, patience=100.0)
    world.push(f"{SOURCE}/a", image("one"), "v1", "v2")
    world.throttle("look", SOURCE, delay=30, times=100)

    scheduler = world.run([rule(f"{SOURCE}/a:v1,v2", f"{MIRROR}/a")])

    assert 2 == scheduler.figures.failed
    assert world.now < 200


def test_push_back_halves_concurrency() -> None:
    """A registry that pushes back gets half as many requests at a time, and more again when they succeed."""
    world = World(retries=0, limits=Limits(requests=8))
    world.push(f"{SOURCE}/a", image("one"), *(f"v{number}" for number in range(90)))
    world.throttle("look", SOURCE, delay=1)
    scheduler = world.scheduler([rule(f"{SOURCE}/a:{','.join(f'v{n}' for n in range(90))}", f"{MIRROR}/a")])
    most = []

    tasks = world.take_all(scheduler)
    most.append(len(tasks))
    scheduler.settle(world.answer(tasks.pop()), world.now)
    for task in tasks:
        scheduler.settle(world.answer(task), world.now)
    world.now += 1
    tasks = world.take_all(scheduler)
    most.append(sum(isinstance(task, HeadManifests) for task in tasks))
    while not scheduler.done:
        world.now += 0.1
        scheduler.settle(world.answer(tasks.pop(0)), world.now)
        tasks += world.take_all(scheduler)
        most.append(sum(isinstance(task, HeadManifests) for task in tasks))

    assert FIRST == most[0]
    assert most[1] <= FIRST / 2
    assert 8 == max(most[2:])
    assert 90 == scheduler.figures.copied


def test_vanished_registry_is_waited_for() -> None:
    """A registry that answered before and becomes unreachable is tried again later, and no image fails."""
    world = World(retries=0)
    world.push(f"{SOURCE}/a", image("one"), "v1", "v2")
    world.fail(
        f"move {MIRROR}/a", side="destination", registry=MIRROR, code="UNREACHABLE", retryable=True, times=3
    )

    scheduler = world.run([rule(f"{SOURCE}/a:v1,v2", f"{MIRROR}/a")])

    assert 2 == scheduler.figures.copied
    assert 30 <= world.now


def test_unreachable_registry_fails_fast() -> None:
    """A registry that was never reached is unavailable for the pass, so nothing waits for the same fault."""
    world = World(retries=1, limits=Limits(requests=2))
    world.push(f"{SOURCE}/a", image("one"), *(f"v{number}" for number in range(50)))
    world.fail("look", side="source", registry=SOURCE, code="UNREACHABLE", retryable=True, times=999)
    tags = ",".join(f"v{number}" for number in range(50))

    scheduler = world.run([rule(f"{SOURCE}/a:{tags}", f"{MIRROR}/a")])

    assert 50 == scheduler.figures.failed
    assert len(world.done) <= 8


def test_destinations_elsewhere_do_not_wait() -> None:
    """A destination registry that pauses or is down does not delay other destinations of the source."""
    world = World(retries=0)
    world.push(f"{SOURCE}/a", image("one"), "v1")
    world.throttle("look", "slow.example.net", delay=50)
    world.fail("down.example.net", registry="down.example.net", code="UNREACHABLE", times=9)
    targets = (f"{MIRROR}/a", "slow.example.net/a", "down.example.net/a")

    scheduler = world.run([rule(f"{SOURCE}/a:v1", *targets)])

    assert (2, 1) == (scheduler.figures.copied, scheduler.figures.failed)
    history = scheduler.history(f"{SOURCE}/a:v1 -> {MIRROR}/a:v1")
    assert history[-1].endswith("0.000 image.done")


def test_retried_rule_keeps_its_claim() -> None:
    """A rule that failed to expand and is retried keeps its claim on the destination tag."""
    world = World()
    world.push(f"{SOURCE}/a", image("one"), "v1")
    world.push(f"{SOURCE}/b", image("two"), "v1")
    world.fail(f"expand {SOURCE}/a", side="source", status=500, retryable=True)

    scheduler = world.run([rule(f"{SOURCE}/a", f"{MIRROR}/x"), rule(f"{SOURCE}/b", f"{MIRROR}/x", number=1)])

    assert digest(image("one")) == world.store(f"{MIRROR}/x").tags["v1"]
    assert (1, 1) == (scheduler.figures.copied, scheduler.figures.failed)


def test_looping_list_fails_the_rule() -> None:
    """A tag list whose link leads back fails the rule; the tags before it are copied."""
    world = World()
    world.push(f"{SOURCE}/a", image("one"), "v1", "v2")
    pages = iter([(("v1",), "x"), (("v2",), "y"), (("v1",), "x")])

    def page(task: Task) -> Outcome:
        tags, link = next(pages)
        return TagsListed(key=task.key, tags=tags, next=link)

    world.script[f"expand {SOURCE}/a"] += [page] * 3

    scheduler = world.run([rule(f"{SOURCE}/a", f"{MIRROR}/a")])

    assert 1 == scheduler.figures.rules_failed
    assert 2 == scheduler.figures.copied


def test_endless_list_fails_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tag list with endless new pages fails the rule after a limited number of them."""
    monkeypatch.setattr(tag_pages, "MAX_PAGES", 5)
    world = World()
    world.push(f"{SOURCE}/a", image("one"), *(f"v{number}" for number in range(50)))
    world.page_size = 1

    scheduler = world.run([rule(f"{SOURCE}/a", f"{MIRROR}/a")])

    assert 1 == scheduler.figures.rules_failed
    assert 6 == scheduler.figures.copied


def test_only_complete_images_are_pushed_while_stopping() -> None:
    """While the run is stopping, only pushes of images with all their blobs are given out."""
    world = World()
    world.push(f"{SOURCE}/a", image("one"), "v1")
    scheduler = world.scheduler([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")])
    tasks = world.take_all(scheduler)
    while sum(isinstance(task, CopyBlob) for task in tasks) < 2:
        scheduler.settle(world.answer(tasks.pop(0)), world.now)
        tasks += world.take_all(scheduler)

    scheduler.drain(world.now)
    for task in tasks:
        scheduler.settle(world.answer(task), world.now)
    world.go(scheduler)

    assert world.complete(f"{MIRROR}/a", "v1")
    assert scheduler.done


def test_memory_does_not_depend_on_tags() -> None:
    """After a rule with 3,000 tags every ledger is empty, and none ever exceeded the window."""
    world = World(limits=Limits(window_images=16))
    content = image("one")
    world.push(f"{SOURCE}/a", content, *(f"v{number}" for number in range(3_000)))
    world.page_size = 100

    scheduler = world.scheduler([rule(f"{SOURCE}/a", f"{MIRROR}/a")])
    most = 0
    tasks = world.take_all(scheduler)
    while not scheduler.done:
        scheduler.settle(world.answer(tasks.pop(0)), world.now)
        tasks += world.take_all(scheduler)
        most = max(most, scheduler.figures.unfinished)

    assert 3_000 == scheduler.figures.copied
    assert most <= 16
    images = scheduler._images
    assert 0 == images.manifests.held == images.manifests.blobs.held == images.fetches.bytes_held


def test_next_page_is_requested_ahead() -> None:
    """The next page of tags is requested while images of the page before are still open."""
    world = World(limits=Limits(window_images=2))
    world.push(f"{SOURCE}/a", image("one"), "v1", "v2", "v3", "v4")
    world.page_size = 3
    scheduler = world.scheduler([rule(f"{SOURCE}/a", f"{MIRROR}/a")])
    (page,) = world.take_all(scheduler)

    scheduler.settle(world.answer(page), world.now)

    assert {"ListTags": 1, "HeadManifests": 2} == Counter(
        type(task).__name__ for task in world.take_all(scheduler)
    )


def test_follower_is_retried_after_the_first_source() -> None:
    """In the last pass too, a source with an equal digest succeeds if the first source now does."""
    world = World(retries=1)
    content = image("one")
    for path in ("a", "b", "z"):
        world.push(f"{SOURCE}/{path}", content, "v1")
    world.fail(f"put {MIRROR}/x:v1", retryable=True, side="destination", registry=MIRROR, status=500)
    rules = [rule(f"{SOURCE}/{path}:v1", f"{MIRROR}/x", number=n) for n, path in enumerate("zab")]

    scheduler = world.run(rules)

    assert 1 == scheduler.figures.copied
    assert 2 == scheduler.figures.unchanged
    assert scheduler.finished
