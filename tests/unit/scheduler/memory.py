"""The records in memory: what the scheduler reads and writes, without a disk."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from pipeline.model.facts import (
    Claim,
    FirstSeen,
    Holding,
    HoldingForgotten,
    ImageRow,
    RepositoryEntered,
    UnfinishedUpload,
)

if TYPE_CHECKING:
    from pipeline.model.facts import Fact
    from pipeline.model.reference import Repository


class MemoryFacts:
    """The records, in memory."""

    def __init__(self) -> None:
        self.run = ""
        self.helds: dict[tuple[str, str], str] = {}
        self.sources: dict[tuple[str, str], list[str]] = defaultdict(list)
        self.rows: dict[tuple[str, str, str], ImageRow] = {}
        self.claims: dict[str, Claim] = {}
        self.entries: set[Repository] = set()
        self.seen: dict[tuple[str, str, str], float] = {}
        self.sessions: dict[tuple[str, str], UnfinishedUpload] = {}

    def write(self, fact: Fact) -> None:
        match fact:
            case Holding():
                self.helds[str(fact.repository), fact.digest] = self.run
                if fact.is_blob:
                    key = (fact.repository.registry, fact.digest)
                    others = [path for path in self.sources[key] if path != fact.repository.path]
                    self.sources[key] = [fact.repository.path, *others][:3]
            case HoldingForgotten():
                self.helds.pop((str(fact.repository), fact.digest), None)
                paths = self.sources[fact.repository.registry, fact.digest]
                if fact.repository.path in paths:
                    paths.remove(fact.repository.path)
            case RepositoryEntered():
                self.entries.add(fact.repository)
            case UnfinishedUpload(url=""):
                self.sessions.pop((str(fact.repository), fact.digest), None)
            case UnfinishedUpload():
                self.sessions[str(fact.repository), fact.digest] = fact
            case ImageRow():
                self.rows[fact.source, fact.destination, fact.filter] = fact
            case FirstSeen():
                self.seen[str(fact.repository), fact.tag, fact.digest] = fact.when
            case Claim():
                self.claims[fact.destination] = fact

    def held(self, repository: Repository, digest: str) -> str:
        return self.helds.get((str(repository), digest), "")

    def mount_sources(self, registry: str, digest: str) -> tuple[str, ...]:
        return tuple(self.sources.get((registry, digest), ()))

    def entered(self, repository: Repository) -> bool:
        return repository in self.entries

    def unfinished(self, repository: Repository, digest: str) -> UnfinishedUpload | None:
        return self.sessions.get((str(repository), digest))

    def image(self, source: str, destination: str, platforms: str) -> ImageRow | None:
        return self.rows.get((source, destination, platforms))

    def first_seen(self, repository: Repository, tag: str, digest: str) -> float | None:
        return self.seen.get((str(repository), tag, digest))

    def knows(self, repository: Repository) -> bool:
        return any(source.startswith(f"{repository}:") for source, _, _ in self.rows)

    def claim(self, destination: str) -> Claim | None:
        return self.claims.get(destination)

    def again(self, run: str, after: str) -> tuple[tuple[ImageRow, ...], str]:
        """Pages of two rows, so that small tests turn pages."""
        wanted = [
            (f"{row.source} {row.destination}", row)
            for row in self.rows.values()
            if row.run == run and row.result == "failed" and row.retryable
        ]
        page = sorted((pair for pair in wanted if pair[0] > after), key=lambda pair: pair[0])
        rows = tuple(row for _, row in page[:2])
        return rows, page[1][0] if len(page) > 2 else ""
