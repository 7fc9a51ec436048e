"""Failures by cause: thousands of failed images have a handful of causes, each with one remedy.

A cause is a side, a registry, a status, a code and a hint, never the registry's words, which differ from
image to image. Registries choose codes too, so causes beyond a number are grouped as "other".
"""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass
from pipeline.model.remedies import CONFLICT, RULE_INVALID, meaning_of, remedy_for
from pipeline.outputs.image_lists import ListEntry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipeline.errors import Fault
    from pipeline.model.facts import ImageRow
    from pipeline.model.selection import Rule

_MOST = 40
"""Maximum number of separate causes."""
EXAMPLES = 20
"""Failures that a cause keeps as examples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One image that failed, or one rule that failed as a whole."""

    source: str
    """A reference; for a rule, as written."""
    destinations: tuple[str, ...]
    """Likewise."""
    words: str
    """One line, without the hint."""
    is_rule: bool = False
    side: str = ""
    registry: str = ""
    status: int = 0
    code: str = ""
    hint: str = ""
    retryable: bool = False
    options: str = ""
    """The other options of its rule, as a list of images writes them."""

    @property
    def pair(self) -> str:
        """`quay.io/team/api:v3.1 -> harbor.corp/team/api:v3.1`."""
        return f"{self.source} -> {', '.join(self.destinations)}"


@dataclass(slots=True, kw_only=True)
class CauseGroup:
    """All failures of one cause."""

    side: str
    registry: str
    status: int
    code: str
    hint: str
    """The remedy."""
    retryable: bool
    images: int = 0
    rules: int = 0
    examples: list[Failure] = field(default_factory=list)
    """The first ones, at most 20."""

    @property
    def key(self) -> tuple[str, str, int, str, str]:
        """The common properties of failures of one cause."""
        return self.side, self.registry, self.status, self.code, self.hint

    @property
    def count(self) -> int:
        """Number of images and rules."""
        return self.images + self.rules

    @property
    def meaning(self) -> str:
        """The cause as a sentence."""
        return meaning_of(self.status, self.code)

    @property
    def title(self) -> str:
        """`source quay.io: 404 MANIFEST_UNKNOWN, no such tag or digest`."""
        place = " ".join(part for part in (self.side, self.registry) if part)
        return f"{place}: {self.reason}" if place else self.reason

    @property
    def reason(self) -> str:
        """`404 MANIFEST_UNKNOWN, no such tag or digest`."""
        answer = " ".join(part for part in (str(self.status or ""), self.code) if part)
        return ", ".join(part for part in (answer, self.meaning) if part)

    @property
    def may_be_tried(self) -> bool:
        """Whether a rules file of only these failures does what the whole file does."""
        return self.code != CONFLICT

    @property
    def advice(self) -> str:
        """The remedy."""
        return self.hint or remedy_for(self.status, self.code, retryable=self.retryable)


def from_row(row: ImageRow, options: str = "") -> Failure:
    """A failed image."""
    return Failure(
        options=options,
        source=row.source,
        destinations=(row.destination,),
        words=row.fault.removesuffix(f" ({row.hint})"),
        side=row.side,
        registry=row.registry,
        status=row.status,
        code=row.code,
        hint=row.hint,
        retryable=row.retryable,
    )


def from_rule(rule: Rule, destinations: tuple[str, ...], fault: Fault, *, options: str = "") -> Failure:
    """A rule whose tags could not be listed in full."""
    return Failure(
        options=options,
        source=rule.text,
        destinations=destinations,
        words=fault.line,
        is_rule=True,
        side=fault.side or "source",
        registry=fault.registry,
        status=fault.status or 0,
        code=fault.code,
        hint=fault.hint,
        retryable=fault.retryable,
    )


def group(failures: Iterable[Failure]) -> tuple[CauseGroup, ...]:
    """The causes in the order of `_ordered`; memory does not grow with the number of failures."""
    found: dict[tuple[str, str, int, str, str], CauseGroup] = {}
    for failure in failures:
        key = (failure.side, failure.registry, failure.status, failure.code, failure.hint)
        if failure.code == RULE_INVALID:
            key = ("", "", 0, RULE_INVALID, "")  # each has its own hint, but one file to correct
        if key not in found and len(found) >= _MOST:
            key = ("", "", 0, "OTHER", "")
        entry = found.get(key)
        if entry is None:
            side, registry, status, code, hint = key
            retryable = failure.retryable and code != "OTHER"
            entry = found[key] = CauseGroup(
                side=side, registry=registry, status=status, code=code, hint=hint, retryable=retryable
            )
        entry.images += not failure.is_rule
        entry.rules += failure.is_rule
        if len(entry.examples) < EXAMPLES:
            entry.examples.append(failure)
    return _ordered(found.values())


def merged(causes: Iterable[CauseGroup]) -> tuple[CauseGroup, ...]:
    """The causes of several runs, in the order of `_ordered`."""
    found: dict[tuple[str, str, int, str, str], CauseGroup] = {}
    for each in causes:
        entry = found.setdefault(each.key, replace(each, images=0, rules=0, examples=[]))
        entry.images += each.images
        entry.rules += each.rules
        entry.examples = [*entry.examples, *each.examples][:EXAMPLES]
    return _ordered(found.values())


def _ordered(causes: Iterable[CauseGroup]) -> tuple[CauseGroup, ...]:
    """First causes that need a person, then temporary ones, `OTHER` last; by number of failures in each."""
    return tuple(sorted(causes, key=lambda each: (each.code == "OTHER", each.retryable, -each.count)))


def entries(one: CauseGroup) -> Iterator[ListEntry]:
    """The examples of a cause as entries of a rules file."""
    return (ListEntry(each.source, each.destinations, each.options) for each in one.examples)
