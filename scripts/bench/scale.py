"""The scheduler with the records of a large job, in virtual time: what one run carries for many machines.

    python -m scripts.bench.scale [--tags 100000] [--machines 20] [--unchanged]

No process and no socket: tasks are answered after some milliseconds of a clock that does not wait. Machines
die with all their tasks, and registries refuse some requests with 429. A cold run copies every tag; with
`--unchanged` a second one finds all of them there. Printed are real seconds, memory, and the size of records.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import time
from heapq import heappop, heappush
from pathlib import Path

from pipeline.errors import Fault
from pipeline.model.cost import Cost
from pipeline.model.listing_tasks import ListTags
from pipeline.model.messages import (
    STAGES,
    BlobCopied,
    CopyBlob,
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
from tests.unit.scheduler.world import MIRROR, SOURCE, digest, image, manifest, rule

_TAGS = 500
"""Tags of a repository."""
_EACH = 48
"""Tasks that a machine runs at a time."""
_LIVES = 20_000
"""Tasks after which a machine dies."""
_REFUSED = 0.001
"""Share of the requests that are refused."""


class Registries:
    """Both sides: the content follows from the names, and the destination has what was pushed."""

    def __init__(self) -> None:
        """Nothing at the destination."""
        self.pushed: dict[str, str] = {}
        self._sources: dict[str, bytes] = {}

    def answer(self, task: Task) -> Outcome:
        """The outcome of a task that succeeds."""
        registry = task.asks[0].repository.registry
        cost = Cost(requests=((registry, 1),), waited=((registry, 0.02),))
        match task:
            case ListTags(side="destination"):
                return TagsListed(key=task.key, tags=(), missing=not self.pushed, cost=cost)
            case ListTags():
                return TagsListed(
                    key=task.key, tags=tuple(f"v{number}" for number in range(_TAGS)), cost=cost
                )
            case HeadManifests(source=source):
                there = [self.pushed.get(str(each)) for each in task.destinations]
                found = [ManifestHead(digest=each) if each else None for each in there]
                head = None
                if source is not None:
                    content = self._content(source.repository.path, source.name)
                    head = ManifestHead(digest=digest(content), media_type=json.loads(content)["mediaType"])
                return ManifestsHeaded(key=task.key, source=head, destinations=tuple(found), cost=cost)
            case FetchManifest():
                return ManifestFetched(key=task.key, manifest=manifest(self._sources[task.digest]), cost=cost)
            case CopyBlob():
                return BlobCopied(key=task.key, how="mounted" if task.mount else "uploaded", cost=cost)
            case PushManifest():
                self.pushed[str(task.destination)] = task.digest
                return ManifestPushed(key=task.key, cost=cost)
        raise AssertionError(task)

    def _content(self, path: str, tag: str) -> bytes:
        content = image("base", path, f"{path} {tag}")
        self._sources[digest(content)] = content
        return content


def run(scheduler: Scheduler, registries: Registries, records: Records, machines: int) -> dict[str, int]:
    """One run to its end; returns what happened."""
    chance, now, heap = random.Random(1), 0.0, list[tuple[float, int, int, Task]]()
    running: list[dict[str, Task]] = [{} for _ in range(machines)]
    counts = {"tasks": 0, "refused": 0, "deaths": 0, "lost": 0}
    scheduler.resize(machines * 4)
    while not scheduler.done:
        for stage in STAGES:
            for alone in (False, True):
                while min(map(len, running)) < _EACH:
                    task = scheduler.take(stage, now, alone=alone)
                    if task is None:
                        break
                    machine = min(range(machines), key=lambda each: len(running[each]))
                    running[machine][task.key] = task
                    counts["tasks"] += 1
                    heappush(heap, (now + chance.uniform(0.01, 0.05), counts["tasks"], machine, task))
        if not heap:
            now += max(0.01, scheduler.wake(now) or 0.01)
            scheduler.tick(now)
            continue
        now, _, machine, task = heappop(heap)
        if running[machine].pop(task.key, None) is None:
            continue
        refused = chance.random() < _REFUSED and not isinstance(task, ListTags)
        counts["refused"] += refused
        scheduler.settle(_refusal(task) if refused else registries.answer(task), now)
        if counts["tasks"] // _LIVES > counts["deaths"]:
            counts["deaths"] += 1
            machine = max(range(machines), key=lambda each: len(running[each]))
            counts["lost"] += len(running[machine])
            for key in list(running[machine]):
                del running[machine][key]
                scheduler.settle(TaskLost(key=key, reason="killed", begun=True), now)
        if records.pending > 1_000:
            records.flush()
        scheduler.events()
    records.flush()
    return counts


def _refusal(task: Task) -> Throttled:
    registry = task.asks[0].repository.registry
    fault = Fault(operation="ask", words="too many", registry=registry, status=429, retryable=True)
    return Throttled(key=task.key, fault=fault, delay=1.0, asked=1.0)


def measure(folder: Path, registries: Registries, *, name: str, tags: int, machines: int) -> None:
    """One run, and a line about it."""
    records, _ = Records.open(folder, run=name)
    rules = [rule(f"{SOURCE}/team/app{n}", f"{MIRROR}/ours/app{n}", number=n) for n in range(tags // _TAGS)]
    began = time.perf_counter()
    scheduler = Scheduler(
        rules, run=name, facts=records, settings=Settings(), options=ImageOptions(), now=0.0
    )
    counts = run(scheduler, registries, records, machines)
    seconds = time.perf_counter() - began
    records.close()
    figures = scheduler.figures
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(
        f"{name}: {figures.copied} copied, {figures.unchanged} unchanged, {figures.failed} failed; {counts};"
        f" {seconds:.1f} s, {counts['tasks'] / seconds:.0f} tasks/s, {memory} MiB, records {size >> 20} MiB",
        flush=True,
    )


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tags", type=int, default=100_000)
    parser.add_argument("--machines", type=int, default=20)
    parser.add_argument("--unchanged", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        registries = Registries()
        for name in ("cold", "unchanged")[: 1 + given.unchanged]:
            measure(Path(folder), registries, name=name, tags=given.tags, machines=given.machines)


if __name__ == "__main__":
    main()
