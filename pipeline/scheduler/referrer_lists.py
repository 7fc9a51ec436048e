"""Lists of what belongs to a manifest at its source, read once for all images that need one.

One request finds out whether a registry has a referrers API; the others wait for its answer. Fallback tags
and cosign's tags are looked up in the repository's tag list, which a rule for all tags reads anyway.
"""

from __future__ import annotations

from dataclasses import field
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal

from pipeline.dataclass import dataclass
from pipeline.model.companions import cosign_tags, fallback_tag, subject
from pipeline.model.listing_tasks import ListTags
from pipeline.model.referrers import ListReferrers
from pipeline.scheduler.need import Need
from pipeline.scheduler.notices import ReferrersFound
from pipeline.settings import PAGE

if TYPE_CHECKING:
    from pipeline.errors import Fault
    from pipeline.model.messages import ReferrersListed, TagsListed
    from pipeline.model.reference import Repository
    from pipeline.scheduler.shared_state import SharedState

TAGS = 4
"""Tags in question for each manifest: reading the tag list may cost no more than requesting each of them."""
MAX_FAILURES = 3
"""Server errors in a row after which a registry is asked for no more lists: images would wait for each."""


@dataclass(slots=True)
class CompanionTags:
    """The tags of a repository that list companions, as far as its list has been read."""

    repository: Repository
    state: Literal["partial", "asked", "complete", "unknown"] = "partial"
    """partial: pages are missing; asked: one is requested; complete: all were read; unknown: the list is
    refused or too long."""
    page: str = ""
    """The query of the next page."""
    pages: int = 0
    tags: set[str] = field(default_factory=set)

    def ask(self) -> ListTags:
        """The task that reads the next page."""
        return ListTags(repository=self.repository, page=self.page, count=PAGE)


@dataclass(slots=True)
class ReferrerList(Need):
    """What belongs to one manifest."""

    repository: Repository
    digest: str
    with_tags: bool
    """Whether tags are considered; else only the API."""
    state: Literal["waiting", "asked"] = "waiting"
    """waiting: for the tag list, or for the answer whether the registry has an API; asked: its task is queued
    or runs."""
    task: ListReferrers | None = None
    key: str = field(init=False)

    def __post_init__(self) -> None:
        """Make the key."""
        self.key = f"{self.repository}@{self.digest}{' with tags' if self.with_tags else ''}"


