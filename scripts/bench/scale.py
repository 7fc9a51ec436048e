"""One run that has many machines, in virtual time: the scheduler with its records, and nothing else.

No process and no socket: tasks are answered after some milliseconds of a clock that does not wait. Machines
die with all their tasks, and registries refuse some requests with 429. CPU time and memory are real; the CPU
time of answers is not counted.
"""

from __future__ import annotations

import random
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from heapq import heappop, heappush
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pipeline.errors import Fault
from pipeline.model.cost import Cost
from pipeline.model.listing_tasks import ListDigests, ListTags
from pipeline.model.messages import (
    STAGES,
    BlobCopied,
    CopyBlob,
    DigestsListed,
    FetchManifest,
    HeadManifests,
    ManifestFetched,
    ManifestHead,
    ManifestPushed,
    ManifestsHeaded,
    Outcome,
    PushManifest,
    TagsListed,
    Task,
    TaskLost,
    Throttled,
)
from pipeline.model.options import ImageOptions
from pipeline.records.store import Records
from pipeline.scheduler.scheduler import Scheduler
from pipeline.settings import Settings
from tests.unit.scheduler.world import MIRROR, OCI_IMAGE, SOURCE, digest, image, manifest, rule

_TAGS = 500
"""Tags of a repository."""
_EACH = 48
"""Tasks that a machine runs at a time."""
_LIVES = 20_000
"""Tasks after which a machine dies."""
_REFUSED = 0.0001
"""Share of the tasks that are refused."""
_REMEMBERED = 20_000
"""Manifests that a registry still knows; those of open images are the last."""
MACHINES = 20
COLD, UNCHANGED = 100_000, 1_000_000
"""Tags."""


class Registries:
    """Both sides: the content follows from the names, and the destination has what was pushed.

    Args:
        full: whether the destination has everything from the beginning.
    """

    def __init__(self, *, full: bool) -> None:
        """See the class."""
        self._full = full
        self._pushed: set[str] = set()
        self._sources: dict[str, bytes] = {}

    def answer(self, task: Task) -> Outcome:
        """The outcome of a task that succeeds."""
        asked = {each.repository.registry for each in task.asks}
        cost = Cost(requests=tuple((each, 1) for each in asked), waited=tuple((each, 0.02) for each in asked))
        match task:
            case ListDigests():
                return DigestsListed(key=task.key, page=None, cost=cost)
            case ListTags(side="destination"):
                return TagsListed(key=task.key, tags=(), missing=not self._full, cost=cost)
            case ListTags():
                return TagsListed(
                    key=task.key, tags=tuple(f"v{number}" for number in range(_TAGS)), cost=cost
                )
            case HeadManifests(source=source):
                names = [source] if source is not None else task.destinations
                digests = [self._digest(each.repository.path, each.name) for each in names]
                found = [
                    ManifestHead(digest=digests[0]) if self._full or str(each) in self._pushed else None
                    for each in task.destinations
                ]
                head = ManifestHead(digest=digests[0], media_type=OCI_IMAGE) if source is not None else None
                return ManifestsHeaded(key=task.key, source=head, destinations=tuple(found), cost=cost)
            case FetchManifest():
                return ManifestFetched(key=task.key, manifest=manifest(self._sources[task.digest]), cost=cost)
            case CopyBlob():
                return BlobCopied(key=task.key, how="mounted" if task.mount else "uploaded", cost=cost)
            case PushManifest():
                self._pushed.add(str(task.destination))
                return ManifestPushed(key=task.key, cost=cost)
        raise AssertionError(task)

    def _digest(self, path: str, tag: str) -> str:
        repository = path.rpartition("/")[2]
        content = image("base", repository, f"{repository} {tag}")
        found = digest(content)
        self._sources.pop(found, None)
        self._sources[found] = content
        if len(self._sources) > _REMEMBERED:
            del self._sources[next(iter(self._sources))]
        return found


@dataclass(slots=True)
class Ran:
    """The figures of a run."""

    tags: int
    copied: int = 0
    unchanged: int = 0
    failed: int = 0
    tasks: int = 0
    refused: int = 0
    deaths: int = 0
    lost: int = 0
    """Tasks of machines that died."""
    virtual: float = 0.0
    """Seconds of the clock that does not wait."""
    answering: float = 0.0
    """Seconds of CPU time that the registries took."""
    cpu: float = 0.0
    """Seconds of CPU time of the rest."""
    memory: int = 0
    """MiB at most."""
    records: int = 0
    """MiB on disk."""


