"""Admission: rules become images page by page, while there is room for them.

order.py decides which rule begins after which. A later pass takes its images from the records, page by page
(failed_images.py).
"""

from __future__ import annotations

from collections import deque
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from pipeline.log import event_of
from pipeline.model.faults import wrong_tag
from pipeline.model.messages import TaskFailed
from pipeline.model.reference import Reference, is_tag
from pipeline.model.selection import Named, pairs, read_name, select
from pipeline.model.tag_selection import TagTimes
from pipeline.scheduler.claims import Claims
from pipeline.scheduler.cursor import Cursor
from pipeline.scheduler.failed_images import FailedImages
from pipeline.scheduler.kept_tags import KeptTags
from pipeline.scheduler.listed_digests import DigestListing, ListedDigests
from pipeline.scheduler.pattern_listings import PatternListings
from pipeline.scheduler.tag_lists import TagLists
from pipeline.settings import PAGE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.errors import Fault
    from pipeline.model.listing_tasks import ListRepositories
    from pipeline.model.messages import RepositoriesListed
    from pipeline.model.selection import Rule
    from pipeline.scheduler.case_variants import CaseVariants
    from pipeline.scheduler.image import Image
    from pipeline.scheduler.images import Images
    from pipeline.scheduler.order import Order
    from pipeline.scheduler.quarantine import Quarantine
    from pipeline.scheduler.shared_state import SharedState
    from pipeline.settings import Limits

OPEN_RULES = 16
"""Rules expanded at a time: each holds one page of tags at most, and the rest of the page before."""
AHEAD = PAGE // 2
"""The next page is requested when so many names of the current one are left."""
HELD_UP = 16
"""Cap, in windows, on open images while a registry is paused."""