class ReferrerLists:
    """The ledger of lists; companions get them as notices."""

    def __init__(self, state: SharedState) -> None:
        """Begin without lists."""
        self._state = state
        self._lists: dict[str, ReferrerList] = {}
        self._has_api: dict[str, bool] = {}
        """By registry: whether it has a referrers API, once that is known."""
        self._probes: dict[str, str] = {}
        """By registry: key of the list that finds out whether it has an API."""
        self._failures: dict[str, list[Fault]] = {}
        """By registry: server errors in a row instead of lists."""
        self._tags: dict[str, CompanionTags] = {}

    def want(self, who: str, repository: Repository, digest: str, *, with_tags: bool) -> None:
        """Request what belongs to a manifest; a notice follows."""
        wanted = ReferrerList(repository, digest, with_tags)
        found = self._lists.setdefault(wanted.key, wanted)
        found.join(who)
        self._ask(found)

    def _ask(self, found: ReferrerList) -> None:
        """Queue the task as soon as it is known what to ask."""
        registry = found.repository.registry
        failures = self._failures.get(registry, [])
        if found.state == "waiting" and len(failures) >= MAX_FAILURES:
            self._tell(found, ReferrersFound("", found.digest, fault=failures[-1]))
            return
        api, probe = self._has_api.get(registry), self._probes.get(registry, found.key)
        waits = (api is None and probe != found.key) or (found.with_tags and not self._knows_tags(found))
        if found.state == "asked" or waits:
            return
        fallback, tags = self._present(found)
        if api is False and fallback is False and not tags:
            self._tell(found, ReferrersFound("", found.digest))
            return
        if api is None:
            self._probes[registry] = found.key
        found.task = ListReferrers(
            repository=found.repository,
            digest=found.digest,
            api=api is not False,
            fallback=fallback,
            tags=tags,
            need=found.key,
        )
        found.state = "asked"
        self._state.ready(found.task)

    def _knows_tags(self, found: ReferrerList) -> bool:
        names = self._tags.setdefault(str(found.repository), CompanionTags(found.repository))
        if names.state == "partial":
            names.state = "asked"
            self._state.ready(names.ask())
        return names.state in ("complete", "unknown")

    def _present(self, found: ReferrerList) -> tuple[bool | None, tuple[str, ...]]:
        """Whether the fallback tag is there (None: unknown), and which of cosign's may be."""
        if not found.with_tags:
            return False, ()
        names, tags = self._tags[str(found.repository)], cosign_tags(found.digest)
        if names.state == "unknown":
            return None, tags
        return fallback_tag(found.digest) in names.tags, tuple(tag for tag in tags if tag in names.tags)

    def page(self, task: ListTags, outcome: TagsListed) -> None:
        """Process a page of a tag list, whoever requested it."""
        names = self._tags.get(str(task.repository))
        if names is None and not task.page:
            names = self._tags[str(task.repository)] = CompanionTags(task.repository)
        if names is None or names.page != task.page or names.state in ("complete", "unknown"):
            return
        names.tags.update(tag for tag in outcome.tags if subject(tag))
        names.page, names.pages = outcome.next, names.pages + 1
        is_wanted = names.state == "asked"
        names.state = "partial" if names.page else "complete"
        if is_wanted and names.page and names.pages >= TAGS * self._waiting(task.repository):
            names.state = "unknown"
        if is_wanted:
            self._resume(repository=task.repository)

    def _waiting(self, repository: Repository) -> int:
        """How many manifests wait for the tags of a repository."""
        return sum(each.repository == repository and each.state == "waiting" for each in self._lists.values())

    def page_failed(self, task: ListTags) -> None:
        """A page cannot be read: each tag is requested."""
        names = self._tags.get(str(task.repository))
        if names is not None and names.state == "asked" and names.page == task.page:
            names.state = "unknown"
            self._resume(repository=task.repository)

    def _resume(self, *, repository: Repository | None = None, registry: str = "") -> None:
        """Queue what waited for a tag list or a registry."""
        for found in list(self._lists.values()):
            if found.repository == repository or found.repository.registry == registry:
                self._ask(found)

    def got(self, task: ListReferrers, outcome: ReferrersListed) -> None:
        """A list was read."""
        self._failures.pop(task.repository.registry, None)
        if outcome.api is not None:
            self._has_api[task.repository.registry] = outcome.api
        self._end(task, ReferrersFound("", task.digest, outcome.referrers, outcome.tags))

    def failed(self, task: ListReferrers, fault: Fault) -> None:
        """A list cannot be read."""
        if (fault.status or 0) >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self._failures.setdefault(task.repository.registry, []).append(fault)
        self._end(task, ReferrersFound("", task.digest, fault=fault))

    def _end(self, task: ListReferrers, notice: ReferrersFound) -> None:
        found = self._lists.get(task.need)
        if found is not None:
            self._tell(found, notice)
        self._end_probe(task.repository.registry, task.need)

    def _tell(self, found: ReferrerList, notice: ReferrersFound) -> None:
        del self._lists[found.key]
        self._state.notices.extend(
            ReferrersFound(who, notice.digest, notice.referrers, notice.tags, notice.fault)
            for who in found.needed_by
        )

    def _end_probe(self, registry: str, key: str) -> None:
        if self._probes.get(registry) == key:
            del self._probes[registry]
            self._resume(registry=registry)

    def returned(self, task: ListReferrers) -> bool:
        """A task came back without an outcome; False: nobody needs it any more."""
        found = self._lists.get(task.need)
        if found is not None and found.needed_by:
            return self._state.ready(task)
        self._lists.pop(task.need, None)
        self._end_probe(task.repository.registry, task.need)
        return False

    def leave(self, who: str) -> None:
        """Companions do not need their lists any more."""
        for found in [each for each in self._lists.values() if who in each.needed_by]:
            found.leave(who)
            if found.needed_by or (found.task and self._state.queue.running(found.task.key)):
                continue
            if found.task:
                self._state.queue.drop(found.task.key)
            del self._lists[found.key]
            self._end_probe(found.repository.registry, found.key)

    def payer(self, task: ListReferrers) -> str:
        """Who pays for a list; empty: nobody."""
        found = self._lists.get(task.need)
        return found.payer if found else ""

    def validate(self) -> None:
        """Check that each list is requested, or waits for something that is.

        Raises:
            AssertionError: one is not.
        """
        if self._state.is_stopping:
            return
        for found in self._lists.values():
            if found.state == "asked":
                assert found.task is not None
                assert self._state.queue.knows(found.task.key), f"nobody lists {found.key}"
                continue
            names = self._tags.get(str(found.repository))
            listed = found.with_tags and names is not None and names.state == "asked"
            assert listed or found.repository.registry in self._probes, f"{found.key} waits for nothing"
