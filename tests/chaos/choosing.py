"""Which tags a rule selects, worked out from docs/rules.md without the program's code.

Version ranges are a table of those that rounds draw; prereleases are the words that rounds draw.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

LISTS = re.compile(r"sha256-[0-9a-f]{64}(\.sig)?")
"""Tags of lists that are merged with the destination's; with the suffix, the layers of an image."""
RANGES: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    ">=2": ((2,), (1_000,)),
    ">=1 <3": ((1,), (3,)),
    "^1": ((1,), (2,)),
    "~1.25": ((1, 25), (1, 26)),
    "1.25.x": ((1, 25), (1, 26)),
    ">=1.25.2, <7": ((1, 25, 2), (7,)),
}
"""The first version of each range, and the first one after it."""
_PRERELEASE = re.compile("rc|beta")
_FRONT = {"minor": 2, "major": 1}
_PARTS = 4


def choose(
    tags: Collection[str], said: Mapping[str, Any] | None, pattern: str | None, is_new: Callable[[str], bool]
) -> list[str] | None:
    """The tags that a rule selects, including missing ones in `always`; None if too few, so that the rule
    fails.

    Args:
        tags: the tags of the source.
        said: the rule's `tags`, if it has any.
        pattern: the expression in the rule's key.
        is_new: whether a tag was first seen after others; used only with `by: seen`.
    """
    if said is None:
        return sorted(tag for tag in tags if re.search(pattern or "", tag))
    include = [f"/{pattern}/"] if pattern is not None else said.get("include")
    always = said.get("always", [])
    passing = [
        tag for tag in tags if tag not in always and not LISTS.fullmatch(tag) and _passes(tag, include, said)
    ]
    if "newest" in said:
        passing = _newest(passing, said, is_new)
    found = {*passing, *(tag for tag in always if tag in tags)}
    demanding = include is not None or "versions" in said or "newest" in said
    return sorted(found.union(always)) if len(found) >= said.get("at_least", int(demanding)) else None


def _passes(tag: str, include: Sequence[str] | None, said: Mapping[str, Any]) -> bool:
    wants_prereleases = said.get("prereleases", not ("versions" in said or "newest" in said))
    return (
        (include is None or any(matches(tag, each) for each in include))
        and not any(matches(tag, each) for each in said.get("exclude", []))
        and ("versions" not in said or any(_is_in(tag, each) for each in said["versions"]))
        and (wants_prereleases or not _PRERELEASE.search(tag))
    )


def matches(tag: str, pattern: str) -> bool:
    """Whether a tag matches a literal, a glob, or an expression in slashes."""
    if pattern.startswith("/"):
        return re.search(pattern.strip("/"), tag) is not None
    return fnmatchcase(tag, pattern)


def _is_in(tag: str, text: str) -> bool:
    front = re.match(r"v?(\d+(?:\.\d+)*)", tag)
    if front is None:
        return False
    least, end = RANGES[text]
    return _padded(least) <= _padded(map(int, front[1].split("."))) < _padded(end)


def _padded(numbers: Iterable[int]) -> tuple[int, ...]:
    return (*numbers, *[0] * _PARTS)[:_PARTS]


def _newest(tags: Iterable[str], said: Mapping[str, Any], is_new: Callable[[str], bool]) -> list[str]:
    """The greatest of each group, with ties for the last place."""
    by_time, per = said.get("by") == "seen", said.get("per", "series")
    order: dict[str, tuple[int, ...]] = {}
    groups: dict[Any, list[str]] = {}
    for tag in tags:
        numbers = tuple(map(int, re.findall(r"\d+", tag)))
        if not (numbers or by_time):
            continue
        order[tag] = (int(is_new(tag)), *numbers) if by_time else numbers
        text = re.sub(r"\d+", "#", tag)
        key = None if per == "repository" else (text, numbers[: _FRONT.get(per, 0)])
        groups.setdefault(key, []).append(tag)
    found = []
    for group in groups.values():
        last = sorted((order[tag] for tag in group), reverse=True)[: said["newest"]][-1]
        found += [tag for tag in group if order[tag] >= last]
    return found
