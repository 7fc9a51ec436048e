"""Places: how many tasks of one kind may run at one registry, found out while the work goes on.

It begins with few and tries more while that pays. What places are worth shows in how long answers take: where
the registry and this machine have room left, twice as many tasks wait no longer for each answer than half of
them did; where either is the limit they wait twice as long, and nothing is gained. So each number is compared
with the one before it, for the same sorts of work, and never with some best time: answers that vary a lot, or
become slower for reasons of their own, hold nothing down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

FIRST = 4
"""Places at the beginning."""
_SAMPLES = 8
"""Answers by which a number is judged at least, once tries were in vain."""
_GAIN = 0.25
"""Of what more places could bring at best, the part that they have to bring."""
_CHANCES = 2
"""Tries in vain after which smaller steps are made, and more rarely."""
_STEP = 1.5
_LONGEST = 32
"""Judgements for which a number is kept before more are tried again; twice as many after each vain try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A number that was found to be enough."""

    places: int
    tried: int
    """How many were tried in vain; the same number: no more are allowed."""
    gain: float
    """How many times as fast those that were tried were."""


@dataclass(slots=True)
class Places:
    """The places of one kind at one registry."""

    most: int
    """Never more."""
    room: int = 0
    """Those that there are now; 0: begin with a few."""
    taken: int = 0
    pressed: bool = False
    """Whether a task has found none free since the last judgement: nothing is learned where none has."""
    shrunk: float = float("-inf")
    """When they were halved last."""
    _from: int = 0
    """While more are tried: how many there were before."""
    _before: dict[str, float] = field(default_factory=dict)
    """By sort of work, the mean of the logarithms of answers' seconds with as many as there were before."""
    _sums: dict[str, tuple[int, float]] = field(default_factory=dict)
    """By sort of work, answers in this judgement, and the sum of the logarithms of their seconds."""
    _seen: int = 0
    """Answers in this judgement; less than 0: those to come that were asked for with other places."""
    _kept: int = 0
    """Judgements for which this number is still kept."""
    _keep: int = 1
    """How many there were the last time."""
    _vain: int = 0
    """Tries that were in vain."""

    def __post_init__(self) -> None:
        """Begin."""
        self.room = self.room or min(FIRST, self.most)

    @property
    def _fast(self) -> bool:
        """Whether each try still doubles the number: one may be in vain, since answers vary."""
        return self._vain < _CHANCES

    @property
    def free(self) -> bool:
        """Whether a task may start; one always may where none runs."""
        return not self.taken or self.taken < self.room

    def shrink(self, now: float) -> None:
        """The registry pushes back: half as many, at most once a second, never less than one."""
        if now - self.shrunk >= 1.0:
            self.shrunk = now
            self._set(max(1, self.room // 2))
            self._from, self._vain = 0, max(self._vain, _CHANCES)
            self._kept = self._keep = min(2 * self._keep, _LONGEST)

    def answered(self, sort: str, seconds: float) -> Settled | None:
        """Take in how long an answer took; returns what was found out where that ends the search for now.

        Args:
            sort: of work: only answers of one sort are compared.
            seconds: from the request to the head of its answer.
        """
        self._seen += 1
        if self._seen <= 0:
            return None
        count, total = self._sums.get(sort, (0, 0.0))
        self._sums[sort] = count + 1, total + math.log(max(seconds, 1e-6))
        if self._seen < (self.room if self._fast else max(_SAMPLES, self.room)):
            return None
        return self._judge()

    def _judge(self) -> Settled | None:
        means = {sort: total / count for sort, (count, total) in self._sums.items()}
        gain = self._gain(means)
        pressed, tried, before = self.pressed, self.room, self._from
        self._begin()
        if not pressed:
            return None
        if before and gain < 1 + _GAIN * (tried / before - 1):
            self._set(before)
            self._from = 0
            self._vain += 1
            self._keep = min(2 * self._keep, _LONGEST)
            if self._fast:
                return None
            self._kept = self._keep
            return Settled(places=before, tried=tried, gain=gain)
        self._before, self._from = means, 0
        if tried == self.most:
            return Settled(places=tried, tried=tried, gain=gain) if before else None
        if self._kept:
            self._kept -= 1
        else:
            self._set(min(self.most, tried * 2 if self._fast else math.ceil(tried * _STEP)))
            self._from = tried
        return None

    def _gain(self, means: dict[str, float]) -> float:
        """How many times as much is done as with fewer places; as many times as there are more: unknown."""
        if not self._from:
            return 1.0
        known = {sort: count for sort, (count, _) in self._sums.items() if sort in self._before}
        answers = sum(known.values())
        if answers * 2 < self._seen:
            return self.room / self._from
        slower = sum(count * (means[sort] - self._before[sort]) for sort, count in known.items()) / answers
        return self.room / self._from / math.exp(slower)

    def _begin(self, *, behind: int = 0) -> None:
        """Begin a judgement, behind so many answers."""
        self._sums, self._seen, self.pressed = {}, -behind, False

    def _set(self, places: int) -> None:
        self.room = places
        self._begin(behind=self.taken)
