"""Listed digests: what tags point to by a registry's catalogue, which saves a HEAD for each of them.

A listing is evidence for one thing: together with the records' row of an image, that the image is unchanged.
Everything else is asked by HEAD, so a listing need not be complete. It is read page by page, as long as it
costs less than what it saves.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import field
from http import HTTPStatus
from math import ceil
from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass
from pipeline.log import event_of, fault_fields
from pipeline.model.catalogue import KINDS, MAX_REPOSITORIES, api_host, known_kind
from pipeline.model.listing_tasks import ListDigests
from pipeline.model.messages import ManifestHead
from pipeline.model.reference import Reference, is_digest
from pipeline.model.selection import AllTags, read_name
from pipeline.scheduler.previous_results import PreviousResults

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipeline.errors import Fault, Side
    from pipeline.model.catalogue import CatalogueKind
    from pipeline.model.messages import DigestsListed
    from pipeline.model.reference import Repository
    from pipeline.model.selection import Rule
    from pipeline.scheduler.cursor import Cursor
    from pipeline.scheduler.image import Image
    from pipeline.scheduler.lookups import Lookups
    from pipeline.scheduler.order import Order
    from pipeline.scheduler.shared_state import SharedState

_SAMPLE = 8
"""Tags of a rule that are looked up in the records, to estimate how many of them they know."""
_FIND_OUT = 50
"""HEADs to be saved for which it is worth finding out what kind of catalogue a registry has."""
_ELSEWHERE = 10
"""The same where another host has the catalogue (Docker Hub, GitHub), and perhaps a login of its own."""
_FAILURES = 3
"""Failed listings after which a registry is asked for no more of them; silence and refusals count at once."""
_LONG_PAUSE = 10.0
"""Seconds that rules wait for a registry that pauses, rather than look up each tag when it is over."""
_REFUSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_WHOLE = frozenset({"acr", "ecr", "gitlab", "gar"})
"""Kinds whose listings have every tag, on pages that begin after a name. Harbor's leave out accessories of
images: since 2.5 these are cosign's signatures, which its list of tags has."""
_MOST_ENTRIES = MAX_REPOSITORIES
"""Of one listing, which is held in memory."""


@dataclass(slots=True)
class DigestListing:
    """One listing that is read for one rule: how far, and what it tells."""

    repository: Repository
    side: Side
    page: str = ""
    """The next page; empty: the first one."""
    is_asked: bool = False
    has_ended: bool = False
    pages: int = 0
    entries: int = 0
    total: int = -1
    """Entries of all pages, as the registry states it; -1: it does not."""
    digests: dict[str, str] = field(default_factory=dict)
    """By tag; a digest is used once. Empty: it is not stated, or two are."""
    found: int = 0
    """Digests told so far."""
    has_moved: bool = False
    """Whether it changed while it was read (another total, a tag again), so that tags may be missing."""
    seen: set[int] = field(default_factory=set)
    """Hashes of the pages that were read."""

    def is_worth_it(self, wanted: int, *, least: int) -> bool:
        """Whether another page costs less than a HEAD for each of so many tags.

        Args:
            wanted: tags whose digest is not known yet.
            least: how many of them are worth the first page.
        """
        if self.has_ended or not self.pages:
            return not self.has_ended and wanted >= least
        if self.total > self.entries > 0:
            return ceil((self.total - self.entries) * self.pages / self.entries) < wanted
        return wanted > self.pages and self.found >= self.pages

    def take(self, outcome: DigestsListed) -> None:
        """Add a page."""
        page = outcome.page
        self.seen.add(hash(self.page))
        if page is None:
            self.has_ended = True
            return
        for tag in page.tags:
            is_repeated = tag.name in self.digests
            self.has_moved = self.has_moved or is_repeated
            if not is_repeated or self.digests[tag.name] != tag.digest:
                self.digests[tag.name] = "" if is_repeated else tag.digest
        self.has_moved = self.has_moved or (self.pages > 0 and page.total != self.total)
        self.pages, self.found = self.pages + 1, self.found + len(page.tags)
        self.entries, self.total = self.entries + page.entries, page.total
        self.page = page.next
        self.has_ended = (
            not page.next or bool(page.short) or hash(page.next) in self.seen or self.entries >= _MOST_ENTRIES
        )


