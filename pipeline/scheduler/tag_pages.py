"""The pages of one tag list, and when they cannot be trusted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.model.faults import ListTrouble
    from pipeline.model.messages import TagsListed

MAX_PAGES = 10_000


@dataclass(slots=True)
class TagPages:
    """Where the reading of a list stands."""

    page: str = ""
    """The query of the page to ask for; empty: the first one, or after a turn: there is none."""
    seen: set[int] = field(default_factory=set)
    """Hashes of the pages' queries, to catch a list that loops."""
    last: frozenset[str] = frozenset()
    """The page before, to catch one that repeats."""

    def turn(self, outcome: TagsListed) -> ListTrouble | None:
        """Go on to the next page; returns why the list cannot be trusted."""
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
