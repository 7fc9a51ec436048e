"""Kept tags: the tag lists of destinations whose rules never move an existing tag.

One list for each repository replaces two requests for each tag. If it cannot be read, each image asks its
destination as usual: an incomplete list never proves that a tag is absent.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Literal

from pipeline.dataclass import dataclass
from pipeline.model.listing_tasks import ListTags
from pipeline.scheduler.tag_pages import TagPages
from pipeline.settings import PAGE

if TYPE_CHECKING:
    from pipeline.model.messages import TagsListed
    from pipeline.model.reference import Reference, Repository
    from pipeline.model.selection import Rule
    from pipeline.scheduler.shared_state import SharedState


@dataclass(slots=True)
class _TagList:
    state: Literal["reading", "read", "refused"] = "reading"
    pages: TagPages = field(default_factory=TagPages)
    tags: set[str] = field(default_factory=set)


class KeptTags:
    """The ledger of destinations' tag lists."""

    def __init__(self, state: SharedState) -> None:
        """No list is read."""
        self._state = state
        self._lists: dict[Repository, _TagList] = {}

    def is_ready(self, rule: Rule) -> bool:
        """Whether the lists that a rule needs have been read; requests those that nobody has requested."""
        options = self._state.options[rule.number]
        if not options.keep or options.force or self._state.aim == "verify":
            return True
        for target in rule.targets:
            if target.repository not in self._lists:
                self._lists[target.repository] = _TagList()
                self._ask(target.repository)
        return all(self._lists[target.repository].state != "reading" for target in rule.targets)

    def forget(self, rule: Rule) -> None:
        """A rule of a pattern has named all its images: there may be thousands of such lists."""
        for target in rule.targets:
            self._lists.pop(target.repository, None)

    def _ask(self, repository: Repository) -> None:
        page = self._lists[repository].pages.page
        self._state.ready(ListTags(repository=repository, side="destination", page=page, count=PAGE))

    def listed(self, task: ListTags, outcome: TagsListed) -> None:
        """Process a page."""
        found = self._lists[task.repository]
        found.tags.update(outcome.tags)
        if found.pages.turn(outcome):
            found.state = "refused"
        elif found.pages.page:
            self._ask(task.repository)
        else:
            found.state = "read"

    def failed(self, task: ListTags) -> None:
        """The list cannot be read."""
        self._lists[task.repository].state = "refused"

    def has(self, destination: Reference, rule: int) -> bool:
        """Whether the list shows the tag, and a rule keeps it."""
        options = self._state.options[rule]
        found = self._lists.get(destination.repository)
        return found is not None and destination.name in found.tags and options.keeps(destination)
