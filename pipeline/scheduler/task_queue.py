"""The task queue: which task may start, by places at registries, pauses and order.

A task needs a place at every registry that it asks. Tasks are queued for each stage and set of places, and
the sets take turns, so that a full or paused registry delays only its own tasks.
"""

from __future__ import annotations

import math
from collections import Counter
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from pipeline.model.registry_settings import NO_SETTINGS
from pipeline.model.task import LARGE_BLOB
from pipeline.scheduler.adaptive_limit import AdaptiveLimit
from pipeline.scheduler.pull_reserve import PullReserve
from pipeline.scheduler.registry_state import RegistryState
from pipeline.scheduler.view import RegistryView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pipeline.model.messages import Stage, Task
    from pipeline.model.registry_settings import RegistrySettings
    from pipeline.model.task import SlotKind
    from pipeline.scheduler.rate_budget import RateBudgets
    from pipeline.settings import Limits

_AT_LEAST = 2
"""Tasks that may run at a registry with a low rate or bandwidth."""
_WAITS = 4
"""Seconds of a registry's rate that may wait in workers: tokens and uploads must not expire meanwhile."""
_SLOWEST = 128 << 10
"""Bytes a second for each blob at a registry with a low bandwidth; a slower transfer looks stalled."""
_BLOBS: tuple[SlotKind, ...] = ("blob", "body")
Demand = tuple[tuple[str, "SlotKind"], ...]
"""The places that a task takes, sorted: (registry, kind)."""


