"""Who may start: places per registry, cool-downs, and the queues of ready tasks.

A task takes its place at every registry that it asks at once, or stays. Ready tasks are queued per stage and
set of places, and the sets take turns, so that a registry that is full or cools down holds up nobody else.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Literal

from pipeline.model.flow.counts import Timing
from pipeline.model.flow.places import Places
from pipeline.model.flow.view import RegistryView
from pipeline.model.messages import Expand, Look, Move, Put, Read
from pipeline.settings import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.errors import Fault
    from pipeline.model.messages import Asked, How, Stage, Task, What
    from pipeline.settings import Limits

Kind = Literal["request", "body"]
_LARGE = 8 * MIB
"""Bytes from which a blob goes before smaller ones: what begins last should not take longest."""
Demand = tuple[tuple[str, Kind], ...]
"""The places that a task takes, sorted: (registry, kind)."""


@dataclass(slots=True)
class Registry:
    """What Flow knows of one registry in this run."""

    places: Mapping[Kind, Places]
    cool_until: float = 0.0
    blocked_since: float | None = None
    """When it began to let nothing through; None: the last answer was no push-back."""
    paused_since: float | None = None
    """When the pause began that the log has told of; None: there is none, or it has told of its end."""
    answered: bool = False
    """Whether any request got an answer in this run."""
    given_up: Fault | None = None
    """Why nothing is asked there any more, until the next pass."""
    requests: int = 0
    """Asked in this run."""
    read: int = 0
    """Bytes of blobs received."""
    written: int = 0
    """Bytes of blobs sent."""
    blobs: Counter[How] = field(default_factory=Counter)
    """Blobs that are in place there, by how they came."""
    spared: Counter[How] = field(default_factory=Counter)
    """Bytes of blobs that did not have to be sent there, by why."""
    calls: dict[tuple[str, int], Timing] = field(default_factory=dict)
    """By method and status: requests that were timed; empty where nobody asks for it."""
    retries: Counter[str] = field(default_factory=Counter)
    """Tries that were to be repeated, by status or word of ours."""
    asked: Counter[tuple[str, What]] = field(default_factory=Counter)
    """By method and what they were about: requests that were timed, or only foreseen."""
    pulls_left: int | None = None
    """What the registry's rate limit said last; None: nothing, or nobody asks for it."""
    pulls_limit: tuple[int, int] | None = None
    """What it lets through, and within how many seconds; None as above."""
    told: set[Kind] = field(default_factory=set)
    """Kinds of places of which the log says how many there are."""
    refusals: int = 0
    """Mounts refused from a place that this run itself had filled."""
    mounts: int = 0
    """Mounts accepted."""

    @property
    def in_flight(self) -> int:
        """Places taken, of both kinds."""
        return sum(places.taken for places in self.places.values())

    def shrink(self, now: float) -> None:
        """It pushes back: half the places, at most once a second, never less than one."""
        for places in self.places.values():
            places.shrink(now)

    def time(self, asked: Asked) -> None:
        """Take in one request that was timed, or only foreseen."""
        self.asked[asked.method, asked.what] += 1
        if asked.seconds < 0:
            return
        kind = (asked.method, asked.status)
        timing = self.calls.get(kind)
        if timing is None:
            timing = self.calls[kind] = Timing()
        timing.add(asked.seconds)
        if asked.pulls_left >= 0:
            self.pulls_left = asked.pulls_left
        if asked.pulls_limit >= 0 and asked.pulls_window > 0:
            self.pulls_limit = (asked.pulls_limit, asked.pulls_window)

    @property
    def waits_for_mounts(self) -> bool:
        """Whether it pays to wait for another repository's copy: after two refusals nobody does."""
        return self.refusals < 2  # noqa: PLR2004 - one refusal may be that repository's own


def stage_of(task: Task) -> Stage:
    """The stage whose workers run the task."""
    match task:
        case Expand():
            return "expand"
        case Look() | Read():
            return "resolve"
        case Move() | Put():
            return "transfer"


