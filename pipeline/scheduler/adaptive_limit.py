"""The adaptive limit: how many tasks of one kind may run at one registry, adapted during the run.

The limit begins low and rises while that helps. The response times show whether it helps: if the registry and
this machine have capacity left, more tasks wait no longer for each answer; if either is the bottleneck, they
wait longer by the same factor and nothing is gained. So each limit is compared with the one before it,
for the same sorts of work, and never with a best time: answers that vary a lot, or become slower for other
reasons, do not keep the limit down.

Push-back lowers the limit by the refused share of a round (as many answers as tasks may run): one refusal
among thousands of answers costs almost nothing, one in every second round costs half. The limit then recovers
by one step a second, since one refusal says little about the next.
"""

from __future__ import annotations

import math
from dataclasses import field
from typing import Literal

from pipeline.dataclass import dataclass

FIRST = 4
"""The limit at the beginning."""
_SAMPLES = 8
"""Minimum answers to judge a limit by, after failed tries."""
_GAIN = 0.25
"""Share of the ideal speed-up a higher limit must reach."""
_CHANCES = 2
"""Failed tries after which steps get smaller and rarer."""
_FIRST_STEP = 4
"""Factor of the steps until then: a registry far away needs 64 tasks, and each step takes two round trips."""
_STEP = 1.5
_LONGEST = 32
"""Maximum judgements before a higher limit is tried; each failed try doubles their number."""
_BURST = 1.0
"""Seconds within which refusals count as one push-back: tasks in flight are refused together."""
_RECOVERY = 1.25
"""Factor of each step of recovery."""
_PATIENT = 8
"""Maximum seconds between two steps; one at first, doubled after each push-back during recovery."""