class TaskQueue:
    """Queued tasks, and the places of running ones."""

    def __init__(self, limits: Limits) -> None:
        """Begin with no tasks and all places free."""
        self._limits = limits
        self._registries: dict[str, RegistryState] = {}
        self._queues: dict[tuple[Stage, bool], dict[Demand, dict[str, Task]]] = {}
        self._alone: dict[str, Task] = {}
        self._where: dict[str, tuple[tuple[Stage, bool], Demand]] = {}
        self._running: dict[str, tuple[Task, Demand]] = {}
        self._large: dict[tuple[tuple[Stage, bool], Demand], list[tuple[int, int, str]]] = {}
        """Heaps of the large blobs among the queued tasks: negated bytes, serial number, key."""
        self._added = 0
        self._resting: dict[str, tuple[float, Task, bool]] = {}
        """By key: until when a task rests, and whether it must run alone."""
        self._alarms: list[tuple[float, str]] = []
        """A heap of the times when rests end, with keys; those of dropped tasks are ignored."""
        self._bound = {"resolve": 0, "copy": 0}
        self._settings_of: Callable[[str], RegistrySettings] = lambda _: NO_SETTINGS
        self._budgets: RateBudgets | None = None
        self._scale = 1

    def configure(self, settings_of: Callable[[str], RegistrySettings], budgets: RateBudgets) -> None:
        """Set where the limits of registries come from."""
        self._settings_of, self._budgets = settings_of, budgets

    def registry(self, name: str) -> RegistryState:
        """The state of a registry, created at its first use."""
        return self._registries.get(name) or self._open(name)

    def _open(self, name: str) -> RegistryState:
        settings = self._settings_of(name)
        limits = {kind: AdaptiveLimit(most=most) for kind, most in self._bounds(settings).items()}
        if self._budgets is not None:
            self._budgets.open(name, settings)
        reserve = None if settings.reserve is None else PullReserve(settings.reserve)
        found = self._registries[name] = RegistryState(limits=limits, settings=settings, reserve=reserve)
        return found

    def _bounds(self, settings: RegistrySettings) -> dict[SlotKind, int]:
        """How many tasks of each kind may ever run at a registry: what the user set holds for all workers."""
        requests = self._limits.requests * self._scale
        requests = min(requests, settings.requests or requests)
        bodies = min(self._limits.bodies * self._scale, requests)
        if settings.rate is not None:
            requests = min(requests, max(_AT_LEAST, math.ceil(settings.rate * _WAITS)))
        if settings.bandwidth is not None:
            bodies = min(bodies, max(_AT_LEAST, int(settings.bandwidth / _SLOWEST)))
        return {"request": requests, "blob": requests, "body": bodies}

    def scale(self, factor: int) -> None:
        """Set how many times as many tasks may run as on one machine."""
        self._scale = factor
        for registry in self._registries.values():
            for kind, most in self._bounds(registry.settings).items():
                registry.limits[kind].bound(most)

    def demand(self, task: Task) -> Demand:
        """The places that the task takes.

        A blob that may be mounted counts as a short request until the registry refuses a mount.
        """
        asks = task.asks_if_mounted
        if not asks or self.registry(asks[0].repository.registry).refusals:
            asks = task.asks
        if len(asks) == 1:
            [(repository, _, kind)] = asks
            return ((repository.registry, kind),)
        return tuple(sorted({(repository.registry, kind) for repository, _, kind in asks}))

    def add(self, task: Task, demand: Demand = (), *, alone: bool = False) -> None:
        """Queue a task.

        Args:
            task: which one.
            demand: its places, where they are known already.
            alone: it may only run with nothing beside it in its worker.
        """
        self._resting.pop(task.key, None)
        if alone:
            self._alone[task.key] = task
            return
        demand = demand or self.demand(task)
        queue = (task.stage, task.ends_images)
        self._queues.setdefault(queue, {}).setdefault(demand, {})[task.key] = task
        if task.size >= LARGE_BLOB:
            self._added += 1
            large = self._large.setdefault((queue, demand), [])
            heappush(large, (-task.size, self._added, task.key))
        self._where[task.key] = (queue, demand)

    def drop(self, key: str) -> None:
        """Remove a task that has not been given out; any other key is ignored."""
        self._alone.pop(key, None)
        self._resting.pop(key, None)
        where = self._where.pop(key, None)
        if where:
            queue, demand = where
            waiting = self._queues[queue][demand]
            del waiting[key]
            if not waiting:
                del self._queues[queue][demand]
                self._large.pop(where, None)

    def rest(self, task: Task, until: float) -> None:
        """Let a queued task wait until then; a task that is not queued, since nobody needs it, is ignored."""
        if task.key not in self._where and task.key not in self._alone:
            return
        alone = task.key in self._alone
        self.drop(task.key)
        self._resting[task.key] = (until, task, alone)
        heappush(self._alarms, (until, task.key))

    def _wake(self, now: float) -> None:
        """Queue the tasks whose rest is over."""
        while self._alarms and self._alarms[0][0] <= now:
            until, key = heappop(self._alarms)
            when, task, alone = self._resting.get(key, (None, None, False))
            if task is not None and when == until:
                del self._resting[key]
                self.add(task, alone=alone)

    @property
    def next_alarm(self) -> float | None:
        """When the next rest ends; None: no task rests."""
        while self._alarms and self._resting.get(self._alarms[0][1], (None,))[0] != self._alarms[0][0]:
            heappop(self._alarms)
        return self._alarms[0][0] if self._alarms else None

    def take(self, stage: Stage, now: float, *, alone: bool = False) -> Task | None:
        """Give out the next task of a stage that may start now, and take its places; None if there is none.

        Manifests go before blobs: they finish images, so that others can open. `alone`: only tasks that must
        run alone.
        """
        if self._alarms:
            self._wake(now)
        if alone:
            found = self.suspect(stage, now)
        else:
            found = self._next((stage, True), now) or self._next((stage, False), now)
        if found:
            _, demand = self._where.get(found.key, (None, ()))
            self.drop(found.key)
            self._start(found, () if found.asks_if_mounted else demand)
        return found

    def suspect(self, stage: Stage, now: float) -> Task | None:
        """The next task of a stage that may start now and must run alone; None if there is none."""
        return next((t for t in self._alone.values() if t.stage == stage and self._free(t, now)), None)

    def _next(self, queue: tuple[Stage, bool], now: float) -> Task | None:
        sets = self._queues.get(queue)
        if not sets:
            return None
        for demand in list(sets):
            task = self._first(queue, demand)
            # A blob that was to be mounted may have become a body since it was queued.
            if self._free(task, now, () if task.asks_if_mounted else demand):
                sets[demand] = sets.pop(demand)
                return task
        return None

    def _first(self, queue: tuple[Stage, bool], demand: Demand) -> Task:
        """The largest blob, if any is large: what starts last should not take longest; else the oldest."""
        tasks = self._queues[queue][demand]
        large = self._large.get((queue, demand), [])
        while large and large[0][2] not in tasks:
            heappop(large)
        return tasks[large[0][2]] if large else next(iter(tasks.values()))

    def _free(self, task: Task, now: float, demand: Demand = ()) -> bool:
        """Whether the task may start now; `demand`: its places; empty: not known yet."""
        proc = self._limits.proc
        if proc is not None and self._bound.get(task.bound, 0) >= proc:
            return False
        free = True
        for name, kind in demand or self.demand(task):
            registry = self.registry(name)
            limit = registry.limits[kind]
            if not registry.is_open(now, pulls=task.pulls):
                free = False
            elif not limit.free:
                limit.pressed, free = True, False
        return free

    def _start(self, task: Task, demand: Demand) -> None:
        demand = demand or self.demand(task)
        self._running[task.key] = (task, demand)
        for name, kind in demand:
            self._take_place(task, name, kind, 1)
        if task.bound:
            self._bound[task.bound] += 1

    def release(self, key: str) -> tuple[Task, Demand] | None:
        """Free the places of a running task; returns it and them; None: no such task runs."""
        held = self._running.pop(key, None)
        if held is None:
            return None
        task, demand = held
        for name, kind in demand:
            self._take_place(task, name, kind, -1)
        if task.bound:
            self._bound[task.bound] -= 1
        return held

    def _take_place(self, task: Task, name: str, kind: SlotKind, count: int) -> None:
        registry = self.registry(name)
        registry.limits[kind].running += count
        if task.pulls and registry.reserve is not None:
            (registry.reserve.begin if count > 0 else registry.reserve.end)()

    def running(self, key: str) -> bool:
        """Whether the task is running."""
        return key in self._running

    def knows(self, key: str) -> bool:
        """Whether the task is queued, rests or runs."""
        return key in self._running or key in self._where or key in self._alone or key in self._resting

    def task(self, key: str) -> Task | None:
        """The running task of that key; None: no such task runs."""
        return self._running[key][0] if key in self._running else None

    @property
    def in_flight(self) -> int:
        """Number of running tasks."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Number of tasks that are not given out, resting ones included."""
        return len(self._where) + len(self._alone) + len(self._resting)

    def tasks(self) -> list[Task]:
        """All tasks that are not given out, resting ones included."""
        queued = (
            task for sets in self._queues.values() for tasks in sets.values() for task in tasks.values()
        )
        return [*queued, *self._alone.values(), *(task for _, task, _ in self._resting.values())]

    def pauses(self, registry: str, now: float) -> bool:
        """Whether the registry pauses."""
        found = self._registries.get(registry)
        return found is not None and found.paused_until > now

    def pausing(self, now: float) -> set[str]:
        """Registries that pause."""
        return {name for name, registry in self._registries.items() if registry.paused_until > now}

    def troubled(self, now: float) -> Iterator[tuple[str, RegistryState]]:
        """Registries that pause, or whose last answer was a refusal."""
        for name, registry in self._registries.items():
            if registry.paused_until > now or registry.refusing_since is not None:
                yield name, registry

    def reserving(self) -> Iterator[tuple[str, PullReserve]]:
        """Registries that allow no more pulls than are left to others."""
        for name, registry in self._registries.items():
            if registry.reserve is not None and registry.reserve.since is not None:
                yield name, registry.reserve

    def running_tasks(self) -> list[Task]:
        """All running tasks."""
        return [task for task, _ in self._running.values()]

    def views(
        self, now: float, *, read: Mapping[str, int], written: Mapping[str, int]
    ) -> Iterator[RegistryView]:
        """The view of each registry with requests.

        Args:
            now: seconds.
            read: by registry, the bytes of the bodies that are being read.
            written: the same of those that are being written.
        """
        waiting: Counter[str] = Counter()
        for sets in self._queues.values():
            for demand, tasks in sets.items():
                waiting.update(dict.fromkeys((name for name, _ in demand), len(tasks)))
        for _, task, _ in self._resting.values():
            waiting.update(name for name, _ in self.demand(task))
        for name, registry in sorted(self._registries.items()):
            if registry.requests or registry.in_flight:
                yield RegistryView(
                    name=name,
                    requests=registry.requests,
                    read=registry.read + read.get(name, 0),
                    written=registry.written + written.get(name, 0),
                    in_flight=registry.in_flight,
                    limit=self._places(registry, "request"),
                    blobs_in_flight=sum(registry.limits[kind].running for kind in _BLOBS),
                    blobs_limit=self._places(registry, *_BLOBS),
                    waiting=waiting[name],
                    pause=max(0.0, registry.paused_until - now),
                    unavailable=str(registry.unavailable or ""),
                    blobs=registry.blobs,
                    saved=registry.saved,
                    calls=registry.calls,
                    retries=registry.retries,
                    asked=registry.asked,
                    by_head=registry.by_head,
                    by_listing=registry.by_listing,
                    pulls_left=registry.pulls_left,
                    least_seconds=registry.least_seconds,
                    reserve=registry.settings.reserve or 0,
                    pulls_limit=registry.pulls_limit,
                )

    def _places(self, registry: RegistryState, *kinds: SlotKind) -> int:
        """Tasks of these kinds that may run at the registry, by its own limits and --proc."""
        places = sum(registry.limits[kind].limit for kind in kinds)
        return min(places, self._limits.proc or places)

    def forgive(self, now: float) -> None:
        """Begin a pass: unavailable registries are asked again, except those that still pause."""
        for registry in self._registries.values():
            if registry.paused_until <= now:
                registry.unavailable = None

    def startable(self, now: float) -> bool:
        """Whether any queued task may start now."""
        self._wake(now)
        return any(self._free(task, now) for task in self.tasks() if task.key not in self._resting)

    def validate(self) -> None:
        """Check that the taken places are those of the running tasks, and within the limits.

        Raises:
            AssertionError: they are not.
        """
        places = [place for _, demand in self._running.values() for place in demand]
        for name, registry in self._registries.items():
            for kind, each in registry.limits.items():
                assert each.running == places.count((name, kind)), f"places of {name} are miscounted"
                assert each.running <= each.most, f"{each.running} tasks at {name}, the limit is {each.most}"
