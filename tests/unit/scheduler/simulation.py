"""The scheduler in virtual time, over registries that are slow, refuse requests, or serve few at a time.

There is no process, socket or clock: minutes pass in seconds, and the same seed gives the same run. A task is
the sequence of requests that its worker would make; the number of workers is unlimited.
"""

from __future__ import annotations

import random
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from time import perf_counter
from typing import TYPE_CHECKING

from pipeline.errors import Fault
from pipeline.model.budget import Spent, Use
from pipeline.model.cost import Cost
from pipeline.model.listing_tasks import ListDigests, ListRepositories, ListTags
from pipeline.model.messages import STAGES, CopyBlob, FetchManifest, HeadManifests, PushManifest, Throttled
from pipeline.model.referrers import ListReferrers
from tests.unit.scheduler.world import MIRROR, SOURCE, World, image, index, rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.model.messages import Outcome, Task
    from pipeline.scheduler.scheduler import Scheduler

WORKER = "worker"
LEARNED = 10.0
"""Seconds after which a steady rate must be known."""
UNSAID = 5.0
"""Seconds of the pause that workers choose if a registry does not state one."""


@dataclass(kw_only=True)
class Server:
    """How a registry answers; it refuses with 429."""

    seconds: float = 0.02
    """The time from a request to its answer, without waiting for a slot."""
    slots: int = 0
    """Requests that it serves at a time, while others wait; 0: all."""
    refused: float = 0.0
    """Share of the requests that it refuses at any rate."""
    at_once: int = 0
    """It refuses requests while it serves this many; 0: never."""
    rate: float = 0.0
    """Requests a second above which it refuses, with a burst of one second; 0: no limit."""
    retry_after: float = 1.0
    """Seconds in Retry-After; 0: not stated."""
    _busy: list[float] = field(default_factory=list)
    """A heap of the times when busy slots become free."""
    _saved: float = 0.0
    _saved_at: float = 0.0

    def __post_init__(self) -> None:
        """Start with a full second's worth of requests."""
        self._saved = self.rate

    def answer(self, now: float, chance: random.Random) -> tuple[float, bool]:
        """When a request that arrives now is answered, and whether it is refused."""
        while self._busy and self._busy[0] <= now:
            heappop(self._busy)
        if self._refuses(now, chance):
            return now + self.seconds, True
        begins = heappop(self._busy) if self.slots and len(self._busy) >= self.slots else now
        if self.slots or self.at_once:
            heappush(self._busy, begins + self.seconds)
        return begins + self.seconds, False

    def _refuses(self, now: float, chance: random.Random) -> bool:
        if self.refused and chance.random() < self.refused:
            return True
        if self.rate:
            self._saved = min(self.rate, self._saved + (now - self._saved_at) * self.rate) - 1
            self._saved_at = now
            if self._saved < 0:
                self._saved += 1
                return True
        return bool(self.at_once and len(self._busy) >= self.at_once)


@dataclass(kw_only=True)
class Ran:
    """The figures of a run."""

    seconds: float = 0.0
    """Virtual seconds."""
    paused: float = 0.0
    """Seconds in which at least one registry paused."""
    requests: int = 0
    refused: int = 0
    tasks: int = 0
    late: int = 0
    """Requests after the first ten seconds at registries that refuse requests above a rate."""
    refused_late: int = 0
    """How many of them were refused."""
    within: float = 0.0
    """Real seconds spent in the scheduler."""
    copied: int = 0


@dataclass
class Running:
    """A task whose requests are being made."""

    task: Task
    left: list[str]
    """Registries of the remaining requests, the next one last."""
    requests: dict[str, int] = field(default_factory=dict)
    waited: dict[str, float] = field(default_factory=dict)
    refused_by: str = ""


