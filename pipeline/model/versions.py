"""Versions in front of tags, ranges of them, and the words of prereleases.

A version is the numbers in front, one to any number of them, perhaps after a `v`; missing ones are zeros.
What follows is a variant (`-alpine`, `-1`, `_8`), which ranges ignore, or marks a prerelease. Semantic
versions would take every variant for a prerelease.
"""

from __future__ import annotations

import operator
import re
from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass
from pipeline.errors import RuleError
from pipeline.model.series import without_hashes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pipeline.model.series import Numbers

_VERSION = re.compile(r"[vV]?([0-9]+(?:\.[0-9]+)*)")
_PRERELEASE = re.compile(
    r"(?<![a-z])(?:rc|alpha|beta|pre|preview|snapshot|nightly|canary|ea|milestone)(?![a-z])"
    r"|(?<![a-z0-9])m[0-9]+(?![a-z0-9])"
    r"|^v?[0-9]+(?:\.[0-9]+)*[ab][0-9]+(?![a-z0-9])",
    re.IGNORECASE,
)
"""Words of their own; `m1`; Python's `3.15.0a2`. Not `dev`, `edge` or `-1`: those are variants."""
_OPERATORS: dict[str, Callable[[Numbers, Numbers], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}
_TERM = re.compile(
    r"(?P<sign>>=|<=|!=|==?|>|<|~|\^)?\s*[vV]?(?P<numbers>[0-9]+(?:\.[0-9]+)*)(?P<any>(?:\.[xX*])*)(?=[\s,<>=!~^]|$)"
)
_SUFFIX = re.compile(r"[^\s,]*[0-9]-[0-9A-Za-z]")
_SEPARATOR = re.compile(r"[\s,]*")
_DIGITS = 18
"""Of a number in a range; more are a mistake."""


def version(tag: str) -> Numbers | None:
    """The numbers in front of a tag, without zeros at the end; None: there are none, or it is a hash."""
    found = _VERSION.match(without_hashes(tag))
    return _trimmed(tuple(map(int, found[1].split(".")))) if found else None


def is_prerelease(tag: str) -> bool:
    """Whether a word of the tag marks a prerelease."""
    return _PRERELEASE.search(without_hashes(tag)) is not None


@dataclass(frozen=True, slots=True)
class Bound:
    """One comparison: `>=1.25`."""

    sign: str
    limit: Numbers
    """It has no zeros at its end."""

    def admits(self, numbers: Numbers) -> bool:
        """Whether a version (without zeros at its end) fulfils it."""
        return _OPERATORS[self.sign](numbers, self.limit)


Range = tuple[Bound, ...]
"""Comparisons that must all hold."""


def parse_range(text: str) -> Range:
    """Read `>=1.25 <2`, `1.25.x`, `~1.25`, `^1.25`.

    Raises:
        RuleError: it is not understood; the message says where.
    """
    bounds: list[Bound] = []
    at = _skip(text, 0)
    while at < len(text):
        term = _TERM.match(text, at)
        if term is None or len(max(term["numbers"].split("."), key=len)) > _DIGITS:
            hint = 'write >=1.25 <2, 1.25.x, ~1.25 or ^1.25; a list of ranges means "or"'
            if _SUFFIX.match(text, at):
                hint = "a range holds numbers only; prereleases: true lets prereleases pass"
            raise RuleError(f"{text[at:]!r} is not a range of versions", hint=hint)
        bounds += _bounds(term["sign"] or "=", tuple(map(int, term["numbers"].split("."))), bool(term["any"]))
        at = _skip(text, term.end())
    if not bounds:
        raise RuleError("the range of versions is empty", hint="write >=1.25 <2, or leave it out")
    return tuple(bounds)


def admits(ranges: Sequence[Range], numbers: Numbers) -> bool:
    """Whether one of the ranges contains a version (without zeros at its end)."""
    return any(all(bound.admits(numbers) for bound in each) for each in ranges)


def _bounds(sign: str, limit: Numbers, is_open: bool) -> Iterator[Bound]:  # noqa: FBT001 - the only caller is above
    """The bounds of one term."""
    sign = "=" if sign == "==" else sign
    if sign == "~" or (sign == "=" and is_open):
        kept = len(limit) if is_open else min(len(limit), 2)
        yield from _between(limit, kept)
    elif sign == "^":
        first = next((place for place, number in enumerate(limit) if number), len(limit) - 1)
        yield from _between(limit, first + 1)
    elif is_open and sign != ">=":
        raise RuleError(f"{sign} takes no x", hint="write the numbers, or x alone: 1.25.x")
    else:
        yield Bound(sign, _trimmed(limit))


def _between(limit: Numbers, kept: int) -> Iterator[Bound]:
    """The bounds from the limit on, as long as its first numbers stay the same."""
    yield Bound(">=", _trimmed(limit))
    yield Bound("<", _trimmed((*limit[: kept - 1], limit[kept - 1] + 1)))


def _trimmed(numbers: Numbers) -> Numbers:
    """Without zeros at the end: then plain tuples compare as if they were padded."""
    count = len(numbers)
    while count and not numbers[count - 1]:
        count -= 1
    return numbers[:count]


def _skip(text: str, at: int) -> int:
    found = _SEPARATOR.match(text, at)
    return found.end() if found else at
