"""A Dask cluster on this machine: CPU time a task, and the memory of Dask's scheduler over many visits.

Dask's scheduler and workers are processes of their own, over TLS. Tasks do nothing and ask no registry, and
no scheduler of ours decides: what is measured is how tasks and outcomes travel.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import select
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from distributed import Client

from pipeline.engine.dask import link
from pipeline.engine.dask.cluster import quiet, security_of
from pipeline.engine.dask.pool import DaskPool
from pipeline.engine.dask.questions import result, submit
from pipeline.engine.dask.visit import Sealed, visit
from pipeline.engine.pool import Broken, Said
from pipeline.model.messages import Outcome
from pipeline.settings import ClusterOptions, Settings
from tests.e2e.cluster import Cluster
from tests.engine.rigs import FolderRecipe
from tests.engine.runners import PLAIN, ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.engine.pool import Message

GATHERS = (0.005, 0.02, 0.05)
"""Seconds for which answers are gathered."""
LOADS = (200, 0)
"""Tasks a second; 0: as many as workers have room for."""
SECONDS = 6.0
"""For each gather time and load."""
VISITS = 100_000
_WORKERS = 2
_LOGS = {"DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH": "10"}
"""As in example/dask: messages that were sent are not kept."""
_AT_A_TIME = 32
"""Visits to each worker."""
_LIMIT = 240.0
"""Seconds for the visits at most."""
_TICK = os.sysconf("SC_CLK_TCK")


def _cpu_of(pid: int) -> float:
    """Seconds of CPU time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _memory_of(pid: int) -> int:
    """MiB of memory that a process has now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20


class _Traffic:
    """Tasks that go to the workers of a pool, and come back."""

    def __init__(self, pool: DaskPool) -> None:
        self._pool = pool
        self._numbers = itertools.count()
        self.given = self.done = 0

    @property
    def visits(self) -> int:
        """How many visits have returned."""
        return sum(self._pool._link.heard.values())  # noqa: SLF001 - nothing else counts them

    def step(self, *, room: int) -> None:
        """Give so many tasks at most, and hear what has been done."""
        now = time.monotonic()
        for _ in range(room):
            if not self._pool.has_room("resolve"):
                break
            self._pool.give(ask(f"echo {next(self._numbers)}"), now)
            self.given += 1
        self._pool.flush(now)
        if select.select([self._pool], [], [], 0.005)[0]:
            time.sleep(0.001)  # as the supervisor of a busy run does
        for message in self._pool.hear(time.monotonic()):
            self._count(message)

    def _count(self, message: Message) -> None:
        if isinstance(message, Broken):
            raise SystemExit(f"the cluster is broken: {message.error}")
        self.done += isinstance(message, Said) and isinstance(message.answer, Outcome)

    def warm(self) -> None:
        """Wait until all workers have joined, and have done some tasks."""
        while len(self._pool.roster()) < _WORKERS or self.given < 100 * _WORKERS:
            self.step(room=10)
        while self.done < self.given:
            self.step(room=0)


def _options(cluster: Cluster) -> ClusterOptions:
    """The flags as the run has them."""
    files = dict(flag.lstrip("-").split("=") for flag in cluster.flags[1:])
    return ClusterOptions(
        scheduler=cluster.address, ca=files["tls-ca"], cert=files["tls-cert"], key=files["tls-key"]
    )


@contextmanager
def _pool(cluster: Cluster, *, gather: float) -> Iterator[DaskPool]:
    """A pool that gathers answers for so many seconds."""
    with patch.multiple(link, _GATHER_EACH=0.0, _GATHER_LEAST=gather):
        pool = DaskPool(Settings(), FolderRecipe("."), _options(cluster), say=print, runner=PLAIN)
        try:
            yield pool
        finally:
            pool.dismiss(timeout=1.0)


@contextmanager
def _cluster() -> Iterator[tuple[Cluster, int]]:
    """A running cluster, and the process of its scheduler."""
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder) / "cluster", os.environ | _LOGS)
        try:
            scheduler = cluster.scheduler()
            for _ in range(_WORKERS):
                cluster.worker()
            yield cluster, scheduler.pid
        finally:
            cluster.stop()


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of tasks with one gather time and load."""

    gather: float
    load: int
    tasks: float
    """A second."""
    visits: float
    """Likewise."""
    client: float
    """Milliseconds of CPU time of this process for a task."""
    scheduler: float
    """The same of Dask's scheduler."""


def cluster(*, seconds: float = SECONDS) -> list[dict[str, Any]]:
    """CPU time a task; prints and returns it."""
    print(f"{'gather':>7}{'load':>8}{'tasks/s':>10}{'visits/s':>10}{'run':>10}{'scheduler':>11}{'both':>10}")
    found: list[Cost] = []
    with _cluster() as (made, scheduler):
        for gather, load in itertools.product(GATHERS, LOADS):
            with _pool(made, gather=gather) as pool:
                cost = _measure(_Traffic(pool), scheduler, gather=gather, load=load, seconds=seconds)
            found.append(cost)
            both = cost.client + cost.scheduler
            print(f"{1000 * gather:>4.0f} ms{load or 'full':>8}{cost.tasks:>10,.0f}{cost.visits:>10,.0f}"
                  f"{cost.client:>7.2f} ms{cost.scheduler:>8.2f} ms{both:>7.2f} ms", flush=True)  # fmt: skip
    return [asdict(cost) for cost in found]


def _measure(traffic: _Traffic, scheduler: int, *, gather: float, load: int, seconds: float) -> Cost:
    traffic.warm()
    done, given, visits = traffic.done, traffic.given, traffic.visits
    began, client, theirs = time.monotonic(), time.process_time(), _cpu_of(scheduler)
    while (passed := time.monotonic() - began) < seconds:
        due = int(load * passed) - (traffic.given - given) if load else 1_000
        traffic.step(room=due)
    tasks = traffic.done - done
    return Cost(
        gather=gather,
        load=load,
        tasks=tasks / passed,
        visits=(traffic.visits - visits) / passed,
        client=1000 * (time.process_time() - client) / tasks,
        scheduler=1000 * (_cpu_of(scheduler) - theirs) / tasks,
    )


def visits(*, count: int = VISITS, limit: float = _LIMIT) -> dict[str, int]:
    """Memory of Dask's scheduler after a tenth, half and all of the visits; prints and returns it.

    The visits find no guest, so they return at once: Dask's part is the same.
    """
    with _cluster() as (made, scheduler):
        return asyncio.run(_visit(_options(made), scheduler, count=count, limit=limit))


async def _visit(options: ClusterOptions, scheduler: int, *, count: int, limit: float) -> dict[str, int]:
    quiet(asyncio.get_running_loop())
    client = await Client(options.scheduler, asynchronous=True, security=security_of(options))
    await client.wait_for_workers(_WORKERS)
    workers = list((await client.scheduler.identity())["workers"])
    found: dict[str, int] = {}
    done, began = 0, time.monotonic()

    async def keep_visiting(address: str, until: float) -> None:
        nonlocal done
        while done < until and time.monotonic() - began < limit:
            await result(submit(client, address, visit, "nobody", "bench", Sealed((bytes(300),)), 0.0))
            done += 1

    for part in (0.1, 0.5, 1.0):
        travels = (keep_visiting(each, part * count) for each in workers for _ in range(_AT_A_TIME))
        await asyncio.gather(*travels)
        found[f"{done:,}"] = memory = _memory_of(scheduler)
        seconds = time.monotonic() - began
        print(f"{done:>9,} visits, {seconds:>4.0f} s: Dask's scheduler has {memory} MiB", flush=True)
    await client.close()
    return found
