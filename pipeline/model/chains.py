"""Chains: rules that read what other rules of the same run write."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass
from pipeline.model.expansion import areas_of, may_read
from pipeline.model.reference import is_digest
from pipeline.model.selection import Named, read_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pipeline.model.reference import Repository
    from pipeline.model.selection import Rule

_ANY, _ALL = "any tag", "all tags"
_Place = tuple["Repository", str]
"""A repository, and a tag of it or one of the above: what a rule reads or writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """How a rule depends on the rules above it, by their numbers."""

    rule: Rule
    writers: frozenset[int]
    """Rules that write what the rule reads; one that another of them waits for may be left out."""
    readers: tuple[int, ...]
    """Rules above it, in file order, that read what the rule writes, and so begin too early."""


def links(rules: Sequence[Rule]) -> Iterator[Links]:
    """The rules that depend on rules above them, in file order."""
    named = {each.rule.number: each for each in _named_links([r for r in rules if r.expansion is None])}
    patterns: list[Rule] = []
    for place, rule in enumerate(rules):
        # Which repositories a pattern has is not known yet, so each one of them may be meant.
        others = rules[:place] if rule.expansion else patterns
        writers = frozenset(each.number for each in others if may_read(rule, areas_of(each)))
        readers = tuple(each.number for each in others if may_read(each, areas_of(rule)))
        if rule.expansion:
            patterns.append(rule)
        found = named.get(rule.number, Links(rule=rule, writers=frozenset(), readers=()))
        if found.writers or found.readers or writers or readers:
            early = tuple(sorted({*found.readers, *readers}))
            yield Links(rule=rule, writers=found.writers | writers, readers=early)


def _named_links(rules: Sequence[Rule]) -> Iterator[Links]:
    """As `links`, of rules that name their repositories."""
    fed = {rule.source for rule in rules} & {each.repository for rule in rules for each in rule.targets}
    writers: dict[_Place, list[int]] = defaultdict(list)
    readers: dict[_Place, int] = {}
    for rule in rules if fed else ():
        fetches = _reads(rule) if rule.source in fed else set()
        writes = {place for place in _writes(rule) if place[0] in fed}
        before = frozenset(number for place in fetches for number in writers[place])
        early = {readers[place] for place in writes if place in readers}
        if before or early:
            yield Links(rule=rule, writers=before, readers=tuple(sorted(early)))
        for place in writes:
            # A rule that waits for all of these stands for them.
            writers[place] = [rule.number] if place in fetches else [*writers[place], rule.number]
        readers.update(dict.fromkeys(fetches, rule.number))


def _reads(rule: Rule) -> set[_Place]:
    """What must be written before the rule begins; a digest may be under any tag."""
    names = [read_name(name) for name in rule.selection.names] if isinstance(rule.selection, Named) else []
    if not names or any(map(is_digest, names)):
        return {(rule.source, _ANY)}
    return {(rule.source, _ALL), *((rule.source, name) for name in names)}


def _writes(rule: Rule) -> Iterator[_Place]:
    """What the rule may write."""
    for target in rule.targets:
        yield target.repository, _ANY
        if isinstance(rule.selection, Named):
            for position, name in enumerate(rule.selection.names):
                yield target.repository, target.written(name, position)
        else:
            yield target.repository, _ALL
