"""The pages of one tag list, and whether they can be trusted."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass

if TYPE_CHECKING:
    from pipeline.model.faults import ListTrouble
    from pipeline.model.messages import TagsListed

MAX_PAGES = 10_000


@dataclass(slots=True)
class TagPages:
    """The position in a list that is being read."""

    page: str = ""
    """The query of the page to request; empty: the first one, or after a turn, no further one."""
    seen: set[int] = field(default_factory=set)
    """Hashes of the pages' queries, to detect a loop."""
    last: frozenset[str] = frozenset()
    """The tags of the page before, to detect a repeated page."""

    def turn(self, outcome: TagsListed) -> ListTrouble | None:
        """Turn to the next page; returns why the list cannot be trusted."""
        tags = frozenset(outcome.tags)
        repeats = bool(tags) and tags <= self.last
        self.page, self.last = outcome.next, tags
        if outcome.guessed and repeats:
            self.page = ""
        if not self.page:
            return None
        mark = hash(self.page)
        if mark in self.seen:
            return "loops"
        if repeats:
            return "repeats"
        if len(self.seen) >= MAX_PAGES:
            return "endless"
        self.seen.add(mark)
        return None
