"""The scheduler with several faults at a time: what fails, what waits, what is repeated."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import Fault
from pipeline.model.cost import Cost
from pipeline.model.facts import Holding
from pipeline.model.messages import (
    BlobCopied,
    CopyBlob,
    HeadManifests,
    ManifestsHeaded,
    PushManifest,
    ReferencesMissing,
    TaskFailed,
    Throttled,
)
from pipeline.model.reference import parse_repository
from pipeline.settings import Limits
from tests.unit.scheduler.world import MIRROR, SOURCE, World, blob, digest, image, index, rule

if TYPE_CHECKING:
    from pipeline.model.messages import Task
    from pipeline.scheduler.scheduler import Scheduler

OTHER = "other.example.net"


def until(world: World, scheduler: Scheduler, kind: type, count: int) -> list[Task]:
    """Answer tasks in order until `count` of a kind run; returns all that run."""
    tasks = world.take_all(scheduler)
    while sum(isinstance(task, kind) for task in tasks) < count:
        scheduler.settle(world.answer(tasks.pop(0)), world.now)
        tasks += world.take_all(scheduler)
    return tasks


def in_order(world: World, scheduler: Scheduler, *parts: str) -> None:
    """Answer first the tasks whose keys contain these parts, one after the other, then all others."""
    running: list[Task] = []
    for part in parts:
        running += world.take_all(scheduler)
        task = next(task for task in running if part in task.key)
        running.remove(task)
        scheduler.settle(world.answer(task), world.now)
    for task in (*running, *world.take_all(scheduler)):
        scheduler.settle(world.answer(task), world.now)
    world.go(scheduler)


@pytest.mark.parametrize("order", range(20))
def test_one_read_serves_source_and_destination(order: int) -> None:
    """One read of a manifest serves an image that copies it and another that compares it."""
    world = World()
    child = image("one")
    world.push(f"{SOURCE}/a", index(child), "v1", children=[child])
    world.push(f"{MIRROR}/a", index((child, "amd64")), "v1", children=[child])
    rules = [rule(f"{SOURCE}/a:v1", f"{MIRROR}/a"), rule(f"{MIRROR}/a:v1", f"{OTHER}/a", number=1)]

    scheduler = world.run(rules, pick=Random(order).randrange)

    assert 2 == scheduler.figures.copied
    assert world.complete(f"{OTHER}/a", "v1")


def test_registry_that_accepts_nothing_becomes_unavailable() -> None:
    """A registry that accepts nothing becomes unavailable in time, whatever else its tasks do."""
    world = World(retries=0, patience=10.0)
    world.push(f"{SOURCE}/a", image("one"), "v1")
    scheduler = world.scheduler([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")])
    first, second, *_ = [each for each in until(world, scheduler, CopyBlob, 2) if isinstance(each, CopyBlob)]
    slow = Fault(
        operation="work", words="slow", registry=MIRROR, side="destination", status=429, retryable=True
    )
    gone = Fault(operation="read", words="gone", registry=SOURCE, side="source", status=404)
    scheduler.settle(
        Throttled(key=first.key, fault=slow, delay=30.0, cost=Cost(requests=((MIRROR, 1),))), 0.0
    )

    scheduler.settle(TaskFailed(key=second.key, fault=gone, cost=Cost(requests=((SOURCE, 2),))), 5.0)
    scheduler.tick(10.0)

    views = {view.name: view for view in scheduler.view(10.0, began=0.0, running={}, workers=1).registries}
    assert "no request accepted for 10s" in views[MIRROR].unavailable


@pytest.mark.parametrize(
    ("status", "words", "code"),
    [(429, "slow", "TOOMANYREQUESTS"), (None, "Connection refused", "UNREACHABLE")],
)
def test_unavailable_registry_keeps_its_last_fault(status: int | None, words: str, code: str) -> None:
    """The fault of an unavailable registry has its last words, not an invented rate limit."""
    world = World(retries=0, patience=10.0)
    world.push(f"{SOURCE}/a", image("one"), "v1")
    scheduler = world.scheduler([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")])
    [first, *_] = [each for each in until(world, scheduler, CopyBlob, 1) if isinstance(each, CopyBlob)]
    fault = Fault(
        operation="work", words=words, registry=MIRROR, side="destination", status=status, retryable=True
    )
    scheduler.settle(Throttled(key=first.key, fault=fault, delay=30.0), 0.0)
    scheduler.tick(10.0)

    [unavailable] = [
        each for each in scheduler.view(10.0, began=0.0, running={}, workers=1).registries if each.unavailable
    ]
    assert f"{code}: no request accepted for 10s: {words}" in unavailable.unavailable
    assert "repeat the command later, or with a longer --patience" in unavailable.unavailable


def test_each_failed_image_names_its_own_side() -> None:
    """Every image that fails because of a dead registry names its own repository and side."""
    dead = "gone.example.com"
    world = World(retries=0, limits=Limits(requests=1))
    for name in "ab":
        world.push(f"{SOURCE}/{name}", image("one", salt=name), "v1")
    world.push(f"{dead}/c", image("two"), "v1")
    world.fail(f"{dead}/a", registry=dead, repository="a", code="UNREACHABLE", side="destination")

    world.run(
        [
            rule(f"{SOURCE}/a:v1", f"{dead}/a"),
            rule(f"{SOURCE}/b:v1", f"{dead}/b", number=1),
            rule(f"{dead}/c:v1", f"{MIRROR}/c", number=2),
        ]
    )

    rows = world.facts.rows.values()
    faults = sorted((row.side, row.fault.partition(" at ")[2].split(":")[0]) for row in rows)
    assert [("destination", f"{dead}/a"), ("destination", f"{dead}/b"), ("source", f"{dead}/c")] == faults


def test_stopping_run_finishes_a_complete_image() -> None:
    """While the run is stopping, an image whose last blobs arrive is finished with all its children."""
    world = World()
    one, two = image("one"), image("two")
    world.push(f"{SOURCE}/a", index((one, "amd64"), (two, "arm64")), "v1", children=[one, two])
    scheduler = world.scheduler([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")])
    tasks = until(world, scheduler, CopyBlob, 4)

    scheduler.drain(world.now)
    for task in tasks:
        scheduler.settle(world.answer(task), world.now)
    world.go(scheduler)

    assert world.complete(f"{MIRROR}/a", "v1")
    assert scheduler.finished


def test_shared_child_is_read_from_the_second_source() -> None:
    """A child manifest that two images share is read from the second source if the first fails."""
    world = World(retries=0)
    child = image("base")
    world.push(f"{SOURCE}/a", index(child), "v1", children=[child])
    world.push(f"{OTHER}/b", index((child, "amd64")), "v2", children=[child])
    world.store(f"{SOURCE}/a").blobs.discard(digest(b"base"))

    world.run([rule(f"{SOURCE}/a:v1", f"{MIRROR}/x"), rule(f"{OTHER}/b:v2", f"{MIRROR}/x", number=1)])
    scheduler = world.scheduler(
        [
            rule(f"{SOURCE}/a:v1", f"{MIRROR}/y"),
            rule(f"{OTHER}/b:v2", f"{MIRROR}/y", number=1),
        ],
        "both",
    )
    tasks = until(world, scheduler, CopyBlob, 2)
    lacking = next(t for t in tasks if isinstance(t, CopyBlob) and t.blob.digest == digest(b"base"))
    while len(scheduler._images.manifests._needs[f"{MIRROR}/y@{digest(child)}"].needed_by) < 2:
        task = next(each for each in tasks if each is not lacking)
        tasks.remove(task)
        scheduler.settle(world.answer(task), world.now)
        tasks += world.take_all(scheduler)
    for task in tasks:
        scheduler.settle(world.answer(task), world.now)
    world.go(scheduler)

    assert world.complete(f"{MIRROR}/y", "v2")
    assert world.complete(f"{MIRROR}/y", "v1")


def test_index_with_a_vanished_child_gets_its_second_tag() -> None:
    """An index that this run has pushed is pushed under a second tag, even if a child has vanished since."""
    world = World(limits=Limits(window_images=1))
    child = image("one")
    world.push(f"{SOURCE}/a", index(child), "v1", "v2", children=[child])

    def vanish(_: Task) -> None:
        del world.store(f"{MIRROR}/a").manifests[digest(child)]

    world.script[f"put {MIRROR}/a:v2"].append(vanish)

    scheduler = world.run([rule(f"{SOURCE}/a:v1,v2", f"{MIRROR}/a")])

    assert 2 == scheduler.figures.copied
    assert world.complete(f"{MIRROR}/a", "v2")


def test_pausing_destination_does_not_fill_the_window() -> None:
    """While one destination pauses, the rule's other destination continues beyond the window."""
    world = World(retries=0, limits=Limits(window_images=2))
    world.push(f"{SOURCE}/a", image("one"), *(f"v{number}" for number in range(10)))
    world.throttle("look", "slow.example.net", delay=500)

    scheduler = world.run([rule(f"{SOURCE}/a", f"{MIRROR}/a", "slow.example.net/a")])

    assert 20 == scheduler.figures.copied
    for number in range(10):
        history = scheduler.history(f"{SOURCE}/a:v{number} -> {MIRROR}/a:v{number}")
        assert history[-1].endswith("0.000 image.done")