class Cluster:
    """Machines that run tasks, and die.

    Args:
        scheduler: gives the tasks.
        registries: answer them.
        ran: is counted up.
        machines: how many.
    """

    def __init__(self, scheduler: Scheduler, registries: Registries, ran: Ran, machines: int) -> None:
        """See the class."""
        self._scheduler, self._registries, self._ran = scheduler, registries, ran
        self._chance = random.Random(1)
        self._due: list[tuple[float, int, int, Task]] = []
        self._running: list[dict[str, Task]] = [{} for _ in range(machines)]
        scheduler.resize(machines * 4)

    def give(self, now: float) -> None:
        """Give the tasks that are ready to the machines that have the least."""
        for stage in STAGES:
            for alone in (False, True):
                while min(map(len, self._running)) < _EACH:
                    task = self._scheduler.take(stage, now, alone=alone)
                    if task is None:
                        break
                    machine = min(range(len(self._running)), key=lambda each: len(self._running[each]))
                    self._running[machine][task.key] = task
                    self._ran.tasks += 1
                    heappush(
                        self._due, (now + self._chance.uniform(0.01, 0.05), self._ran.tasks, machine, task)
                    )

    def step(self, now: float) -> float:
        """Answer the next task; returns the time."""
        if not self._due:
            now += max(0.01, self._scheduler.wake(now) or 0.01)
            self._scheduler.tick(now)
            return now
        now, _, machine, task = heappop(self._due)
        if self._running[machine].pop(task.key, None) is not None:
            refused = self._chance.random() < _REFUSED and not isinstance(task, ListTags)
            self._ran.refused += refused
            began = time.process_time()
            outcome = _refusal(task) if refused else self._registries.answer(task)
            self._ran.answering += time.process_time() - began
            self._scheduler.settle(outcome, now)
            if self._ran.tasks // _LIVES > self._ran.deaths:
                self._kill(now)
        return now

    def _kill(self, now: float) -> None:
        """The machine with the most tasks dies; another one takes its place at once."""
        self._ran.deaths += 1
        doomed = max(self._running, key=len)
        self._ran.lost += len(doomed)
        for key in list(doomed):
            del doomed[key]
            self._scheduler.settle(TaskLost(key=key, reason="killed", begun=True), now)


def _refusal(task: Task) -> Throttled:
    registry = task.asks[0].repository.registry
    fault = Fault(operation="ask", words="too many", registry=registry, status=429, retryable=True)
    return Throttled(key=task.key, fault=fault, delay=1.0, asked=1.0)


def run(folder: Path, registries: Registries, *, name: str, tags: int, machines: int) -> Ran:
    """One run to its end."""
    records, _ = Records.open(folder, run=name)
    rules = [rule(f"{SOURCE}/team/app{n}", f"{MIRROR}/ours/app{n}", number=n) for n in range(tags // _TAGS)]
    ran, now, began = Ran(tags), 0.0, time.process_time()
    scheduler = Scheduler(
        rules, run=name, facts=records, settings=Settings(), options=ImageOptions(), now=now
    )
    cluster = Cluster(scheduler, registries, ran, machines)
    while not scheduler.done:
        cluster.give(now)
        now = cluster.step(now)
        if records.pending > 1_000:
            records.flush()
        scheduler.events()
    records.flush()
    records.close()
    figures = scheduler.figures
    ran.copied, ran.unchanged, ran.failed = figures.copied, figures.unchanged, figures.failed
    ran.virtual, ran.cpu = now, time.process_time() - began - ran.answering
    ran.memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    ran.records = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) >> 20
    return ran


def _job(names: tuple[str, ...], tags: int, machines: int) -> dict[str, Ran]:
    """Runs of one job, one after the other, in a process of their own, whose memory nobody else has used."""
    with tempfile.TemporaryDirectory() as folder:
        registries = Registries(full="cold" not in names)
        return {
            name: run(Path(folder), registries, name=name, tags=tags, machines=machines) for name in names
        }


def scale(*, cold: int = COLD, unchanged: int = UNCHANGED, machines: int = MACHINES) -> dict[str, Any]:
    """A cold run; and one that has no records yet, then one where nothing has changed. Prints the figures."""
    print(
        f"{machines} machines; one dies every {_LIVES:,} tasks, a task in {round(1 / _REFUSED):,} is refused"
    )
    print(f"{'run':>10}{'tags':>11}{'tasks':>11}{'lost':>7}{'429':>6}{'virtual':>9}{'CPU':>8}{'tasks/s':>9}"
          f"{'memory':>9}{'records':>9}")  # fmt: skip
    found: dict[str, Ran] = {}
    for names, tags in ((("cold",), cold), (("first", "unchanged"), unchanged)):
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            done = pool.submit(_job, names, tags, machines).result()
        for name, ran in done.items():
            print(f"{name:>10}{tags:>11,}{ran.tasks:>11,}{ran.lost:>7,}{ran.refused:>6,}{ran.virtual:>8,.0f}s"
                  f"{ran.cpu:>7,.0f}s{ran.tasks / ran.cpu:>9,.0f}{ran.memory:>5,} MiB{ran.records:>5,} MiB",
                  flush=True)  # fmt: skip
            ended = ran.copied + ran.unchanged
            if ended != tags or ran.failed:
                raise SystemExit(f"{name}: {ended} of {tags} tags, {ran.failed} failed")
        found |= done
    return {name: asdict(ran) for name, ran in found.items()}