LimitState = Literal["keeping", "trying", "recovering"]
"""keeping: the limit stays; trying: a higher one is judged; recovering: it rises again after a push-back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitFound:
    """A limit that was found to be enough."""

    limit: int
    tried: int
    """The higher one that did not help; the same: no higher one is allowed."""
    gain: float
    """The speed of the higher one, as a factor."""


@dataclass(slots=True)
class AdaptiveLimit:
    """The limit of one kind of task at one registry."""

    most: int
    """The maximum."""
    limit: int = 0
    """The current limit; 0: begin with a few."""
    running: int = 0
    pressed: bool = False
    """Whether a task had to wait since the last judgement; otherwise nothing can be learned."""
    state: LimitState = "keeping"
    _before: int = 0
    """The limit before the one that is tried."""
    _means: dict[str, float] = field(default_factory=dict)
    """By sort of work: the mean logarithm of the response times under that limit."""
    _sums: dict[str, tuple[int, float]] = field(default_factory=dict)
    """By sort of work: answers in this judgement, and the sum of the logarithms of their times."""
    _seen: int = 0
    """Answers in this judgement. Negative: answers still to skip, sent under the previous limit."""
    _kept: int = 0
    """Judgements for which this limit is still kept."""
    _keep: int = 1
    """Judgements for which the limit was kept the last time."""
    _vain: int = 0
    """Tries that did not help."""
    _goal: int = 0
    """Where recovery ends."""
    _interval: float = 1.0
    """Seconds between two steps of recovery."""
    _rises: float = 0.0
    """When recovery makes its next step."""
    _pushed: float = float("-inf")
    """When the last push-back began."""
    _refused: int = 0
    """Refusals in it."""
    _pushed_from: int = 0
    """The limit at which it began."""
    _passed: int = 0
    """Answers since it began."""
    _passed_before: int = 0
    """Answers between it and the one before it."""

    def __post_init__(self) -> None:
        """Begin low, unless a limit is given."""
        self.limit = self.limit or min(FIRST, self.most)

    @property
    def _fast(self) -> bool:
        """Whether steps are still large; one may fail, since response times vary."""
        return self._vain < _CHANCES

    def bound(self, most: int) -> None:
        """Set another bound; what runs beyond it may end."""
        self.most = max(most, self.running)
        self.limit = min(self.limit, self.most)

    @property
    def free(self) -> bool:
        """Whether a task may start; always if none runs."""
        return not self.running or self.running < self.limit

    def push_back(self, now: float, *, until: float) -> None:
        """The registry refused a task: lower the limit by the refused share of a round, at most to half.

        Args:
            now: seconds.
            until: when the registry may be asked again.
        """
        if now - self._pushed >= _BURST:
            self._pushed, self._refused, self._pushed_from = now, 0, self.limit
            self._passed_before, self._passed = self._passed, 0
            self._goal = max(self._goal, self.limit)
            again, pause = self.state == "recovering", max(1.0, until - now)
            self._interval = min(2 * self._interval, _PATIENT * pause) if again else pause
        self._refused += 1
        before = self._pushed_from
        refused = self._refused * before / (self._passed_before + before)
        self.state, self._rises = "recovering", max(now, until) + self._interval
        self._vain = max(self._vain, _CHANCES)
        self._set(max(1, round(before * max(0.5, 1 - refused))))

    def answered(self, sort: str, seconds: float, now: float) -> LimitFound | None:
        """Note a response time; returns the limit that was found, if that ends the search for now.

        Args:
            sort: of work: only answers of one sort are compared.
            seconds: from the request to the head of its answer.
            now: seconds.
        """
        self._passed += 1
        self._seen += 1
        if self._seen <= 0:
            return None
        if self.state == "recovering":
            self._recover(now)
            return None
        count, total = self._sums.get(sort, (0, 0.0))
        self._sums[sort] = count + 1, total + math.log(max(seconds, 1e-6))
        if self._seen < (self.limit if self._fast else max(_SAMPLES, self.limit)):
            return None
        return self._judge()

    def _recover(self, now: float) -> None:
        """Take a step towards the limit before the push-back, once a second while tasks wait."""
        if self.limit >= self._goal:
            self.state, self._goal = "keeping", 0
            self._begin()
        elif self.pressed and now >= self._rises and self._seen >= self.limit:
            self._rises = now + self._interval
            self._set(min(self._goal, math.ceil(self.limit * _RECOVERY)))

    def _judge(self) -> LimitFound | None:
        means = {sort: total / count for sort, (count, total) in self._sums.items()}
        gain = self._gain(means)
        pressed, tried = self.pressed, self.limit
        self._begin()
        if not pressed:
            return None
        trying, self.state = self.state == "trying", "keeping"
        if trying and gain < 1 + _GAIN * (tried / self._before - 1):
            self._set(self._before)
            self._vain += 1
            self._keep = min(2 * self._keep, _LONGEST)
            if self._fast:
                return None
            self._kept = self._keep
            return LimitFound(limit=self.limit, tried=tried, gain=gain)
        self._means = means
        if tried == self.most:
            return LimitFound(limit=tried, tried=tried, gain=gain) if trying else None
        if self._kept:
            self._kept -= 1
        else:
            self.state, self._before = "trying", tried
            self._set(min(self.most, tried * _FIRST_STEP if self._fast else math.ceil(tried * _STEP)))
        return None

    def _gain(self, means: dict[str, float]) -> float:
        """The throughput compared with the limit before, as a factor; if unknown, as if it helped."""
        if self.state != "trying":
            return 1.0
        known = {sort: count for sort, (count, _) in self._sums.items() if sort in self._means}
        answers = sum(known.values())
        if answers * 2 < self._seen:
            return self.limit / self._before
        slower = sum(count * (means[sort] - self._means[sort]) for sort, count in known.items()) / answers
        return self.limit / self._before / math.exp(slower)

    def _begin(self, *, behind: int = 0) -> None:
        """Begin a judgement after so many answers."""
        self._sums, self._seen, self.pressed = {}, -behind, False

    def _set(self, limit: int) -> None:
        self.limit = limit
        self._begin(behind=self.running)