class Simulation:
    """One run over new tags of one repository, 18 requests each: an index of an image with three own
    layers.

    Args:
        tags: how many.
        source: how the source answers.
        destination: how the destination answers.
        seed: of all random choices.
    """

    def __init__(
        self, tags: int, *, source: Server | None = None, destination: Server | None = None, seed: int = 1
    ) -> None:
        """See the class."""
        self._world = World()
        for number in range(tags):
            child = image("base", *(f"{number} {layer}" for layer in range(3)), salt=str(number))
            self._world.push(f"{SOURCE}/a", index((child, "amd64")), f"v{number}", children=[child])
        self._servers = {SOURCE: source or Server(), MIRROR: destination or Server()}
        self._chance = random.Random(seed)
        self._answers: list[tuple[float, int, Running]] = []
        self._waiting: dict[str, deque[Running]] = {}
        """By registry with a learned rate: tasks whose next request has to be granted."""
        self._ran = Ran()

    def run(self) -> Ran:
        """Run to the end."""
        ran, now = self._ran, 0.0
        with self._metered():
            scheduler = self._scheduler = self._world.scheduler([rule(f"{SOURCE}/a", f"{MIRROR}/a")])
        scheduler.budgets.joined(WORKER)
        while True:
            self._take(scheduler, now)
            if scheduler.done:
                break
            then = self._next(scheduler, now)
            until = max(registry.paused_until for registry in scheduler._queue._registries.values())
            ran.paused += max(0.0, min(then, until) - now)
            now = then
        ran.seconds, ran.copied = now, scheduler.figures.copied
        return ran

    @contextmanager
    def _metered(self) -> Iterator[None]:
        """Measure the time of the scheduler."""
        began = perf_counter()
        yield
        self._ran.within += perf_counter() - began

    def _take(self, scheduler: Scheduler, now: float) -> None:
        """Start all tasks that may start now."""
        found = []
        with self._metered():
            for stage in STAGES:
                while (task := scheduler.take(stage, now)) is not None:
                    found.append(task)
        self._ran.tasks += len(found)
        for task in found:
            self._ask(Running(task, requests_of(task)[::-1]), now)
        with self._metered():
            grants = scheduler.budgets.grants(now)
        for share in grants[WORKER].shares if grants else ():
            waiting = self._waiting.setdefault(share.account[0], deque())
            for _ in range(share.requests):
                self._send(waiting.popleft(), now)

    def _ask(self, running: Running, now: float) -> None:
        """Make the next request of a task, or wait until it is allowed."""
        name = running.left[-1]
        if name not in self._waiting:
            self._send(running, now)
            return
        self._waiting[name].append(running)
        use = Use((name, "requests"), 0.0, waiting=len(self._waiting[name]))
        with self._metered():
            self._scheduler.budgets.spent(WORKER, Spent(uses=(use,)), now)

    def _send(self, running: Running, now: float) -> None:
        name = running.left.pop()
        then, refused = self._servers[name].answer(now, self._chance)
        running.requests[name] = running.requests.get(name, 0) + 1
        running.waited[name] = running.waited.get(name, 0.0) + then - now
        running.refused_by = name if refused else ""
        self._ran.requests += 1
        self._ran.refused += refused
        if now >= LEARNED and self._servers[name].rate:
            self._ran.late += 1
            self._ran.refused_late += refused
        heappush(self._answers, (then, self._ran.requests, running))

    def _next(self, scheduler: Scheduler, now: float) -> float:
        """Advance to the next answer, or to the scheduler's wake-up time; returns that time."""
        with self._metered():
            wake = scheduler.wake(now)
        if wake is not None and (not self._answers or now + wake < self._answers[0][0]):
            with self._metered():
                scheduler.tick(now + wake)
            return now + wake
        then, _, running = heappop(self._answers)
        if running.left and not running.refused_by:
            self._ask(running, then)
        else:
            outcome = self._outcome(running)
            with self._metered():
                scheduler.settle(outcome, then)
        return then

    def _outcome(self, running: Running) -> Outcome:
        """The answer of the task's worker."""
        name, key = running.refused_by, running.task.key
        cost = Cost(requests=tuple(running.requests.items()), waited=tuple(running.waited.items()))
        if not name:
            return replace(self._world.answer(running.task), cost=cost)
        fault = Fault(operation="work", words="slow down", registry=name, status=429, retryable=True)
        asked = self._servers[name].retry_after
        return Throttled(key=key, fault=fault, delay=asked or UNSAID, asked=asked, cost=cost)


def requests_of(task: Task) -> list[str]:
    """The registries of the requests that a successful task makes, in order."""
    match task:
        case ListRepositories():
            return [task.namespace.registry]
        case ListTags() | ListDigests() | FetchManifest() | ListReferrers():
            return [task.repository.registry]
        case HeadManifests():
            asked = [*([task.source] if task.source else []), *task.destinations]
            return [reference.repository.registry for reference in asked]
        case CopyBlob():
            there = task.destination.registry
            brought = [there] if task.mount else [task.source.registry, there, there]
            return [there] * task.ask + brought + [there] * task.check
        case PushManifest():
            return [task.destination.repository.registry] * (1 + task.check)
