"""Order: which rule begins after which, so that a rules file means the same in every run.

Rules that write to one repository, or may because of a pattern, are expanded one after the other, in file
order: the first rule claims a tag. A rule that reads what an earlier one writes begins when all images of
that one are finished, even if they failed: a file may copy A to B and B to C.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from heapq import heapify, heappop, heappush
from http import HTTPStatus
from typing import TYPE_CHECKING

from pipeline.log import event_of
from pipeline.model.chains import links
from pipeline.model.expansion import may_share

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pipeline.errors import Fault
    from pipeline.log import Event
    from pipeline.model.reference import Repository
    from pipeline.model.selection import Rule


class Order:
    """Knows which rules may begin; a rule whose tag list is read again begins again."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        """`rules` are in file order."""
        self.rules: Mapping[int, Rule] = {rule.number: rule for rule in rules}
        self._waits = dict.fromkeys(self.rules, 0)
        """By rule: the number of events before it may begin."""
        self._when_expanded: dict[int, list[int]] = defaultdict(list)
        self._when_ended: dict[int, list[int]] = defaultdict(list)
        self._images: Counter[int] = Counter()
        """By rule: its unfinished images."""
        self._expanded: set[int] = set()
        self._fed_by: dict[int, Rule] = {}
        """By rule: the last one that writes its source."""
        self._parts: dict[int, int] = {}
        """By rule that became several: those that have not named all their images."""
        self._line_up(rules)
        self.events = list(self._chain(rules))
        """Events about rules that read what others write."""
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
        """Let a rule begin again."""
        heappush(self._startable, number)

    def opened(self, number: int) -> None:
        """The rule has one more image."""
        self._images[number] += 1

    def ended(self, number: int) -> None:
        """An image of the rule is finished and will not be retried."""
        self._images[number] -= 1
        self._settle(number)

    def split(self, number: int, count: int) -> None:
        """The rule has become this many rules; it is expanded when all of them are."""
        self._parts[number] = count
        if not count:
            self.expanded(number)

    def expanded(self, number: int) -> None:
        """All images of the rule, or of one of those that it became, are known, or cannot be listed."""
        if self._parts.get(number, 0) > 1:
            self._parts[number] -= 1
            return
        self._expanded.add(number)
        self._release(self._when_expanded.pop(number, ()))
        self._settle(number)

    def is_fed(self, number: int) -> bool:
        """Whether this run may have written to a rule's source just before."""
        return number in self._fed_by

    def who_brings(self, number: int, fault: Fault) -> str:
        """The place of the rule that may write what a rule's source lacks; empty if there is none."""
        is_missing = fault.status == HTTPStatus.NOT_FOUND or fault.code == "TOO_FEW_TAGS"
        writer = self._fed_by.get(number) if fault.side == "source" and is_missing else None
        return writer.place if writer is not None else ""

    def _settle(self, number: int) -> None:
        if number in self._expanded and not self._images[number]:
            self._release(self._when_ended.pop(number, ()))

    def _release(self, dependents: Iterable[int]) -> None:
        for number in dependents:
            self._waits[number] -= 1
            if not self._waits[number]:
                heappush(self._startable, number)

    def _line_up(self, rules: Sequence[Rule]) -> None:
        """Let rules that write to one repository be expanded one after the other."""
        last: dict[Repository, int] = {}
        patterns: list[Rule] = []
        for place, rule in enumerate(rules):
            before = {last[target.repository] for target in rule.targets if target.repository in last}
            others = rules[:place] if rule.expansion else patterns
            before |= {each.number for each in others if may_share(rule, each)}
            patterns += [rule] if rule.expansion else []
            self._waits[rule.number] += len(before)
            for number in before:
                self._when_expanded[number].append(rule.number)
            last.update((target.repository, rule.number) for target in rule.targets)

    def _chain(self, rules: Sequence[Rule]) -> Iterator[Event]:
        """Let rules begin after those that write their sources; report that, and a wrong order."""
        for each in links(rules):
            self._waits[each.rule.number] += len(each.writers)
            for number in each.writers:
                self._when_ended[number].append(each.rule.number)
            if each.writers:
                self._fed_by[each.rule.number] = self.rules[max(each.writers)]
                yield _told("rule.after", each.rule, self._fed_by[each.rule.number])
            for number in each.readers:
                yield _told("rule.too_early", self.rules[number], each.rule)


def _told(name: str, reader: Rule, writer: Rule) -> Event:
    places = {"place": reader.place, "writer": writer.place}
    lines = {"line": reader.line, "other_line": writer.line}
    return event_of(
        name, {"rule": reader.text, "file.path": reader.file or None, **lines}, facts=places, stage="expand"
    )
