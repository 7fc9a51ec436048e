"""Which tasks wait, and how long, if a registry limits the rate, is unreachable, or is inconsistent."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pipeline.errors import Fault
from pipeline.model.cost import Cost
from pipeline.model.messages import (
    BlobCopied,
    CopyBlob,
    FetchManifest,
    HeadManifests,
    ManifestsHeaded,
    PushManifest,
    TaskFailed,
    Throttled,
)
from tests.unit.scheduler.world import MIRROR, SOURCE, World, image, rule

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.model.messages import Outcome, Task
    from pipeline.scheduler.scheduler import Scheduler

RULES = [rule(f"{SOURCE}/a", f"{MIRROR}/a")]
SLOW = Fault(operation="work", words="slow", registry=MIRROR, side="destination", status=429, retryable=True)
BROKEN = replace(SLOW, words="oops", status=500)
ASKED = Cost(requests=((SOURCE, 1), (MIRROR, 3)))


def busy(
    *, patience: float = 3600.0, retries: int = 0, tags: int = 60
) -> tuple[World, Scheduler, list[Task]]:
    """A run of many tags whose registries have answered some hundred requests, and its running tasks."""
    world = World(patience=patience, retries=retries)
    for number in range(tags):
        world.push(f"{SOURCE}/a", image("one", salt=str(number)), f"v{number}")
    scheduler = world.scheduler(RULES)
    tasks = world.take_all(scheduler)
    while len(world.done) < 2 * tags or not any(isinstance(task, CopyBlob) for task in tasks):
        scheduler.settle(world.answer(tasks.pop(0)), world.now)
        tasks += world.take_all(scheduler)
    return world, scheduler, tasks


def pauses(scheduler: Scheduler, world: World) -> set[str]:
    """Registries that pause."""
    views = scheduler.view(world.now, began=0.0, running={}, workers=1).registries
    return {view.name for view in views if view.pause}


@pytest.mark.parametrize("asked", [0.0, 1.0, 2.0])
def test_rare_refusal_delays_only_its_request(asked: float) -> None:
    """One refusal among many answers without a long pause delays only that request."""
    world, scheduler, tasks = busy(tags=240)
    refused = tasks.pop(next(n for n, task in enumerate(tasks) if isinstance(task, CopyBlob)))
    scheduler.settle(Throttled(key=refused.key, fault=SLOW, delay=asked or 5.0, asked=asked), world.now)

    assert set() == pauses(scheduler, world)
    while tasks:
        scheduler.settle(world.answer(tasks.pop(0)), world.now)
        tasks += world.take_all(scheduler)
    assert refused not in world.done
    world.go(scheduler)
    assert 240 == scheduler.figures.copied
    assert world.now == (asked or 1.0)


@pytest.mark.parametrize(("delay", "asked"), [(3.0, 3.0), (60.0, 60.0), (900.0, 0.0)])
def test_long_pause_pauses_the_registry(delay: float, asked: float) -> None:
    """A registry that asks for a longer pause, or whose quota is exhausted, pauses."""
    world, scheduler, tasks = busy(tags=240)
    scheduler.settle(Throttled(key=tasks[0].key, fault=SLOW, delay=delay, asked=asked), world.now)

    assert {MIRROR} == pauses(scheduler, world)


def test_patience_ends_although_running_tasks_succeed() -> None:
    """The run does not wait for the rest of a long pause if the tasks in flight succeed meanwhile."""
    world, scheduler, tasks = busy(patience=60.0)
    long = Throttled(key=tasks[0].key, fault=SLOW, delay=900.0, asked=900.0)
    scheduler.settle(long, world.now)
    for task in tasks[1:]:
        scheduler.settle(world.answer(task), world.now)
    world.go(scheduler)

    assert world.now < 100.0
    assert scheduler.figures.failures


@pytest.mark.parametrize("code", ["UNREACHABLE", "CERTIFICATE", "TIMEOUT"])
@pytest.mark.parametrize("tags", [2, 60])
def test_dead_host_fails_only_its_tasks(code: str, tags: int) -> None:
    """A dead host that a registry named fails only the tasks that were sent there."""
    world, scheduler, tasks = busy(tags=tags)
    bad = next(task for task in tasks if isinstance(task, CopyBlob))
    dead = replace(SLOW, status=None, code=code, host="storage.test")
    scheduler.settle(TaskFailed(key=bad.key, fault=dead, cost=Cost(requests=((MIRROR, 3),))), world.now)

    assert set() == pauses(scheduler, world)
    tasks.remove(bad)
    while tasks:
        scheduler.settle(world.answer(tasks.pop(0)), world.now)
        tasks += world.take_all(scheduler)
    assert (scheduler.figures.failed, scheduler.figures.copied) == (1, tags - 1)


def test_throttled_storage_delays_only_its_requests() -> None:
    """Storage that asks for a pause delays only the requests that were sent there."""
    world, scheduler, tasks = busy()
    moves = [task for task in tasks if isinstance(task, CopyBlob)][:5]
    assert len(moves) > 3
    fault = replace(SLOW, host="storage.test")
    for task in moves:
        tasks.remove(task)
        scheduler.settle(Throttled(key=task.key, fault=fault, delay=60.0, asked=60.0), world.now)

    assert set() == pauses(scheduler, world)
    while tasks:
        scheduler.settle(world.answer(tasks.pop(0)), world.now)
        tasks += world.take_all(scheduler)
    assert 0 < scheduler.figures.copied < 60
    world.go(scheduler)
    assert 60 == scheduler.figures.copied


def test_three_refusals_in_a_row_pause_the_registry() -> None:
    """A registry that starts to refuse everything pauses after three refusals in a row."""
    world, scheduler, tasks = busy(tags=240)
    moves = [task for task in tasks if isinstance(task, CopyBlob)][:3]
    for task in moves[:2]:
        scheduler.settle(Throttled(key=task.key, fault=SLOW, delay=1.0, asked=1.0), world.now)
    assert set() == pauses(scheduler, world)
    scheduler.settle(Throttled(key=moves[2].key, fault=SLOW, delay=1.0, asked=1.0), world.now)

    assert {MIRROR} == pauses(scheduler, world)


def test_refused_blobs_lower_only_their_limit() -> None:
    """Refused blobs lower the limit for blobs, not for short requests."""
    world, scheduler, tasks = busy()
    limits = scheduler._queue.registry(MIRROR).limits
    before = {kind: limit.limit for kind, limit in limits.items()}
    for task in [task for task in tasks if isinstance(task, CopyBlob)]:
        scheduler.settle(Throttled(key=task.key, fault=SLOW, delay=60.0, asked=60.0), world.now)

    assert before["request"] == limits["request"].limit
    assert before["blob"] > limits["blob"].limit


def test_request_refused_for_patience_fails() -> None:
    """A request that is refused for --patience fails, even if its registry accepts others."""
    world, scheduler, tasks = busy(patience=5.0, retries=2, tags=240)
    bad = next(task for task in tasks if isinstance(task, CopyBlob))
    world.script[bad.key] += [
        lambda task: Throttled(key=task.key, fault=SLOW, delay=1.0, asked=1.0) for _ in range(1000)
    ]
    while not scheduler.done:
        world.now += 0.01
        scheduler.tick(world.now)
        if tasks:
            scheduler.settle(world.answer(tasks.pop(0)), world.now)
        tasks += world.take_all(scheduler)

    assert 1 == scheduler.figures.failed
    [row] = [row for row in world.facts.rows.values() if row.result == "failed"]
    assert "429 TOOMANYREQUESTS: " in row.fault
    assert world.now < 20


def test_patience_is_shared_by_all_passes() -> None:
    """A registry that asks for a minute is waited for up to --patience, whatever --retries is."""
    world = World(patience=5.0, retries=2)
    world.push(f"{SOURCE}/a", image("one"), "v1", "v2")
    world.throttle("look", MIRROR, delay=70, asked=60, times=100)

    scheduler = world.run([rule(f"{SOURCE}/a:v1,v2", f"{MIRROR}/a")])

    assert 2 == scheduler.figures.failed
    assert 5.0 == world.now


def test_endless_short_pauses_exhaust_patience() -> None:
    """A registry that asks for one short pause after another is waited for up to --patience, too."""
    world = World(patience=5.0, retries=2)
    world.push(f"{SOURCE}/a", image("one"), "v1")
    world.throttle("look", MIRROR, delay=2, asked=2, times=100)

    scheduler = world.run([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")])

    assert 1 == scheduler.figures.failed
    assert 5.0 == world.now


def test_registry_is_retried_after_its_pause() -> None:
    """An unavailable registry is tried once more in a pass that begins after its pause."""
    world = World(patience=5.0, retries=1)
    world.push(f"{SOURCE}/a", image("one"), "v1")
    world.push(f"{SOURCE}/b", image("two"), "v1")
    world.throttle("look", "other.example.net", delay=8, asked=8)
    scheduler = world.scheduler(
        [
            rule(f"{SOURCE}/a:v1", "other.example.net/a"),
            rule(f"{SOURCE}/b:v1", f"{MIRROR}/b", number=1),
        ]
    )
    tasks = world.take_all(scheduler)
    slow = next(task for task in tasks if isinstance(task, HeadManifests) and "/b:v1" in task.key)
    tasks.remove(slow)
    for now in (0.0, 5.0):
        scheduler.tick(now)
        for task in tasks:
            scheduler.settle(world.answer(task), now)
        tasks = world.take_all(scheduler)
    world.now = 20.0
    scheduler.settle(world.answer(slow), world.now)
    world.go(scheduler)

    assert 2 == scheduler.figures.copied


@pytest.mark.parametrize(("code", "waits"), [("MANIFEST_UNKNOWN", True), ("BLOB_UNKNOWN", True), ("", False)])
def test_inconsistent_destination_delays_the_next_pass(code: str, waits: bool) -> None:  # noqa: FBT001 - a parameter
    """If a destination does not show yet what it accepted, the next pass begins a little later."""
    world = World(retries=1)
    world.push(f"{SOURCE}/a", image("one"), "v1")
    world.fail("put", side="destination", registry=MIRROR, code=code, status=500, retryable=True)

    scheduler = world.run([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")])

    assert 1 == scheduler.figures.copied
    assert 2 == sum(isinstance(task, PushManifest) for task in world.done)
    assert waits == (2 <= world.now <= 3)


def test_stopped_between_two_passes_ends_at_once() -> None:
    """A run that is stopped before its next pass ends at once, and names the unfinished images."""
    world = World(retries=1)
    world.push(f"{SOURCE}/a", image("one"), "v1")
    world.fail("put", side="destination", registry=MIRROR, code="BLOB_UNKNOWN", retryable=True)
    scheduler = world.scheduler([rule(f"{SOURCE}/a:v1", f"{MIRROR}/a")])
    while tasks := world.take_all(scheduler):
        for task in tasks:
            scheduler.settle(world.answer(task), world.now)
    assert not scheduler.done

    scheduler.drain(world.now)

    assert scheduler.done
    assert not scheduler.finished


def run_to_its_end(world: World, scheduler: Scheduler, change: Callable[[Task, Outcome], Outcome]) -> float:
    """Answer all tasks, with changed outcomes, until the run is over; returns the seconds that it took."""
    now = 0.0
    while not scheduler.done:
        tasks = world.take_all(scheduler)
        for task in tasks:
            scheduler.settle(change(task, world.answer(task)), now)
        if not tasks:
            now += scheduler.wake(now) or 1.0
            world.now = now
            scheduler.tick(now)
    return now


def test_plan_fails_what_answers_nothing_but_errors() -> None:
    """A plan fails the images of a registry that answers 500 for every tag and blob."""
    world = World(retries=0, aim="plan")
    for number in range(30):
        world.push(f"{SOURCE}/a", image(str(number)), f"v{number}")
    scheduler = world.scheduler(RULES)

    def change(_: Task, outcome: Outcome) -> Outcome:
        if isinstance(outcome, ManifestsHeaded):
            return replace(outcome, destinations=(BROKEN,), cost=ASKED)
        return replace(outcome, doubt=BROKEN, cost=ASKED) if isinstance(outcome, BlobCopied) else outcome

    assert run_to_its_end(world, scheduler, change) < 60
    assert scheduler.figures.failed == 30


def test_source_is_spared_if_its_destination_answers_nothing_but_errors() -> None:
    """A destination that answers 500 to everything costs the reading of two source images, not of all."""
    world = World(retries=2)
    for number in range(30):
        world.push(f"{SOURCE}/a", image(str(number)), f"v{number}")
    scheduler, read = world.scheduler(RULES), []

    def change(task: Task, outcome: Outcome) -> Outcome:
        if isinstance(outcome, ManifestsHeaded):
            return replace(outcome, destinations=(BROKEN,), cost=ASKED)
        if isinstance(task, FetchManifest):
            read.append(task.digest)
        elif any(place.repository.registry == MIRROR for place in task.asks):
            return TaskFailed(key=task.key, fault=BROKEN, cost=Cost(requests=((MIRROR, 3),)))
        return outcome

    run_to_its_end(world, scheduler, change)

    assert scheduler.figures.failed == 30
    assert len(read) == 2


def test_repairs_continue_after_the_first_push_that_helps() -> None:
    """If a push helps where the destination answers 500, all such tags are pushed in the same run."""
    world = World(retries=1)
    for number in range(6):
        world.push(f"{SOURCE}/a", image(str(number)), f"v{number}")
    scheduler = world.scheduler(RULES)

    def change(_: Task, outcome: Outcome) -> Outcome:
        if isinstance(outcome, ManifestsHeaded):
            return replace(outcome, destinations=(BROKEN,), cost=ASKED)
        return outcome

    run_to_its_end(world, scheduler, change)

    assert scheduler.figures.copied == 6