class Admission:
    """Expands rules into images while there is room."""

    def __init__(
        self,
        state: SharedState,
        images: Images,
        *,
        case_variants: CaseVariants,
        quarantine: Quarantine,
        order: Order,
        limits: Limits,
    ) -> None:
        """See the module."""
        self._case_variants = case_variants
        self._quarantine = quarantine
        self._state = state
        self._images = images
        self._figures = state.figures
        self._limits = limits
        self.scale = 1
        """How many times as many images may be open as on one machine."""
        self._rules = order.rules
        state.events += order.events
        self._order = order
        self._open: deque[Cursor] = deque()
        self._patterns = PatternListings(state)
        self._children: deque[Rule] = deque()
        """Rules made from patterns that have not begun."""
        self._deferred: list[Rule] = []
        self._claims = Claims(state)
        self._failed = FailedImages(state, self._claims)
        self.failed_rules: list[tuple[Rule, Fault]] = []
        """Rules whose tags or repositories could not be listed in full."""
        self.kept = KeptTags(state)
        self.listed = ListedDigests(state, images.lookups, order=order)
        self.tag_lists = TagLists(state, self._fall_back)
        self._figures.rules = len(order.rules)

    @property
    def exhausted(self) -> bool:
        """Whether this pass has no more images."""
        listed = self._open or self._patterns.rules or self._children
        return self._failed.exhausted and not (listed or self._order)

    @property
    def deferred(self) -> bool:
        """Whether rules are left for the next pass."""
        return bool(self._deferred)

    @property
    def unexpanded(self) -> list[Rule]:
        """The rules that are not fully expanded, in file order, for a run that was stopped."""
        begun = [*(cursor.rule for cursor in self._open), *self._patterns.rules]
        unbegun = [self._rules[number] for number in self._order.unbegun]
        return sorted((*unbegun, *begun, *self._children, *self._deferred), key=lambda rule: rule.number)

    @property
    def waiting(self) -> int:
        """Listed tags and digests that wait for room."""
        return sum(len(cursor.names) for cursor in self._open)

    def _has_room(self, held_up: int) -> bool:
        """Whether another image may open; images that wait for a paused registry have their own window."""
        count, most = len(self._images), self._limits.window_images * self.scale
        room = count - held_up < most and count < most * HELD_UP
        return not self._images or (room and self._images.fetches.bytes_held < self._limits.window_bytes)

    def admit(self) -> None:
        """Open images while there is room; request pages for rules that run out of names."""
        held_up = self._images.lookups.held_up()
        while self._has_room(held_up):
            if self._admit_failed():
                continue
            self._begin_rules()
            if not any(self._advance() for _ in range(len(self._open))):
                return

    def _begin_rules(self) -> None:
        while (self._children or self._order) and len(self._open) < OPEN_RULES:
            rule = self._children.popleft() if self._children else self._order.begin()
            if rule.expansion is not None:
                self._patterns.begin(rule)
            else:
                self._open.append(self._begin(rule))

    def _begin(self, rule: Rule) -> Cursor:
        cursor = Cursor(rule)
        if isinstance(rule.selection, Named):
            cursor.names.extend((name, position) for position, name in enumerate(rule.selection.names))
            cursor.state = "listed"
        else:
            self._begin_list(cursor, by_listing=self.listed.replaces(rule))
        return cursor

    def _fall_back(self, cursor: Cursor, fault: Fault) -> None:
        """Read a rule's tags from the registry's own list, since its listing cannot be used."""
        self.listed.tell(cursor.rule.source.registry, fault)
        self._begin_list(cursor)

    def _begin_list(self, cursor: Cursor, *, by_listing: bool = False) -> None:
        """Begin to read the tags of a rule."""
        rule = cursor.rule
        times = TagTimes(
            now=self._state.began,
            pushed=cursor.pushed_at,
            seen=partial(self._quarantine.first_seen, rule.source),
        )
        chosen = select(rule, companions=rule.number in self._state.companion_tags, times=times)
        cursor.read_from(DigestListing(rule.source, "source") if by_listing else None, chosen)

    def _advance(self) -> bool:
        """Continue with the next open rule; True: it opened images or was closed."""
        cursor = self._open[0]
        self._open.rotate(-1)
        if cursor.state == "ready" and len(cursor.names) < AHEAD:
            self.tag_lists.ask(cursor)
        if cursor.names and not (self.kept.is_ready(cursor.rule) and self.listed.is_ready(cursor)):
            return False
        if cursor.names:
            name, position = cursor.names.popleft()
            source = Reference(cursor.rule.source, read_name(name))
            targets = pairs(cursor.rule, name, position)
            wrong = next((each.name for each in targets if not (each.is_digest or is_tag(each.name))), None)
            if wrong is None:
                self._claim(cursor, source, targets)
            else:
                cursor.fail(wrong_tag(targets[0].repository, wrong))
            return True
        if cursor.fault is not None:
            self._end(cursor, cursor.fault)
            return True
        if cursor.state == "listed":
            self._close(cursor)
            return True
        return False

    def _claim(self, cursor: Cursor, source: Reference, targets: Iterable[Reference]) -> None:
        """Open an image for each unclaimed destination; if another image has the claim, follow it."""
        opened: list[Image] = []
        number = cursor.rule.number
        for destination in targets:
            if self._claims.take(source, destination, self._rules[number]):
                if self.kept.has(destination, number):
                    self._count(number)
                    self._images.keep(source, destination, number)
                else:
                    opened.append(self._open_new(source, destination, number))
                continue
            rival = self._claims.rival(str(source), str(destination), number)
            if rival and not self._images.knows(source, destination, number):
                self._images.follow(self._open_new(source, destination, number), rival)
        if opened:
            self.listed.look(cursor, source, opened)

    def _count(self, number: int) -> None:
        self._figures.known += 1
        self._order.opened(number)

    def _open_new(self, source: Reference, destination: Reference, number: int) -> Image:
        self._count(number)
        return self._open_image(source, destination, number)

    def _open_image(self, source: Reference, destination: Reference, number: int) -> Image:
        self._case_variants.note(destination)
        required = self._rules[number].required_digest(destination)
        return self._images.open(source, destination, number, required=required)

    def repositories(self, task: ListRepositories, outcome: RepositoriesListed | TaskFailed) -> None:
        """A page of a pattern's listing was read, or cannot be."""
        if isinstance(outcome, TaskFailed):
            ends = self._patterns.failed(task, outcome.fault)
        else:
            ends = self._patterns.listed(task, outcome)
        for end in ends:
            if end.fault is not None:
                self._fail(end.rule, end.fault)
                continue
            self.listed.learn(task.namespace.registry, end.kind)
            self._figures.rules += len(end.rules) + len(end.failed)
            self._order.split(end.rule.number, len(end.rules) + len(end.failed))
            self._children.extend(end.rules)
            for rule, fault in end.failed:
                self._fail(rule, fault)

    def _end(self, cursor: Cursor, fault: Fault) -> None:
        """A rule's list ends with a fault; it is not a failure if a listed repository does not exist."""
        rule = cursor.rule
        if self._state.aim == "plan" and self._order.who_brings(rule.number, fault):
            self._close(cursor)
            return
        self._open.remove(cursor)
        if not (rule.is_child and fault.status == HTTPStatus.NOT_FOUND):
            self._fail(rule, fault)
            return
        self._state.events.append(
            event_of("rule.gone", {"rule": rule.text, "reason": fault.words}, facts={}, stage="expand")
        )
        self._finish(rule)

    def _finish(self, rule: Rule) -> None:
        if rule.is_child:
            self.kept.forget(rule)
        self._order.expanded(rule.number)

    def _fail(self, rule: Rule, fault: Fault) -> None:
        """End the rule's expansion with a fault; rules that it goes before wait while it may be retried."""
        again = fault.retryable and self._state.may_retry(self._state.options[rule.number])
        fields, facts = self._state.failure(rule, fault, again=again)
        name = "rule.retry" if again else "rule.failed"
        self._state.events.append(event_of(name, fields, facts=facts, stage="expand"))
        if again:
            self._deferred.append(rule)
        else:
            self._figures.rules_failed += 1
            self._figures.optional += self._state.options[rule.number].optional
            self.failed_rules.append((rule, fault))
            self._finish(rule)

    def _close(self, cursor: Cursor) -> None:
        """Close a rule that is fully expanded."""
        rule = cursor.rule
        self._open.remove(cursor)
        if cursor.chosen is not None:
            chosen = cursor.chosen
            self._state.events.append(
                event_of(
                    "rule.expanded",
                    {"rule": rule.text, "tags": cursor.tags, "selected": chosen.selected},
                    facts={"unordered": chosen.unordered},
                    level="info" if chosen.selected else "warning",
                    stage="expand",
                )
            )
        self._finish(rule)

    def validate(self) -> None:
        """Check that requested lists have their task, and that failed ones have a fault.

        Raises:
            AssertionError: one has not.
        """
        for cursor in self._open:
            assert (cursor.state == "failed") == (cursor.fault is not None), f"{cursor.rule.text} has failed"
            asked = cursor.state != "asked" or self.tag_lists.is_asking(cursor)
            assert asked, f"nobody lists {cursor.rule.text}"

    def next_pass(self) -> None:
        """Begin a pass over failed images that may succeed: images from the records first, then rules."""
        self._failed.begin()
        for rule in self._deferred:
            if rule.is_child:
                self._children.append(rule)
            else:
                self._order.again(rule.number)
        self._deferred.clear()

    def _admit_failed(self) -> bool:
        """Open the images of the next source that failed in the pass before; False if there is none."""
        group = self._failed.next()
        if group is None:
            return False
        source, targets = group
        opened = []
        self._figures.to_retry -= len(targets)
        for destination, number in targets:
            image = self._open_image(source, destination, number)
            rival = self._claims.rival(str(source), str(destination), number)
            if rival:
                self._images.follow(image, rival)
            else:
                opened.append(image)
        if opened:
            self._images.lookups.look(source, {each.key: each.asked_for for each in opened})
        return True

    def stop(self) -> None:
        """Open no more images; `unexpanded` still names the rules that are not fully expanded."""
        self._failed.stop()
