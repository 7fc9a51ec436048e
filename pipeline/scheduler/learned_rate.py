"""The rate that a registry allows, learned from its push-back.

If a registry refuses repeatedly within some seconds, it allows a rate: the most that it accepted in a second
is the first estimate. The pace begins just below and rises while nothing is refused and work waits. Each
second with a refusal lowers it a little, many refusals lower it to what was accepted. Then it is kept for a
while, twice as long after each rise that failed, so nearly all of the rate is used and few requests are
refused. If a lower pace does not end the refusals, they are not about the rate and do not lower it further.
"""

from __future__ import annotations

from collections import deque
from dataclasses import field

from pipeline.dataclass import dataclass

_EPISODES = 3
"""Seconds with refusals, within `_WITHIN`, that show a steady rate."""
_WITHIN = 20
_BELOW = 0.985
"""The first pace as a share of the estimated rate; also the factor after a refusal."""
_LEAST, _LOWEST = 0.94, 0.8
"""The least share of the pace that a series of refusals leaves: while few are refused, and ever."""
_FEW = 0.025
"""Share of refused requests that is few, within the last `_WITHIN / 2` seconds."""
_SERIES = 4
"""Seconds without a refusal that end a series."""
_MUCH = 0.04
"""Share of refused requests from which the accepted ones show the rate."""
_MANY = 3
"""Minimum refusals for that."""
_JUDGED = 3
"""Seconds over which that is counted."""
_STEP, _FAST, _SLOW = 0.005, 0.08, 0.02
"""Rise in a second: it begins with the step and grows by it, to so much before and after a refusal."""
_USED = 0.85
"""What of a pace must be used before it rises: what is not used tells nothing."""
_FIRST_KEEP, _LONGEST_KEEP = 5.0, 300.0
"""Seconds for which a pace is kept after a refusal."""


@dataclass(slots=True)
class _Second:
    number: int
    asked: int = 0
    refused: int = 0

    @property
    def accepted(self) -> int:
        return self.asked - self.refused


@dataclass(slots=True, kw_only=True)
class LearnedRate:
    """The rate of one registry."""

    most: float | None
    """The user's limit."""
    pace: float | None = None
    """Requests a second; None: nothing is learned yet."""
    _seconds: deque[_Second] = field(default_factory=lambda: deque(maxlen=_WITHIN))
    _kept_until: float = 0.0
    _keep: float = _FIRST_KEEP
    _rises: int = 0
    """Seconds in a row in which the pace rose."""
    _series: tuple[int, float] = (-_SERIES, 0.0)
    """The last second of a series of refusals, and the pace at which the series began."""
    _judged: int = 0
    """The last second whose refusals have been considered."""

    def _second(self, now: float) -> _Second:
        number = int(now)
        if not self._seconds or self._seconds[-1].number != number:
            self._seconds.append(_Second(number))
        return self._seconds[-1]

    def asked(self, count: int, now: float) -> None:
        """Count requests, refused ones too."""
        self._second(now).asked += count

    def refused(self, now: float) -> None:
        """Count a refusal."""
        self._second(now).refused += 1

    def tick(self, now: float, *, waits: bool) -> float | None:
        """The pace from now on, corrected once a second; `waits`: whether work waits for it."""
        last = int(now) - 1  # the current second is not over
        begin = max(last - _JUDGED, self._judged)
        seen = [each for each in self._seconds if begin < each.number <= last]
        if self.pace is None:
            self.pace = self._first(now)
            self._judged, self._kept_until = int(now), now + self._keep
        elif any(each.refused for each in seen):
            self._lower(now, seen)
        elif waits and now >= self._kept_until and self._recent(now) >= _USED * self.pace:
            self._rises += 1
            self.pace *= 1 + min(_STEP * self._rises, _SLOW if self._series[1] else _FAST)
        if self.pace is not None and self.most is not None:
            self.pace = min(self.pace, self.most)
        return self.pace

    def _recent(self, now: float) -> float:
        """Accepted requests a second."""
        last = int(now) - 1
        return sum(each.accepted for each in self._seconds if last - _JUDGED < each.number <= last) / _JUDGED

    def _are_few(self, now: float) -> bool:
        seen = [each for each in self._seconds if each.number > now - _WITHIN / 2]
        return sum(each.refused for each in seen) < _FEW * sum(each.asked for each in seen)

    def _first(self, now: float) -> float | None:
        """Just below the most that was accepted in a second; None: there were few seconds with refusals."""
        seen = [each for each in self._seconds if each.number > now - _WITHIN]
        most = max((each.accepted for each in seen), default=0)
        return _BELOW * most if most and sum(each.refused > 0 for each in seen) >= _EPISODES else None

    def _lower(self, now: float, seen: list[_Second]) -> None:
        assert self.pace is not None
        asked, refused = sum(each.asked for each in seen), sum(each.refused for each in seen)
        ended, began = self._series
        if int(now) - ended > _SERIES:
            began = self.pace
        if refused >= _MANY and refused >= _MUCH * asked:
            self.pace = began = min(self.pace, max(self._recent(now), self.pace * _LOWEST)) * _BELOW
        else:
            self.pace = max(self.pace * _BELOW, (_LEAST if self._are_few(now) else _LOWEST) * began)
        self._series = int(now), began
        self._rises, self._judged = 0, int(now) - 1
        if now >= self._kept_until:
            self._keep = min(2 * self._keep, _LONGEST_KEEP)
        self._kept_until = now + self._keep
