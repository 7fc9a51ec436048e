"""Tag lists: the pages from which rules select their tags, by the registry's own list or by its catalogue.

A catalogue's listing tells digests and dates too. It takes the place of the list where a rule depends on
dates, where it is the same answer, and where the records know what it will be compared with. If it cannot be
used, the list is read, unless the rule needs dates.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.model.faults import no_dates, short_listing, untrusted_list
from pipeline.model.listing_tasks import ListDigests, ListTags
from pipeline.model.messages import TagsListed, TaskFailed
from pipeline.settings import PAGE

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.errors import Fault
    from pipeline.model.messages import DigestsListed
    from pipeline.scheduler.cursor import Cursor
    from pipeline.scheduler.shared_state import SharedState


class TagLists:
    """Reads the tags of rules, page by page.

    Args:
        state: what all parts share.
        fall_back: begins to read a rule's tags from the registry's own list, since the listing has a fault.
    """

    def __init__(self, state: SharedState, fall_back: Callable[[Cursor, Fault], None]) -> None:
        """Nothing is read."""
        self._state, self._fall_back = state, fall_back
        self._asking: dict[str, list[Cursor]] = {}

    def ask(self, cursor: Cursor) -> None:
        """Request the next page."""
        cursor.state = "asked"
        page, source = cursor.pages.page, cursor.rule.source
        task: ListTags | ListDigests = ListTags(repository=source, page=page, count=PAGE)
        if cursor.listing is not None:
            task = ListDigests(repository=source, page=page, is_optional=not cursor.needs_dates)
        self._asking.setdefault(task.key, []).append(cursor)
        self._state.ready(task)

    def is_asking(self, cursor: Cursor) -> bool:
        """Whether a page of the cursor is requested."""
        return any(cursor is each for cursors in self._asking.values() for each in cursors)

    def page(self, task: ListTags, outcome: TagsListed) -> None:
        """Process a page of tags."""
        for cursor in self._asking.pop(task.key, ()):
            self._turn(cursor, outcome)

    def failed(self, task: ListTags, fault: Fault) -> None:
        """A page cannot be read: the rule is retried in the next pass, or fails."""
        for cursor in self._asking.pop(task.key, ()):
            cursor.fail(fault)

    def listing(self, task: ListDigests, outcome: DigestsListed | TaskFailed) -> None:
        """Process a page of a catalogue's listing."""
        for cursor in self._asking.pop(task.key, ()):
            trouble = self._trouble(cursor, outcome)
            if trouble is None:
                assert not isinstance(outcome, TaskFailed)
                assert outcome.page is not None
                names = tuple(tag.name for tag in outcome.page.tags)
                self._turn(cursor, TagsListed(key=task.key, tags=names, next=outcome.page.next))
            elif cursor.needs_dates:
                cursor.fail(trouble)
            else:
                self._fall_back(cursor, trouble)

    def _trouble(self, cursor: Cursor, outcome: DigestsListed | TaskFailed) -> Fault | None:
        """Take a page of a listing in; returns why a rule cannot use it, if so."""
        source, listing = cursor.rule.source, cursor.listing
        assert listing is not None
        if isinstance(outcome, TaskFailed):
            return outcome.fault
        listing.take(outcome)
        page = outcome.page
        if page is None:
            return no_dates(source)
        cursor.pushed.update((tag.name, tag.pushed) for tag in page.tags if tag.pushed)
        if page.short:
            return short_listing(source.registry, source.path, page.short)
        if listing.has_moved:
            words = "it changed while it was read"
            return replace(short_listing(source.registry, source.path, words), retryable=True)
        if not page.next and listing.entries < page.total:
            words = f"it has {listing.entries:,} entries, but the registry counts {page.total:,}"
            return short_listing(source.registry, source.path, words)
        return None

    def _turn(self, cursor: Cursor, outcome: TagsListed) -> None:
        trouble = cursor.pages.turn(outcome)
        cursor.tags += len(outcome.tags)
        cursor.take(outcome.tags)
        if trouble:
            cursor.fail(untrusted_list(cursor.rule.source, trouble, pages=len(cursor.pages.seen)))
        elif cursor.state == "asked" and cursor.pages.page:
            cursor.state = "ready"
        elif cursor.state == "asked":
            cursor.state = "listed"
            cursor.list_ended()
        if cursor.undated:
            cursor.names.clear()
            cursor.fail(no_dates(cursor.rule.source, cursor.undated))
