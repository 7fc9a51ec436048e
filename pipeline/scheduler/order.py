"""Order: which rule begins after which, so that a file means the same in every run.

Rules that write to one repository are expanded one after the other, in file order: the rule that stands first
claims a tag. A rule that reads what an earlier one writes begins when all images of that one have ended, well
or not: a file may copy A to B and B to C.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from pipeline.log import event_of
from pipeline.model.reference import is_digest
from pipeline.model.selection import Named, read_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pipeline.log import Event
    from pipeline.model.reference import Repository
    from pipeline.model.selection import Rule

_ANY, _ALL = "any tag", "all tags"
_Place = tuple["Repository", str]
"""A repository, and a tag of it or one of the above: what a rule reads or writes."""


class Order:
    """Says which rules may begin; a rule begins more than once where its list of tags is asked for again."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        """Nothing has begun; the rules are in file order."""
        self.rules: Mapping[int, Rule] = {rule.number: rule for rule in rules}
        self._waits = dict.fromkeys(self.rules, 0)
        """By rule: how much must happen before it may begin."""
        self._when_expanded: dict[int, list[int]] = defaultdict(list)
        self._when_ended: dict[int, list[int]] = defaultdict(list)
        self._images: Counter[int] = Counter()
        """By rule: its images that have not come to their end."""
        self._expanded: set[int] = set()
        self._line_up(rules)
        self.events = list(self._chain(rules))
        """What there is to say of rules that feed each other."""
        self._startable = [number for number, waits in self._waits.items() if not waits]
        heapify(self._startable)

    def __bool__(self) -> bool:
        """Whether a rule may begin now."""
        return bool(self._startable)

    @property
    def unbegun(self) -> list[int]:
        """Numbers of the rules that have not begun."""
        return [*self._startable, *(number for number, waits in self._waits.items() if waits)]

    def begin(self) -> Rule:
        """Take the first rule that may begin."""
        return self.rules[heappop(self._startable)]

    def again(self, number: int) -> None:
        """A rule that has begun is to begin once more."""
        heappush(self._startable, number)

    def opened(self, number: int) -> None:
        """The rule has one more image."""
        self._images[number] += 1

    def ended(self, number: int) -> None:
        """An image of the rule has come to its end, and is not tried again."""
        self._images[number] -= 1
        self._settle(number)

    def expanded(self, number: int) -> None:
        """The rule has named all its images, or cannot."""
        self._expanded.add(number)
        self._release(self._when_expanded.pop(number, ()))
        self._settle(number)

    def _settle(self, number: int) -> None:
        if number in self._expanded and not self._images[number]:
            self._release(self._when_ended.pop(number, ()))

    def _release(self, dependents: Iterable[int]) -> None:
        for number in dependents:
            self._waits[number] -= 1
            if not self._waits[number]:
                heappush(self._startable, number)

    def _line_up(self, rules: Sequence[Rule]) -> None:
        """Have rules that write to one repository expanded one after the other."""
        last: dict[Repository, int] = {}
        for rule in rules:
            before = {last[target.repository] for target in rule.targets if target.repository in last}
            self._waits[rule.number] += len(before)
            for number in before:
                self._when_expanded[number].append(rule.number)
            last.update((target.repository, rule.number) for target in rule.targets)

    def _chain(self, rules: Sequence[Rule]) -> Iterator[Event]:
        """Have rules begin after those that feed them; say so, and where the one that feeds stands later."""
        fed = {rule.source for rule in rules} & {each.repository for rule in rules for each in rule.targets}
        writers: dict[_Place, list[int]] = defaultdict(list)
        readers: dict[_Place, Rule] = {}
        for rule in rules if fed else ():
            fetches = _reads(rule) if rule.source in fed else set()
            writes = {place for place in _writes(rule) if place[0] in fed}
            before = {number for place in fetches for number in writers[place]}
            self._waits[rule.number] += len(before)
            for number in before:
                self._when_ended[number].append(rule.number)
            if before:
                writer = self.rules[max(before)]
                yield _told("rule.after", rule, writer)
            early = {readers[place].number for place in writes if place in readers}
            for reader in (self.rules[number] for number in sorted(early)):
                yield _told("rule.too_early", reader, rule)
            for place in writes:
                # Who waits for the end of all of these stands for them.
                writers[place] = [rule.number] if place in fetches else [*writers[place], rule.number]
            readers.update(dict.fromkeys(fetches, rule))


def _told(name: str, reader: Rule, writer: Rule) -> Event:
    places = {"place": reader.place, "writer": writer.place}
    lines = {"line": reader.line, "other_line": writer.line}
    return event_of(
        name, {"rule": reader.text, "file.path": reader.file or None, **lines}, facts=places, stage="expand"
    )


def _reads(rule: Rule) -> set[_Place]:
    """What may not be written any more when the rule begins; a digest may come under any tag."""
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
