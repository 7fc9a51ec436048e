"""What the scheduler knows of one registry in this run."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import field
from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass
from pipeline.model.figures import Timing
from pipeline.model.registry_settings import NO_SETTINGS, RegistrySettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.errors import Fault, Side
    from pipeline.model.cost import RequestRecord, RequestTopic
    from pipeline.model.messages import BlobOrigin
    from pipeline.model.task import SlotKind
    from pipeline.scheduler.adaptive_limit import AdaptiveLimit
    from pipeline.scheduler.pull_reserve import PullReserve

_FIRST_REPAIRS = 2
_RECENT = 10
"""Seconds over which the share of refused requests is taken."""


@dataclass(slots=True)
class AnswersInSecond:
    """Requests within one second."""

    number: int
    requests: int = 0
    refused: int = 0


@dataclass(slots=True)
class RecentAnswers:
    """Requests and refusals within the last seconds."""

    refused_in_a_row: int = 0
    """Tasks that were refused since the last one that was not."""
    _seconds: deque[AnswersInSecond] = field(
        default_factory=lambda: deque([AnswersInSecond(0)], maxlen=_RECENT)
    )

    def add(self, now: float, requests: int) -> None:
        """Count requests and refusals."""
        last = self._seconds[-1]
        if last.number != int(now):
            last = AnswersInSecond(int(now))
            self._seconds.append(last)
        last.requests += requests

    def refuse(self, now: float) -> None:
        """Count the last request of a task as refused."""
        self.refused_in_a_row += 1
        self.add(now, 0)
        self._seconds[-1].refused += 1

    def asked(self, now: float) -> int:
        """Requests in this second."""
        return self._seconds[-1].requests if self._seconds[-1].number == int(now) else 0

    def share_refused(self, now: float) -> float:
        """The share of requests that were refused within the last seconds."""
        seconds = [each for each in self._seconds if each.number > now - _RECENT]
        return sum(each.refused for each in seconds) / max(1, sum(each.requests for each in seconds))


@dataclass(slots=True)
class RegistryState:
    """One registry."""

    limits: Mapping[SlotKind, AdaptiveLimit]
    settings: RegistrySettings = NO_SETTINGS
    recent: RecentAnswers = field(default_factory=RecentAnswers)
    paused_until: float = 0.0
    refusing_since: float | None = None
    """Since when it has accepted nothing; None: the last answer was not a push-back."""
    paused_since: float | None = None
    """When the pause began that the log has reported; None: none, or its end was reported too."""
    answered: bool = False
    """Whether any request got an answer in this run."""
    accepted: bool = False
    """Whether a blob or a manifest was stored there, or read there, in this run."""
    errors_in_a_row: int = 0
    """Tasks that failed with 5xx since the last one that did not."""
    errors_since: float = 0.0
    """When the first of them failed."""
    unavailable: Fault | None = None
    """Why it gets no requests until the next pass."""
    requests: int = 0
    """Requests in this run."""
    read: int = 0
    """Bytes of blobs received."""
    written: int = 0
    """Bytes of blobs sent."""
    blobs: Counter[BlobOrigin] = field(default_factory=Counter)
    """Blobs in place there, by origin."""
    saved: Counter[BlobOrigin] = field(default_factory=Counter)
    """Bytes of blobs that did not have to be sent there, by reason."""
    calls: dict[tuple[str, int], Timing] = field(default_factory=dict)
    """By method and status: timed requests; empty if no one needs them."""
    retries: Counter[str] = field(default_factory=Counter)
    """Attempts that were repeated, by status or our own code."""
    asked: Counter[tuple[str, RequestTopic]] = field(default_factory=Counter)
    """By method and topic: requests that were timed, or only planned."""
    reserve: PullReserve | None = None
    """The pull reserve, if there is one."""
    by_head: Counter[Side] = field(default_factory=Counter)
    """References whose digest was requested, by side; `by_listing`: whose digest a listing gave."""
    by_listing: Counter[Side] = field(default_factory=Counter)
    pulls_left: int | None = None
    """Remaining pulls by its rate limit headers; None: not stated, or not wanted."""
    pulls_limit: tuple[int, int] | None = None
    """Pulls that it allows, and within how many seconds; None as above."""
    told: set[SlotKind] = field(default_factory=set)
    """Kinds of tasks whose limit the log has reported."""
    refusals: int = 0
    """Refused mounts from repositories that this run has filled."""
    mounts: int = 0
    """Mounts accepted."""

    @property
    def may_be_repaired(self) -> bool:
        """Whether pushes may help where it answers 500. Until one has, few are tried: each reads an image at
        its source.
        """
        return self.accepted or self.errors_in_a_row <= _FIRST_REPAIRS

    def is_open(self, now: float, *, pulls: bool) -> bool:
        """Whether one more task may start as far as pauses and the user's limits go; `pulls`: its fact."""
        full = self.settings.requests is not None and self.in_flight >= self.settings.requests
        kept = self.reserve if pulls else None
        return not (self.paused_until > now or full or (kept and not kept.may_pull(now)))

    @property
    def least_seconds(self) -> float:
        """The minimum time of its requests and bytes by the user's limits."""
        found = [0.0]
        if self.settings.rate is not None:
            found.append(self.requests / self.settings.rate)
        if self.settings.bandwidth is not None:
            found.append(max(self.read, self.written) / self.settings.bandwidth)
        return max(found)

    @property
    def in_flight(self) -> int:
        """Tasks that run there, of all kinds."""
        return sum(limit.running for limit in self.limits.values())

    def time(self, asked: RequestRecord) -> None:
        """Count one request that was timed or only planned."""
        self.asked[asked.method, asked.what] += 1
        if asked.seconds < 0:
            return
        kind = (asked.method, asked.status)
        timing = self.calls.get(kind)
        if timing is None:
            timing = self.calls[kind] = Timing()
        timing.add(asked.seconds)
        if asked.pulls_left >= 0:
            self.pulls_left = asked.pulls_left
        if asked.pulls_limit >= 0 and asked.pulls_window > 0:
            self.pulls_limit = (asked.pulls_limit, asked.pulls_window)

    @property
    def waits_for_mounts(self) -> bool:
        """Whether blobs wait to be mounted from another repository; not after two refusals."""
        return self.refusals < 2  # noqa: PLR2004 - one refusal may be that repository's own
