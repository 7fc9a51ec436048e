"""A cursor: the position in the expansion of one rule into images."""

from __future__ import annotations

from collections import deque
from dataclasses import field
from typing import TYPE_CHECKING, Literal

from pipeline.dataclass import dataclass
from pipeline.model.faults import too_few_tags
from pipeline.scheduler.tag_pages import TagPages

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pipeline.errors import Fault, Side
    from pipeline.model.reference import Reference
    from pipeline.model.selection import Rule
    from pipeline.model.tag_selection import TagSelection
    from pipeline.scheduler.listed_digests import DigestListing


@dataclass(slots=True)
class Cursor:
    """The state of one rule's expansion."""

    rule: Rule
    names: deque[tuple[str, int | None]] = field(default_factory=deque)
    """Tags and digests that are not images yet, with their position if the rule names them."""
    state: Literal["ready", "asked", "listed", "failed"] = "ready"
    """ready: the next page is requested when names run out; asked: it is requested; listed: there are no more
    pages; failed: the list ends with a fault."""
    pages: TagPages = field(default_factory=TagPages)
    tags: int = 0
    chosen: TagSelection | None = None
    """Selects tags of the list; None: the rule names its tags."""
    fault: Fault | None = None
    """Why the list ends here; the tags before are copied anyway, unless the rule needs the whole list."""
    listing: DigestListing | None = None
    """The listing of its source, if its tags come from there; None: from the registry's own list."""
    pushed: dict[str, float] = field(default_factory=dict)
    """By tag: when it was pushed, by that listing."""
    undated: str = ""
    """A tag whose date the rule needs, but which the listing does not state."""
    listings: list[DigestListing] = field(default_factory=list)
    """Listings of its source and its destinations, if they save requests."""
    is_weighed: bool = False
    """Whether these have been read as far as it pays off for the names."""

    def fail(self, fault: Fault) -> None:
        """End the list here."""
        self.state, self.fault = "failed", fault

    @property
    def needs_dates(self) -> bool:
        """Whether the rule depends on when tags were pushed."""
        return self.rule.options.tags is not None and self.rule.options.tags.need_dates

    def pushed_at(self, tag: str) -> float:
        """When a tag was pushed, in seconds since 1970; 0, which is noted, if the listing lacks it."""
        when = self.pushed.get(tag, 0.0)
        if not when:
            self.undated = tag
        return when

    def read_from(self, listing: DigestListing | None, chosen: TagSelection) -> None:
        """Start to read the tags: those of a listing, or of the registry's own list."""
        self.listing, self.chosen = listing, chosen
        self.state, self.pages, self.tags = "ready", TagPages(), 0

    def take(self, tags: Sequence[str]) -> None:
        """Add a page of the list."""
        assert self.chosen is not None
        self._name(self.chosen.add(tags))

    def list_ended(self) -> None:
        """Add the tags that could be selected only from the whole list; too few tags are a fault."""
        assert self.chosen is not None
        chosen = self.chosen
        names = chosen.end()
        if chosen.selected < chosen.least:
            self.fail(too_few_tags(self.rule.source, chosen.selected, least=chosen.least, listed=self.tags))
        else:
            self._name((*names, *chosen.missing))

    def _name(self, tags: Iterable[str]) -> None:
        self.names.extend((tag, None) for tag in tags)
        self.is_weighed = False

    def listed(self, reference: Reference, side: Side) -> str:
        """The digest of a tag by a listing, given only once, since it may change later; empty: unknown."""
        for listing in self.listings:
            if (listing.repository, listing.side) == (reference.repository, side):
                return listing.digests.pop(reference.name, "")
        return ""