class Ready:
    """Ready tasks, and the places that running ones hold."""

    def __init__(self, limits: Limits) -> None:
        """Begin with nothing ready and all places free."""
        self._limits = limits
        self._registries: dict[str, Registry] = {}
        self._queues: dict[tuple[Stage, bool], dict[Demand, dict[str, Task]]] = {}
        self._alone: dict[str, Task] = {}
        self._where: dict[str, tuple[tuple[Stage, bool], Demand]] = {}
        self._held: dict[str, tuple[Task, Demand]] = {}
        self._large: dict[tuple[tuple[Stage, bool], Demand], list[tuple[int, int, str]]] = {}
        """Heaps of the large blobs among the ready tasks: bytes, less than 0, their turn, and the key."""
        self._added = 0
        self._running = {"resolve": 0, "move": 0}

    def registry(self, name: str) -> Registry:
        """The state of a registry, made at its first mention."""
        found = self._registries.get(name)
        if found is None:
            places: dict[Kind, Places] = {
                "request": Places(most=self._limits.requests),
                "body": Places(most=self._limits.bodies),
            }
            found = self._registries[name] = Registry(places=places)
        return found

    def demand(self, task: Task) -> Demand:
        """The places that the task takes.

        A move that mounts is a short request at its destination, until that registry has refused a mount:
        then it is likely to become a body.
        """
        places: set[tuple[str, Kind]]
        match task:
            case Expand() | Read():
                places = {(task.repository.registry, "request")}
            case Look():
                asked = [*task.destinations, *([task.source] if task.source else [])]
                places = {(reference.repository.registry, "request") for reference in asked}
            case Put():
                places = {(task.destination.repository.registry, "request")}
            case Move():
                there = task.destination.registry
                mounts = bool(task.mount) and not self.registry(there).refusals
                places = {(there, "request")} if mounts else {(there, "body"), (task.source.registry, "body")}
        return tuple(sorted(places))

    def add(self, task: Task, *, alone: bool = False) -> None:
        """Queue a task; `alone`: it may only run with nothing beside it in its worker."""
        if alone:
            self._alone[task.key] = task
            return
        demand = self.demand(task)
        queue = (stage_of(task), isinstance(task, Put))
        self._queues.setdefault(queue, {}).setdefault(demand, {})[task.key] = task
        if isinstance(task, Move) and task.blob.size >= _LARGE:
            self._added += 1
            large = self._large.setdefault((queue, demand), [])
            heappush(large, (-task.blob.size, self._added, task.key))
        self._where[task.key] = (queue, demand)

    def drop(self, key: str) -> None:
        """Take back a task that has not been given out; one that has, or is unknown, stays as it is."""
        self._alone.pop(key, None)
        where = self._where.pop(key, None)
        if where:
            queue, demand = where
            waiting = self._queues[queue][demand]
            del waiting[key]
            if not waiting:
                del self._queues[queue][demand]
                self._large.pop(where, None)

    def take(self, stage: Stage, now: float, *, alone: bool = False) -> Task | None:
        """Give out the next task of a stage that may start now, and hold its places; None: there is none.

        Manifests go before blobs: they end images, and free the window. `alone`: only the tasks that must
        run with nothing beside them.
        """
        if alone:
            found = self.suspect(stage, now)
        else:
            found = self._next((stage, True), now) or self._next((stage, False), now)
        if found:
            self.drop(found.key)
            self._hold(found)
        return found

    def suspect(self, stage: Stage, now: float) -> Task | None:
        """The next task of a stage that may start now, with nothing beside it; None: there is none."""
        return next((t for t in self._alone.values() if stage_of(t) == stage and self._free(t, now)), None)

    def _next(self, queue: tuple[Stage, bool], now: float) -> Task | None:
        sets = self._queues.get(queue)
        if not sets:
            return None
        for demand in list(sets):
            task = self._first(queue, demand)
            if self._free(task, now):
                sets[demand] = sets.pop(demand)
                return task
        return None

    def _first(self, queue: tuple[Stage, bool], demand: Demand) -> Task:
        """The task that has waited longest; before it the largest blob, if any is large."""
        tasks = self._queues[queue][demand]
        large = self._large.get((queue, demand), [])
        while large and large[0][2] not in tasks:
            heappop(large)
        return tasks[large[0][2]] if large else next(iter(tasks.values()))

    def _free(self, task: Task, now: float) -> bool:
        proc = self._limits.proc
        if proc is not None and self._running.get(_bounded(task), 0) >= proc:
            return False
        free = True
        for name, kind in self.demand(task):
            registry = self.registry(name)
            places = registry.places[kind]
            if registry.cool_until > now:
                free = False
            elif not places.free:
                places.pressed, free = True, False
        return free

    def _hold(self, task: Task) -> None:
        demand = self.demand(task)
        self._held[task.key] = (task, demand)
        for name, kind in demand:
            self.registry(name).places[kind].taken += 1
        if _bounded(task):
            self._running[_bounded(task)] += 1

    def release(self, key: str) -> Task | None:
        """Free the places of a running task, and say which it was; None: no such task runs."""
        task, demand = self._held.pop(key, (None, ()))
        if task is None:
            return None
        for name, kind in demand:
            self.registry(name).places[kind].taken -= 1
        if _bounded(task):
            self._running[_bounded(task)] -= 1
        return task

    def running(self, key: str) -> bool:
        """Whether the task has been given out and not come back."""
        return key in self._held

    def knows(self, key: str) -> bool:
        """Whether the task is ready or running."""
        return key in self._held or key in self._where or key in self._alone

    def task(self, key: str) -> Task | None:
        """The running task of that key; None: no such task runs."""
        return self._held[key][0] if key in self._held else None

    @property
    def in_flight(self) -> int:
        """Tasks that have been given out and not come back."""
        return len(self._held)

    @property
    def waiting(self) -> int:
        """Tasks that are ready and not given out."""
        return len(self._where) + len(self._alone)

    def tasks(self) -> list[Task]:
        """All tasks that are ready and not given out."""
        queued = (
            task for sets in self._queues.values() for tasks in sets.values() for task in tasks.values()
        )
        return [*queued, *self._alone.values()]

    def pauses(self, registry: str, now: float) -> bool:
        """Whether the registry may not be asked now."""
        found = self._registries.get(registry)
        return found is not None and found.cool_until > now

    def pausing(self, now: float) -> set[str]:
        """Registries that may not be asked now."""
        return {name for name, registry in self._registries.items() if registry.cool_until > now}

    def cooling(self, now: float) -> Iterator[tuple[str, Registry]]:
        """Registries that cool down, or have let nothing through since a while."""
        for name, registry in self._registries.items():
            if registry.cool_until > now or registry.blocked_since is not None:
                yield name, registry

    def running_tasks(self) -> list[Task]:
        """All tasks that have been given out and not come back."""
        return [task for task, _ in self._held.values()]

    def views(self, now: float, moving: Mapping[str, int]) -> list[RegistryView]:
        """What each registry that was asked anything looks like; `moving`: bytes of running moves by key."""
        waiting: Counter[str] = Counter()
        for sets in self._queues.values():
            for demand, tasks in sets.items():
                waiting.update(dict.fromkeys((name for name, _ in demand), len(tasks)))
        read: Counter[str] = Counter()
        written: Counter[str] = Counter()
        for task, _ in self._held.values():
            if isinstance(task, Move):
                read[task.source.registry] += moving.get(task.key, 0)
                written[task.destination.registry] += moving.get(task.key, 0)
        return [
            RegistryView(
                name=name,
                requests=registry.requests,
                read=registry.read + read[name],
                written=registry.written + written[name],
                in_flight=registry.in_flight,
                limit=registry.places["request"].room,
                waiting=waiting[name],
                cooldown=max(0.0, registry.cool_until - now),
                given_up=str(registry.given_up or ""),
                blobs=registry.blobs,
                spared=registry.spared,
                calls=registry.calls,
                retries=registry.retries,
                asked=registry.asked,
                pulls_left=registry.pulls_left,
                pulls_limit=registry.pulls_limit,
            )
            for name, registry in sorted(self._registries.items())
            if registry.requests or registry.in_flight
        ]

    def forgive(self) -> None:
        """A new pass: registries that were given up may be asked again."""
        for registry in self._registries.values():
            registry.given_up, registry.blocked_since = None, None

    def startable(self, now: float) -> bool:
        """Whether any ready task may start now."""
        return any(self._free(task, now) for task in self.tasks())

    def validate(self) -> None:
        """Check that the places taken are those of the running tasks, and within the limits.

        Raises:
            AssertionError: they are not.
        """
        places = [place for _, demand in self._held.values() for place in demand]
        for name, registry in self._registries.items():
            for kind, each in registry.places.items():
                assert each.taken == places.count((name, kind)), f"places of {name} are miscounted"
                assert each.taken <= each.most, f"{each.taken} tasks at {name}, the limit is {each.most}"


def _bounded(task: Task) -> str:
    """Which of the two counts that --proc bounds the task belongs to; empty: none."""
    match task:
        case Look() | Read():
            return "resolve"
        case Move():
            return "move"
        case _:
            return ""