class ListedDigests:
    """Reads listings for rules, and knows which registries have them."""

    def __init__(self, state: SharedState, lookups: Lookups, *, order: Order) -> None:
        """Nothing is read. `order`: knows the sources to which this run writes; a listing may lag behind."""
        self._state, self._lookups, self._order = state, lookups, order
        self._previous = PreviousResults(state)
        self._reading: dict[str, list[DigestListing]] = {}
        """By key of the task."""
        self._kinds: dict[str, CatalogueKind | None] = {}
        """By registry, as far as it was found out."""
        self._without: set[str] = set()
        """Registries without such a listing, or that refuse it."""
        self._failures: Counter[str] = Counter()
        self._told: set[str] = set()

    def is_ready(self, cursor: Cursor) -> bool:
        """Whether all pages that are worth it for a rule's names have been read; requests the next ones."""
        if not cursor.is_weighed:
            for each in cursor.listings:
                if each.is_asked and self._is_held_up(each):
                    self._leave(each)
            if any(each.is_asked for each in cursor.listings):
                return False
            asked = [self._ask(each) for each in self._worth(cursor)]
            cursor.is_weighed = not asked
        return cursor.is_weighed

    def look(self, cursor: Cursor, source: Reference, images: Iterable[Image]) -> None:
        """Request the digests of both sides, but for those that listings tell and the records confirm."""
        told = cursor.listed(source, "source")
        known: dict[str, Reference | ManifestHead | None] = {}
        asked: dict[str, Reference | ManifestHead | None] = {}
        for image in images:
            there = cursor.listed(image.destination, "destination")
            confirmed = (told or there) and not image.seeks_companions and image.asked_for is not None
            if not (confirmed and self._previous.is_recorded(image, told, there)):
                asked[image.key] = image.asked_for
                continue
            found = ManifestHead(digest=there) if there else image.destination
            (known if told else asked)[image.key] = found
            if there:
                self._count(image.destination, "destination")
        if known:
            self._count(source, "source")
            self._lookups.look(source, known, listed=told)
        if asked:
            self._lookups.look(source, asked)

    def _count(self, reference: Reference, side: Side) -> None:
        self._state.queue.registry(reference.repository.registry).by_listing[side] += 1

    def _worth(self, cursor: Cursor) -> Iterator[DigestListing]:
        """The listings of which another page is worth it."""
        rule = cursor.rule
        if not self._may_help(rule):
            return
        tags = [(name, position) for name, position in cursor.names if not is_digest(read_name(name))]
        known = self._known_share(rule, tags) if len(tags) > 1 or (tags and cursor.listing) else 0.0
        if not known:
            return
        if not cursor.listings:
            places = dict.fromkeys(target.repository for target in rule.targets)
            if not self._order.is_fed(rule.number):
                cursor.listings = [cursor.listing or DigestListing(rule.source, "source")]
            cursor.listings += [DigestListing(place, "destination") for place in places]
        for listing in cursor.listings:
            registry = listing.repository.registry
            is_free = listing is not cursor.listing and not self._is_held_up(listing)
            if is_free and self._has_one(registry):
                wanted = sum(tag not in listing.digests for tag in _tags_at(listing, rule, tags))
                least = self._least(registry)
                if listing.is_worth_it(int(wanted * known), least=least):
                    yield listing

    def _is_held_up(self, listing: DigestListing) -> bool:
        """Whether a listing waits for a destination that pauses, for which others need not wait."""
        left = self._state.queue.registry(listing.repository.registry).paused_until - self._state.now
        return listing.side == "destination" and left > _LONG_PAUSE

    def _leave(self, listing: DigestListing) -> None:
        """Wait for a listing's page no more."""
        task = _page(listing)
        listing.is_asked, listing.has_ended = False, True
        self._reading[task.key].remove(listing)
        if not self._reading[task.key]:
            del self._reading[task.key]
            self._state.queue.drop(task.key)

    def _may_help(self, rule: Rule) -> bool:
        """Whether digests of a listing can save requests of a rule."""
        options = self._state.options[rule.number]
        costs_more = options.force or options.keep or options.referrers.when == "always"
        return not costs_more and self._state.aim != "verify"

    def replaces(self, rule: Rule) -> bool:
        """Whether the listing of a rule's source is read in place of its list of tags."""
        registry, tags = rule.source.registry, rule.options.tags
        if tags is not None and tags.need_dates:
            return True
        may_help = self._may_help(rule) and not self._order.is_fed(rule.number)
        kind = self._kind(registry) if self._has_one(registry) and may_help else None
        takes_all = isinstance(rule.selection, AllTags) and tags is None
        return kind == "gar" or (kind in _WHOLE and takes_all and self._state.facts.knows(rule.source))

    def _has_one(self, registry: str) -> bool:
        """Whether a registry may have such a listing."""
        return registry not in self._without and self._kind(registry) != "v2"

    def _least(self, registry: str) -> int:
        """The HEADs to be saved for which the first page is worth it."""
        if self._kind(registry) is None:
            return _FIND_OUT
        setting = self._state.queue.registry(registry).settings.catalog
        return 2 if api_host(registry, setting) == registry else _ELSEWHERE

    def _known_share(self, rule: Rule, tags: list[tuple[str, int | None]]) -> float:
        """The share of a rule's tags that the records know to be at the first destination, by a sample."""
        sample = tags[:: max(1, len(tags) // _SAMPLE)]
        target, options = rule.targets[0], self._state.options[rule.number]
        rows = [
            self._state.facts.image(
                str(Reference(rule.source, name)),
                str(Reference(target.repository, target.written(name, position))),
                str(options.pruning),
            )
            for name, position in sample
        ]
        return sum(row is not None and row.result in ("copied", "unchanged") for row in rows) / max(
            1, len(rows)
        )

    def _kind(self, registry: str) -> CatalogueKind | None:
        """The kind of a registry's catalogue; None: nobody knows yet."""
        if registry not in self._kinds:
            setting = self._state.queue.registry(registry).settings.catalog
            self._kinds[registry] = setting.kind if setting else known_kind(registry)
        return self._kinds[registry]

    def learn(self, registry: str, kind: str) -> None:
        """A registry has a catalogue of that kind."""
        self._kinds[registry] = next((each for each in KINDS if each == kind), None)

    def _ask(self, listing: DigestListing) -> bool:
        listing.is_asked = True
        task = _page(listing)
        self._reading.setdefault(task.key, []).append(listing)
        return self._state.ready(task)

    def listed(self, task: ListDigests, outcome: DigestsListed) -> None:
        """Process a page."""
        registry = task.repository.registry
        self.learn(registry, outcome.kind)
        if outcome.page is None:
            self._without.add(registry)
        for listing in self._reading.pop(task.key, ()):
            listing.is_asked = False
            listing.take(outcome)

    def failed(self, task: ListDigests, fault: Fault) -> None:
        """A page cannot be read: the tags that it would have told are asked for."""
        registry = task.repository.registry
        self._failures[registry] += fault.status != HTTPStatus.NOT_FOUND
        is_final = fault.status in _REFUSED or fault.status is None or bool(fault.host)
        if is_final or self._failures[registry] >= _FAILURES:
            self._without.add(registry)
        for listing in self._reading.pop(task.key, ()):
            listing.is_asked, listing.has_ended = False, True
            self.tell(registry, fault)

    def tell(self, registry: str, fault: Fault) -> None:
        """Log once for each registry that requests could not be saved."""
        if fault.status == HTTPStatus.NOT_FOUND or registry in self._told:
            return
        self._told.add(registry)
        self._state.events.append(
            event_of("listing.unused", fault_fields(fault), facts={"fault": fault}, stage="expand")
        )


def _page(listing: DigestListing) -> ListDigests:
    """The task that reads its next page."""
    return ListDigests(repository=listing.repository, side=listing.side, page=listing.page)


def _tags_at(listing: DigestListing, rule: Rule, names: Iterable[tuple[str, int | None]]) -> Iterator[str]:
    """The tags that a rule needs of a listing."""
    for name, position in names:
        if listing.side == "source":
            yield name
        else:
            for target in rule.targets:
                if target.repository == listing.repository:
                    yield target.written(name, position)