def test_unneeded_postponed_blob_is_dropped() -> None:
    """A postponed blob is not requested again if its image has failed in the meantime."""
    world = World(retries=0)
    world.push(f"{SOURCE}/a", image("one", "two"), "v1")
    scheduler = world.scheduler([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")])
    first, second, third = [
        task for task in until(world, scheduler, CopyBlob, 3) if isinstance(task, CopyBlob)
    ]
    denied = Fault(operation="work", words="no", registry=MIRROR, side="destination", status=403)
    slow = Fault(
        operation="work", words="slow", registry=MIRROR, side="destination", status=429, retryable=True
    )

    scheduler.settle(TaskFailed(key=first.key, fault=denied), 0.0)
    scheduler.settle(Throttled(key=second.key, fault=slow, delay=5.0), 0.0)
    scheduler.settle(world.answer(third), 0.0)

    assert scheduler.finished
    assert [] == world.take_all(scheduler)
    assert 0 == scheduler._images.manifests.blobs.held


def test_lost_read_back_is_repeated() -> None:
    """The read-back of a registry's first blob is not lost if its task is postponed or lost."""
    world = World(retries=0, limits=Limits(requests=1))
    world.push(f"{SOURCE}/a", image("one", "two"), "v1")
    world.throttle("move", MIRROR, delay=5)
    world.lose("move")

    world.run([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")])

    moves = [task.check for task in world.done if isinstance(task, CopyBlob)]
    puts = [task.check for task in world.done if isinstance(task, PushManifest)]
    assert ([True, True, True, False, False], [True]) == (moves, puts)


def test_missing_tag_copied_onto_itself_fails() -> None:
    """A tag that is its own destination and does not exist is a failure, not up to date."""
    world = World(retries=0)
    world.push(f"{MIRROR}/a", image("base"), "v1")

    scheduler = world.run([rule(f"{MIRROR}/a:v1,v9", f"{MIRROR}/a:v1,v9")])

    assert (1, 1) == (scheduler.figures.unchanged, scheduler.figures.failed)
    assert {"HEAD": 2} == dict(world.requests)


def test_manifests_in_memory_are_bounded() -> None:
    """However many images are open, manifests in memory exceed the bound by at most one image."""
    world = World(limits=Limits(window_bytes=4_000, requests=4))
    size = 0
    for number in range(40):
        content = image(*(f"layer {number}" for _ in range(6)), salt=str(number))
        size = max(size, len(content))
        world.push(f"{SOURCE}/a", content, f"v{number}")
    scheduler = world.scheduler([rule(f"{SOURCE}/a", f"{MIRROR}/a")])
    most = 0
    tasks = world.take_all(scheduler)
    while not scheduler.done:
        last = next((task for task in tasks if isinstance(task, HeadManifests)), tasks[0])
        tasks.remove(last)
        scheduler.settle(world.answer(last), world.now)
        most = max(most, scheduler._images.fetches.bytes_held)
        tasks += world.take_all(scheduler)

    assert 40 == scheduler.figures.copied
    assert most <= 4_000 + size


def test_requests_continue_after_leader_fails_in_probe() -> None:
    """Requests continue without a leader that fails while its repository is being probed."""
    world = World(retries=0)
    content = image("base")
    foreign = blob("base")["digest"]
    world.push(f"{SOURCE}/a", content, "v1")
    world.push(f"{SOURCE}/b", content, "v1")
    rules = [
        rule(f"{SOURCE}/a:v1", f"{MIRROR}/a"),
        rule(f"{SOURCE}/a:v1", f"{MIRROR}/b:v2", number=1),
        rule(f"{SOURCE}/b:v1", f"{MIRROR}/c", number=2),
    ]
    fault = Fault(operation="work", words="no", side="source", registry=SOURCE, status=500)
    world.script[f"move {MIRROR}/a@{foreign}"] += [
        lambda task: BlobCopied(key=task.key, how="left"),
        lambda task: TaskFailed(key=task.key, fault=fault),
    ]
    world.script[f"put {MIRROR}/a:v1"].append(lambda task: ReferencesMissing(key=task.key, fault=fault))
    scheduler = world.scheduler(rules)
    moved = ["a:v1", "read", "expand", f"{MIRROR}/a@{foreign}", f"{MIRROR}/a@"]
    in_order(world, scheduler, *moved, "b:v2", f"put {MIRROR}/a:v1", "c:v1", "read", f"{MIRROR}/a@{foreign}")

    assert 2 == scheduler.figures.failed
    assert 1 == scheduler.figures.copied
    assert world.complete(f"{MIRROR}/c", "v1")


def test_image_that_assumes_children_ends_too() -> None:
    """An image that assumes an index's children exist ends even if the image that copies them fails."""
    world = World(retries=0)
    child = image("one")
    inner = index(child)
    outer = index(inner)
    world.push(f"{SOURCE}/a", inner, children=[child])
    world.push(f"{SOURCE}/b", outer, "v1", children=[child, inner])
    place = parse_repository(f"{MIRROR}/x")
    world.facts.run = "run"
    world.facts.write(Holding(repository=place, digest=digest(inner), is_blob=False))
    world.fail(f"put {MIRROR}/x@{digest(child)}", side="destination", registry=MIRROR, status=500)
    rules = [
        rule(f"{SOURCE}/a@{digest(inner)}", f"{MIRROR}/x"),
        rule(f"{SOURCE}/b:v1", f"{MIRROR}/x", number=1),
    ]
    scheduler = world.scheduler(rules)

    before = [f"look {SOURCE}/a", "read", f"look {SOURCE}/b", "read", "read", "read"]
    in_order(world, scheduler, *before, f"put {MIRROR}/x@{digest(inner)}")

    assert scheduler.finished
    assert 2 == scheduler.figures.failed


def broken(registry: str) -> Fault:
    """A server error, after all attempts of a task."""
    return Fault(
        operation="work", words="oops", registry=registry, side="destination", status=500, retryable=True
    )


def test_registry_of_only_errors_becomes_unavailable() -> None:
    """A registry that answers 5xx to everything pauses, and is unavailable after a while, in each pass."""
    world = World(retries=2)
    for number in range(300):
        world.push(f"{SOURCE}/a", image(str(number)), f"v{number}")
    scheduler, asked, now = world.scheduler([rule(f"{SOURCE}/a", f"{MIRROR}/a")]), 0, 0.0
    while not scheduler.done:
        tasks = world.take_all(scheduler)
        for task in tasks:
            if isinstance(task, HeadManifests) and task.destinations:
                asked += 1
                found = world.answer(task)
                assert isinstance(found, ManifestsHeaded)
                found = replace(
                    found,
                    destinations=tuple(replace(broken(MIRROR), status=503) for _ in task.destinations),
                    cost=Cost(requests=((SOURCE, 1), (MIRROR, 3))),
                )
                scheduler.settle(found, now)
            else:
                scheduler.settle(world.answer(task), now)
        if not tasks:
            now += scheduler.wake(now) or 1.0
            world.now = now
            scheduler.tick(now)
    assert scheduler.figures.failed == 300
    assert asked < 60
    assert now < 60


def test_errors_of_one_repository_pause_nothing() -> None:
    """A registry that accepts other requests does not pause for one repository's errors."""
    world = World(retries=0)
    for number in range(50):
        world.push(f"{SOURCE}/a", image(str(number)), f"v{number}")
        world.push(f"{SOURCE}/b", image(str(number)), f"v{number}")
    scheduler = world.scheduler(
        [rule(f"{SOURCE}/a", f"{MIRROR}/a"), rule(f"{SOURCE}/b", f"{MIRROR}/b", number=1)]
    )
    while tasks := world.take_all(scheduler):
        for task in tasks:
            bad = isinstance(task, PushManifest) and "/a:" in task.key
            cost = Cost(requests=((MIRROR, 1),))
            done = TaskFailed(key=task.key, fault=broken(MIRROR), cost=cost) if bad else world.answer(task)
            scheduler.settle(replace(done, cost=cost), world.now)

    assert (scheduler.figures.failed, scheduler.figures.copied) == (50, 50)
