"""The rate that a registry allows, learned from its push-back.

A registry that refuses again and again within some seconds allows a rate: what it accepted in that time is a
first estimate of it. The pace begins there and rises while nothing is refused and work waits. A refusal
lowers it to just below what was accepted, and it stays there for a while, twice as long after each vain try:
so nearly all of the rate is used, and few requests are refused.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

_EPISODES = 3
"""Seconds with refusals, within `_WITHIN`, that make a steady rate out of push-back."""
_WITHIN = 20
_JUDGED = 5
"""Seconds over which refusals and accepted requests are counted."""
_LEAST = 0.97
"""What of the best accepted rate a correction leaves."""
_MUCH = 0.08
"""Share of refused requests from which on the rate itself must have changed."""
_FADES = 0.999
"""What the best accepted rate keeps of its worth in a second."""
_RECENT = 2
"""Seconds over which the accepted requests are counted when a pace turns out to be too high."""
_LITTLE = 0.985
"""The smallest correction, as a factor of the pace."""
_LOWEST = 0.8
"""The largest correction at a time, as a factor of the pace."""
_FAST, _STEP = 1.08, 0.01
"""Rise in a second: before a refusal of the pace; after one it begins with the step and grows by it."""
_FIRST_KEEP, _LONGEST_KEEP = 5.0, 300.0
"""Seconds for which a pace is kept after a refusal."""


@dataclass(slots=True)
class _Second:
    number: int
    asked: int = 0
    refused: int = 0


@dataclass(slots=True, kw_only=True)
class LearnedRate:
    """The rate of one registry."""

    most: float | None
    """The user's limit."""
    pace: float | None = None
    """Requests a second; None: nothing is learned yet."""
    _seconds: deque[_Second] = field(default_factory=lambda: deque(maxlen=_WITHIN))
    _is_bounded: bool = False
    """Whether a pace was refused: the rate is known from above."""
    _kept_until: float = 0.0
    _keep: float = _FIRST_KEEP
    _lowered: int = 0
    """Seconds in a row in which it was lowered: one refusal says less of the rate than several."""
    _rises: int = 0
    """Seconds in a row in which the pace rose."""
    _best: float = 0.0
    """The highest rate accepted over some seconds; it fades."""
    _judged: int = 0
    """Refusals up to this second have led to a correction."""

    def _second(self, now: float) -> _Second:
        number = int(now)
        if not self._seconds or self._seconds[-1].number != number:
            self._seconds.append(_Second(number))
        return self._seconds[-1]

    def asked(self, count: int, now: float) -> None:
        """Take in requests, refused ones too."""
        self._second(now).asked += count

    def refused(self, now: float) -> None:
        """Take in a refusal."""
        self._second(now).refused += 1

    def tick(self, now: float, *, waits: bool) -> float | None:
        """The pace from now on, corrected once a second; `waits`: whether work waits for it."""
        refused = self._is_too_fast(now)
        if not refused:
            self._lowered = 0
        if self.pace is None:
            self.pace = self._first(now)
        elif refused:
            self._lower(now)
        elif waits and now >= self._kept_until:
            self._rises += 1
            self.pace *= min(_FAST, 1 + _STEP * self._rises) if self._is_bounded else _FAST
        if self.pace is not None and self.most is not None:
            self.pace = min(self.pace, self.most)
        return self.pace

    def _is_too_fast(self, now: float) -> bool:
        """Whether anything was refused since the last correction."""
        last = int(now) - 1
        self._best = max(self._best * _FADES, self._accepted(last - _JUDGED + 1, last))
        seen = [each for each in self._seconds if each.number > max(now - _JUDGED, self._judged)]
        return any(each.refused for each in seen)

    def _share_refused(self, now: float) -> float:
        seen = [each for each in self._seconds if each.number > now - _JUDGED]
        return sum(each.refused for each in seen) / max(1, sum(each.asked for each in seen))

    def _first(self, now: float) -> float | None:
        """The rate that was accepted while the registry pushed back; None: it has not, or hardly."""
        seen = [each for each in self._seconds if each.number > now - _WITHIN]
        episodes = [each.number for each in seen if each.refused]
        if len(episodes) < _EPISODES:
            return None
        accepted = [each.asked - each.refused for each in seen if each.number >= episodes[0]]
        busy = [count for count in accepted if count > 0]  # in other seconds the registry was given a pause
        return sum(busy) / len(busy) if busy else None

    def _accepted(self, first: int, last: int) -> float:
        """Accepted requests a second, from one second to another."""
        seen = [each for each in self._seconds if first <= each.number <= last]
        return sum(each.asked - each.refused for each in seen) / (last - first + 1)

    def _lower(self, now: float) -> None:
        assert self.pace is not None
        self._lowered += 1
        if self._lowered > 1:
            last = int(now) - 1
            accepted = self._accepted(last - _RECENT + 1, last)
            self.pace = min(max(accepted, self.pace * _LOWEST), self.pace)
        self.pace *= _LITTLE
        if self._share_refused(now) < _MUCH:
            self.pace = max(self.pace, _LEAST * self._best)
        else:
            self._best = 0.0
        self._rises, self._judged = 0, int(now)
        if self._is_bounded and now >= self._kept_until:
            self._keep = min(2 * self._keep, _LONGEST_KEEP)
        self._is_bounded = True
        self._kept_until = now + self._keep
