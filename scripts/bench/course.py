"""One complete case: registries, possibly far away, and each client in turn."""

from __future__ import annotations

import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.bench.clients import Job, bare
from scripts.bench.counting import State, bytes_sent, bytes_stored, count
from scripts.bench.delay import behind, reached
from scripts.bench.judging import faults
from scripts.corpus import Filler
from scripts.measure import Cost, measure
from tests.real.servers import DockerRegistry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scripts.bench.cases import Case
    from scripts.bench.clients import Client
    from tests.real.wire import Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of one client."""

    case: str
    client: str
    state: State
    cost: Cost
    source: Counter[str]
    """Kind of request -> how many the source registry answered."""
    destination: Counter[str]
    """The same for all destinations together."""
    read: int
    """Bytes of blobs that the source sent."""
    written: int
    """Bytes of blobs that were uploaded."""

    @property
    def figures(self) -> dict[str, float]:
        """The figures for goals and tables, by name."""
        kinds = {kind: float(number) for kind, number in (self.source + self.destination).items()}
        return {
            "wall": self.cost.wall,
            "cpu": self.cost.cpu,
            "memory": self.cost.pss / 1e6,
            "requests": float(self.source.total() + self.destination.total()),
            "read": self.read / 1e6,
            "written": self.written / 1e6,
            **kinds,
        }


_RAM_DISK = Path("/dev/shm")


class _Side:
    """Registries of one side, each behind a proxy if it has to be far away."""

    def __init__(self, resources: ExitStack, case: Case, *, number: int) -> None:
        # The server's own in-memory storage takes time that grows with the square of a blob's size.
        kind = {"place": _RAM_DISK if _RAM_DISK.exists() else None} if case.bare else {"memory": True}
        self.registries = [
            resources.enter_context(DockerRegistry(**kind, tls=case.tls)) for _ in range(number)
        ]
        self.endpoints: list[Endpoint] = [
            resources.enter_context(behind(each.endpoint, case.way)) if case.way else each.endpoint
            for each in self.registries
        ]


class Course:
    """A case with its source filled."""

    def __init__(self, name: str, case: Case, resources: ExitStack) -> None:
        """Start and fill the source, which lives as long as `resources`."""
        self.name, self.case = name, case
        self._resources = resources
        self._source = _Side(resources, case, number=1)
        self._filler = Filler(corpus=case.corpus, endpoint=self._source.registries[0].endpoint)
        self._filler.fill(turning="changed" in case.states)

    def ceiling(self) -> str:
        """The maximum throughput of the way to the registries, in words; empty: no proxy."""
        way = self.case.way
        if way is None:
            return ""
        done = reached(self._source.endpoints[0])
        return (
            f"the proxy lets 64 connections do {done:,.0f} requests a second, of {way.ceiling:,.0f} that"
            f" {self.case.about} allows"
        )

    def run(self, clients: Sequence[Client], *, rounds: int) -> list[Run]:
        """All clients in turn, `rounds` times, each time into new destinations."""
        taking_part = [
            client
            for client in (*clients, *([bare()] if self.case.bare else []))
            if client.name not in self.case.without
            and (client.images is None or self.case.corpus.images <= client.images)
        ]
        return [
            run
            for _ in range(1 if self.case.once else rounds)
            for client in taking_part
            for run in self._run_client(client)
        ]

    def _run_client(self, client: Client) -> list[Run]:
        runs = []
        with ExitStack() as resources:
            destinations = _Side(resources, self.case, number=self.case.destinations)
            job = Job(
                source=self._source.endpoints[0],
                destinations=destinations.endpoints,
                repositories=self.case.corpus.repositories(),
                folder=Path(resources.enter_context(tempfile.TemporaryDirectory())),
            )
            for state in self.case.states:
                if state == "changed":
                    self._filler.turn(changed=True)
                    resources.callback(self._filler.turn, changed=False)
                runs.append(self._run(client, state, job, destinations.registries))
        return runs

    def _run(self, client: Client, state: State, job: Job, destinations: Sequence[DockerRegistry]) -> Run:
        registries = [self._source.registries[0], *destinations]
        before = [len(registry.requests()) for registry in registries]
        output = job.folder / "output.log"
        cost = measure(client.command(job), output=output, folder=job.folder)
        if cost.status != 0:
            words = output.read_text(errors="replace")[-3000:]
            raise SystemExit(f"{words}\n{client.name} ({state}) ended with exit status {cost.status}")
        logs = [each.requests()[start:] for each, start in zip(registries, before, strict=True)]
        wrong = [fault for each in destinations for fault in faults(each.endpoint, self._filler.digests)]
        if wrong:
            raise SystemExit("\n".join([*wrong[:20], f"{client.name}: {len(wrong)} faults, so no figures"]))
        return Run(
            case=self.name,
            client=client.name,
            state=state,
            cost=cost,
            source=count(logs[0]),
            destination=sum((count(log) for log in logs[1:]), Counter()),
            read=bytes_sent(logs[0]),
            written=sum(bytes_stored(log, self._filler.sizes) for log in logs[1:]),
        )
