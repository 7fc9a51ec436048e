"""The requests of `plan --explain`: each is made once, by the same tasks as in a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import Fault, RegistryError
from pipeline.model.faults import no_dates, untrusted_list
from pipeline.model.listing_tasks import ListDigests, ListTags
from pipeline.model.messages import (
    DigestsListed,
    FetchManifest,
    HeadManifests,
    ManifestFetched,
    ManifestsHeaded,
    TagsListed,
)
from pipeline.model.tree import unread
from pipeline.scheduler.tag_pages import TagPages
from pipeline.settings import PAGE
from pipeline.stages.run import make_runner

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline.commands.job import Job
    from pipeline.errors import Side
    from pipeline.model.manifest import Manifest
    from pipeline.model.messages import Outcome, Task
    from pipeline.model.pruning import Pruning
    from pipeline.model.reference import Reference, Repository


class Asking:
    """Answers of the registries.

    Its methods raise RegistryError if there is no answer.
    """

    def __init__(self, job: Job) -> None:
        """Start without requests."""
        self._run = make_runner(job.settings, job.keyring)
        self._tags: dict[tuple[Repository, Side], list[str]] = {}
        self._pushed: dict[Repository, dict[str, float]] = {}
        self._digests: dict[tuple[Reference, Side], str] = {}
        self._read: dict[Repository, dict[str, Manifest]] = {}

    def tags(self, repository: Repository, side: Side = "source") -> list[str]:
        """All tags of a repository, without duplicates."""
        key = (repository, side)
        if key not in self._tags:
            self._tags[key] = list(dict.fromkeys(self._pages(repository, side)))
        return self._tags[key]

    def pushed(self, repository: Repository) -> Mapping[str, float]:
        """When the tags of a source were pushed, by its catalogue's listing."""
        if repository not in self._pushed:
            pages, found = TagPages(), dict[str, float]()
            while True:
                outcome = self._ask(ListDigests(repository=repository, page=pages.page))
                assert isinstance(outcome, DigestsListed)
                if outcome.page is None:
                    raise RegistryError(no_dates(repository))
                found.update((tag.name, tag.pushed) for tag in outcome.page.tags)
                names = tuple(tag.name for tag in outcome.page.tags)
                pages.turn(TagsListed(key=outcome.key, tags=names, next=outcome.page.next))
                if not pages.page:
                    break
            self._pushed[repository] = found
        return self._pushed[repository]

    def digest(self, source: Reference) -> str:
        """The digest of a source's tag, or the digest itself if the source has it."""
        return self._digest(source, "source")

    def there(self, destination: Reference) -> str:
        """The digest of a destination's tag; empty: it is missing."""
        return self._digest(destination, "destination")

    def tree(self, source: Reference, wanted: Pruning) -> Mapping[str, Manifest]:
        """The manifests that a pruning keeps of an image, by digest; others of the repository do no harm.

        Raises:
            ManifestError: they are nested too deep, or too many.
        """
        root, read = self.digest(source), self._read.setdefault(source.repository, {})
        while missing := unread(root, read, wanted):
            for digest in missing:
                task = FetchManifest(repository=source.repository, digest=digest, config=digest == root)
                outcome = self._ask(task)
                assert isinstance(outcome, ManifestFetched)
                read[digest] = outcome.manifest
        return read

    def _digest(self, reference: Reference, side: Side) -> str:
        key = (reference, side)
        if key not in self._digests:
            if side == "source":
                head = self._ask(HeadManifests(source=reference, destinations=()))
                assert isinstance(head, ManifestsHeaded)
                found = head.source
            else:
                head = self._ask(HeadManifests(source=None, destinations=(reference,)))
                assert isinstance(head, ManifestsHeaded)
                (found,) = head.destinations
            if isinstance(found, Fault):
                raise RegistryError(found)
            self._digests[key] = found.digest if found is not None else ""
        return self._digests[key]

    def _pages(self, repository: Repository, side: Side) -> Iterator[str]:
        pages = TagPages()
        while True:
            outcome = self._ask(ListTags(repository=repository, side=side, page=pages.page, count=PAGE))
            assert isinstance(outcome, TagsListed)
            trouble = pages.turn(outcome)
            yield from outcome.tags
            if trouble:
                raise RegistryError(untrusted_list(repository, trouble, pages=len(pages.seen)))
            if not pages.page:
                return

    def _ask(self, task: Task) -> Outcome:
        """Run a task here, as a worker would."""
        outcome = self._run(task, lambda _: None, lambda _: None)
        fault = getattr(outcome, "fault", None)
        if fault is not None:
            raise RegistryError(fault)
        return outcome
