"""Pattern listings: the repositories that rules with a `*` in their source expand to.

A listing is read to its end before it is used: one that may be incomplete fails its rule, and has no other
effect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass
from pipeline.errors import RuleError
from pipeline.log import event_of
from pipeline.model.catalogue import RepositoryListing
from pipeline.model.expansion import expanded, expanded_source
from pipeline.model.faults import bad_destination, flattened, short_listing
from pipeline.model.listing_tasks import ListRepositories
from pipeline.model.sharding import part_of_shard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.errors import Fault
    from pipeline.model.messages import RepositoriesListed
    from pipeline.model.reference import Repository
    from pipeline.model.selection import Rule
    from pipeline.scheduler.shared_state import SharedState


@dataclass(slots=True)
class _Reading:
    """One listing that is being read for one rule."""

    rule: Rule
    listing: RepositoryListing
    paths: list[str]
    asked: int = 0
    """Requested pages."""
    over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingEnd:
    """The result of a listing."""

    rule: Rule
    fault: Fault | None = None
    """Why it cannot be used."""
    rules: tuple[Rule, ...] = ()
    """The rules of its repositories, by name."""
    failed: tuple[tuple[Rule, Fault], ...] = ()
    """Repositories without a valid destination."""
    kind: str = ""
    """The kind of catalogue."""


class PatternListings:
    """The ledger of listings."""

    def __init__(self, state: SharedState) -> None:
        """Start without listings."""
        self._state = state
        self._open: list[_Reading] = []
        self._asking: dict[str, list[_Reading]] = {}

    @property
    def rules(self) -> list[Rule]:
        """The rules whose listings are being read."""
        return [reading.rule for reading in self._open]

    def begin(self, rule: Rule) -> None:
        """Read the listing of a rule."""
        assert rule.expansion is not None
        reading = _Reading(rule, RepositoryListing(rule.expansion.pattern), [])
        self._open.append(reading)
        self._ask(reading)

    def _ask(self, reading: _Reading) -> None:
        pages = reading.listing.pages
        while pages:
            task = ListRepositories(namespace=reading.rule.source, page=pages.popleft())
            reading.asked += 1
            self._asking.setdefault(task.key, []).append(reading)
            self._state.ready(task)

    def listed(self, task: ListRepositories, outcome: RepositoriesListed) -> Iterator[ListingEnd]:
        """A page was read; returns the listings that it finishes."""
        for reading in self._asking.pop(task.key, ()):
            reading.asked -= 1
            if reading.over:
                continue
            reading.paths.extend(reading.listing.take(outcome.page))
            if not reading.listing.trouble:
                self._ask(reading)
            if not reading.asked:
                reading.listing.end()
            trouble = reading.listing.trouble
            if trouble:
                yield self._end(reading, short_listing(task.namespace.registry, task.namespace.path, trouble))
            elif not reading.asked:
                yield self._end(reading, None, kind=outcome.kind)

    def failed(self, task: ListRepositories, fault: Fault) -> Iterator[ListingEnd]:
        """A page cannot be read: the listings that need it fail."""
        for reading in self._asking.pop(task.key, ()):
            reading.asked -= 1
            if not reading.over:
                yield self._end(reading, fault)

    def _end(self, reading: _Reading, fault: Fault | None, *, kind: str = "") -> ListingEnd:
        reading.over = True
        self._open.remove(reading)
        if fault is not None:
            return ListingEnd(rule=reading.rule, fault=fault)
        rules, failed, apart = self._expand(reading)
        listing = reading.listing
        self._state.events.append(
            event_of(
                "rule.listed",
                {
                    "rule": reading.rule.text,
                    "repositories": len(rules) + len(failed),
                    "apart": apart,
                    "others": listing.others,
                    "invalid": listing.invalid,
                    "catalogue": kind,
                },
                facts={"left_out": listing.left_out()},
                level="info" if rules or failed or apart else "warning",
                stage="expand",
            )
        )
        return ListingEnd(rule=reading.rule, rules=tuple(rules), failed=tuple(failed), kind=kind)

    def _expand(self, reading: _Reading) -> tuple[list[Rule], list[tuple[Rule, Fault]], int]:
        """The rules of the repositories, those that fail, and how many have their own key."""
        rule, expansion = reading.rule, reading.rule.expansion
        assert expansion is not None
        rules: list[Rule] = []
        failed: list[tuple[Rule, Fault]] = []
        writers: dict[Repository, str] = {}
        apart = 0
        for path in sorted(reading.paths):
            if path in expansion.apart:
                apart += 1
                continue
            try:
                child = expanded(rule, path)
            except RuleError as error:
                child = expanded_source(rule, path)
                failed.append((child, bad_destination(child.source, str(error))))
                continue
            child = part_of_shard(child, expansion.shard)
            places = [target.repository for target in child.targets]
            taken = next((place for place in places if place in writers), None)
            if taken is not None:
                failed.append((child, flattened(child.source, taken, writers[taken])))
            elif places:
                writers.update(dict.fromkeys(places, str(child.source)))
                rules.append(child)
        return rules, failed, apart
