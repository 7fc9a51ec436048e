"""The newest tags of each group, from a list of any length in bounded memory."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from pipeline.model.series import series

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from pipeline.model.rule_options import By, Per

_FRONT = {"minor": 2, "major": 1}
"""The number of leading numbers that are the same in a group."""


class NewestTags:
    """Keeps the `count` newest tags of each group, and all that equal the last of them."""

    def __init__(
        self,
        count: int,
        *,
        per: Per = "series",
        by: By = "numbers",
        time: Callable[[str], float] | None = None,
    ) -> None:
        """Begin without tags.

        Args:
            count: 1 or more.
            per: what is a group.
            by: what makes a tag new.
            time: when a tag was pushed, or seen first, if that is what makes it new; None: its numbers.
        """
        self.unordered = 0
        """Tags without a number that could order them."""
        self._count, self._per, self._by, self._time = count, per, by, time
        self._groups: dict[Hashable, list[str]] = {}
        """The newest last. Only tags are kept: computing their order again is cheap, and saves memory."""

    def add(self, tag: str) -> None:
        """Add a tag; one that was added before changes nothing."""
        if not self._is_ordered(tag):
            self.unordered += 1
            return
        group, order = self._groups.setdefault(self._group(tag), []), self._order(tag)
        place = bisect_left(group, order, key=self._order)
        if tag in group[place : bisect_right(group, order, place, key=self._order)]:
            return
        group.insert(place, tag)
        if len(group) > self._count:
            least = self._order(group[-self._count])
            del group[: bisect_left(group, least, key=self._order)]

    def __iter__(self) -> Iterator[str]:
        """The newest tags, group by group, the newest first."""
        return (tag for group in self._groups.values() for tag in reversed(group))

    def why(self, tag: str) -> tuple[bool, str]:
        """Whether a tag is among the newest, and the reason, after all were added."""
        if not self._is_ordered(tag):
            return False, "it has no number outside of hashes; name it in always"
        group = self._groups[self._group(tag)]
        of = "the repository" if self._per == "repository" else series(tag)[0]
        if tag in group:
            return True, f"one of the {self._count} newest of {of}" + f", per {self._per}" * (
                self._per in _FRONT
            )
        later = "newer ones" if self._time is None else f"ones {self._by} later"
        return False, f"{later} of {of}: {', '.join(reversed(group))}"

    def _is_ordered(self, tag: str) -> bool:
        return self._time is not None or bool(series(tag)[1])

    def _order(self, tag: str) -> tuple[float, ...]:
        numbers = series(tag)[1]
        return numbers if self._time is None else (self._time(tag), *numbers)

    def _group(self, tag: str) -> Hashable:
        if self._per == "repository":
            return ""
        text, numbers = series(tag)
        return text if self._per == "series" else (text, numbers[: _FRONT[self._per]])
