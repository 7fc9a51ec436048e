"""Mirrors: whatever they answer, the run ends as it would without them and never waits for them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import Fault
from pipeline.model.messages import CopyBlob, FetchManifest, TaskFailed, TaskLost, Throttled
from pipeline.model.reference import Repository
from pipeline.model.registry_settings import NO_SETTINGS, Mirror, RegistrySettings
from pipeline.scheduler.scheduler import Scheduler
from tests.unit.scheduler.world import MIRROR, SOURCE, World, image, index, rule

if TYPE_CHECKING:
    from pipeline.model.messages import Outcome, Task

RULES = [rule(f"{SOURCE}/a", f"{MIRROR}/a")]
CACHES = ("one.example.net", "two.example.net")
GONE = Fault(operation="read", words="not here", side="source", status=404, code="BLOB_UNKNOWN")
SILENT = Fault(operation="read", words="no route", side="source", code="UNREACHABLE", retryable=True)
SLOW = Fault(operation="read", words="slow down", side="source", status=429, retryable=True)


def cached(tags: int = 8) -> tuple[World, Scheduler]:
    """A run whose source has two mirrors, and images that share a layer."""
    world = World()
    for number in range(tags):
        child = image("base", f"layer {number}", salt=str(number))
        world.push(f"{SOURCE}/a", index((child, "amd64")), f"v{number}", children=[child])
    mirrors = RegistrySettings(mirrors=tuple(Mirror(registry=name, prefix="hub") for name in CACHES))
    scheduler = Scheduler(
        RULES,
        run="run",
        facts=world.facts,
        settings=world.settings,
        options=world.options,
        now=0.0,
        settings_of=lambda name: mirrors if name == SOURCE else NO_SETTINGS,
    )
    return world, scheduler


def asked_at(task: Task) -> str:
    """The registry from which a task reads content; empty if it reads none."""
    return task.read_from.registry if isinstance(task, (FetchManifest, CopyBlob)) else ""


def refuse(task: Task, fault: Fault, *, delay: float = 0.0) -> Outcome:
    """The task fails at its mirror with that fault."""
    fault = replace(fault, registry=asked_at(task), repository="hub/a")
    if fault is SLOW or fault.status == SLOW.status:
        return Throttled(key=task.key, fault=fault, delay=delay, asked=delay)
    return TaskFailed(key=task.key, fault=fault)


def test_first_mirror_serves() -> None:
    """Content is read from the first mirror, below its prefix; tags and digests come from the source."""
    world, scheduler = cached()
    world.go(scheduler)

    read = [task for task in world.done if isinstance(task, (FetchManifest, CopyBlob))]
    assert (8, {Repository(CACHES[0], "hub/a")}) == (scheduler.figures.copied, {e.read_from for e in read})


@given(st.lists(st.sampled_from(["right", "gone", "silent", "slow", "lost"]), max_size=60))
def test_every_image_is_copied_whatever_mirrors_answer(answers: list[str]) -> None:
    """Every image is copied in the first pass, without requests to a mirror that pauses."""
    world, scheduler = cached()
    left, until = list(answers), dict.fromkeys(CACHES, 0.0)

    def answer(task: Task) -> Outcome:
        name = asked_at(task)
        how = left.pop() if left and name in CACHES else "right"
        if how == "lost":
            return TaskLost(key=task.key, reason="killed by SIGKILL", begun=False)
        if how == "slow":
            until[name] = world.now + 600.0
        faults = {"gone": GONE, "silent": SILENT, "slow": SLOW}
        return world.answer(task) if how == "right" else refuse(task, faults[how], delay=600.0)

    take_all = world.take_all

    def take(scheduler: Scheduler) -> list[Task]:
        tasks = take_all(scheduler)
        assert all(world.now >= until.get(asked_at(task), 0.0) for task in tasks)
        return tasks

    world.take_all = take  # type: ignore[method-assign] # what is given out is looked at
    world.go(scheduler, answer=answer)

    assert (8, 0) == (scheduler.figures.copied, scheduler.figures.failures)
    assert world.now == 0.0, "somebody waited"


def test_queued_tasks_leave_a_failing_mirror() -> None:
    """Tasks that are queued for a failing mirror use the next one, and later try it again."""
    world, scheduler = cached(tags=40)
    tasks = world.take_all(scheduler)
    while asked_at(tasks[0]) != CACHES[0]:
        scheduler.settle(world.answer(tasks.pop(0)), world.now)
        tasks += world.take_all(scheduler)
    running = [task for task in tasks if asked_at(task)]
    scheduler.settle(refuse(tasks.pop(0), SILENT), world.now)

    after = [task for task in world.take_all(scheduler) if asked_at(task)]
    assert {CACHES[1]} == {asked_at(task) for task in after}
    assert running

    world.now = 31.0
    scheduler.tick(world.now)
    while tasks:
        scheduler.settle(world.answer(tasks.pop(0)), world.now)
        new = world.take_all(scheduler)
        if CACHES[0] in map(asked_at, new):
            return
        tasks += new
    raise AssertionError("the mirror is never asked again")


def test_mirror_is_read_while_the_source_pauses() -> None:
    """While the source pauses, content is still read from its mirror."""
    world, scheduler = cached(tags=2)
    tasks = world.take_all(scheduler)
    while not any(asked_at(task) for task in tasks):
        scheduler.settle(world.answer(tasks.pop(0)), world.now)
        tasks += world.take_all(scheduler)
    scheduler._queue.registry(SOURCE).paused_until = 600.0
    while tasks:
        scheduler.settle(world.answer(tasks.pop(0)), world.now)
        tasks += world.take_all(scheduler)

    assert scheduler.figures.copied
