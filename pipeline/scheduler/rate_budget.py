"""Rate budgets: one for each registry and resource, shared among the workers by what they can use.

Requests are granted one by one, evenly over the second, to workers whose threads wait: registries count
requests within short times, and independent clocks in the workers would not be even together. Bytes are
granted as a rate to each worker. What a worker does not use comes back with its report and is granted at once
to those that wait; the share of a worker that is gone or silent goes to the others. So all workers together
stay at the rate, whichever of them has the work.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from pipeline.dataclass import dataclass
from pipeline.model.budget import RUN, Account, Grant, Share
from pipeline.model.registry_settings import RegistrySettings
from pipeline.scheduler.learned_rate import LearnedRate

if TYPE_CHECKING:
    from pipeline.model.budget import Spent, Use

_PERIOD = 0.25
"""Seconds between two grants of bytes: unused ones are granted again within the same second."""
_TICK = 0.002
"""Minimum seconds between two grants of requests: at high rates several are granted at once."""
_LATE, _LATE_LEARNED = 0.05, 0.02
"""Seconds (or one request) that a late grant may make up for: at a rate that the user has set; at a learned
one, where to make up for more at once would exceed what the registry allows."""
_LEARN_EVERY = 1.0
"""Seconds between two corrections of learned rates."""
_SILENT = 1.6
"""Seconds after its last report when a worker counts as idle."""
_MOSTLY = 0.8
"""Share of its grant from which a waiting worker counts as limited by it."""
_HEADROOM = 1.25
"""The share of a worker that does not wait, as a factor of its last use."""


@dataclass(slots=True)
class RequestBudget:
    """Requests to one registry."""

    rate: float
    late: float = _LATE
    was_short: bool = False
    """Whether anything had to wait since the last `LearnedRate.tick`."""
    _waiting: dict[str, int] = field(default_factory=dict)
    """By worker: waiting threads. The worker that was served last is the last."""
    _next: float = 0.0
    """When the next request may be sent."""

    def report(self, worker: str, use: Use, now: float) -> None:
        """Note how many threads of a worker wait."""
        if use.waiting and not any(self._waiting.values()):
            self._next = max(self._next, now)
        self._waiting[worker] = use.waiting
        self.was_short = self.was_short or use.waiting > 0

    def forget(self, worker: str) -> None:
        """A worker is gone."""
        self._waiting.pop(worker, None)

    def take(self, now: float) -> dict[str, int]:
        """By worker, the requests that it may send now."""
        given: dict[str, int] = {}
        self._next = max(self._next, now - max(self.late, 1.0 / self.rate))
        while self._next <= now:
            worker = next((name for name, waiting in self._waiting.items() if waiting), None)
            if worker is None:
                break
            self._waiting[worker] = self._waiting.pop(worker) - 1
            given[worker] = given.get(worker, 0) + 1
            self._next += 1.0 / self.rate
        return given

    def wake(self, now: float) -> float | None:
        """Seconds until a waiting thread may continue; None: none waits."""
        return max(_TICK, self._next - now) if any(self._waiting.values()) else None


@dataclass(slots=True)
class _Demand:
    """A worker's use of its share."""

    reported: float
    used: float
    """Bytes a second."""
    waits: bool
    share: float = 0.0
    """Granted bytes a second."""

    @property
    def is_limited(self) -> bool:
        """Whether it could use more than its share."""
        return self.waits and (not self.used or self.used >= _MOSTLY * self.share)


@dataclass(slots=True)
class ByteBudget:
    """Bytes from one registry, or to it."""

    rate: float
    _returned: float = 0.0
    """Unused in this period, for the next one."""
    _extra: float = 0.0
    """Unused in the last period: granted in this one."""
    _demands: dict[str, _Demand] = field(default_factory=dict)

    def report(self, worker: str, use: Use, now: float) -> bool:
        """Note a worker's report; True: it waits and has no share yet."""
        known = self._demands.get(worker)
        self._returned += use.unused
        waits = use.waiting > 0
        if known is None:
            self._demands[worker] = _Demand(now, use.used / _PERIOD, waits)
            return waits
        used = use.used / max(_PERIOD, min(now - known.reported, _SILENT))
        known.reported, known.used, known.waits = now, (used + known.used) / 2, waits
        return waits and not known.share

    def forget(self, worker: str) -> None:
        """A worker is gone."""
        self._demands.pop(worker, None)

    def begin(self) -> None:
        """Begin a period: unused bytes are granted again, for one period at most."""
        self._extra, self._returned = min(self._returned, self.rate * _PERIOD), 0.0

    def shares(self, now: float) -> dict[str, float]:
        """The rate of each worker that has reported.

        Workers that are not limited get a little more than they used; the others share the rest equally.
        """
        shares = dict.fromkeys(self._demands, 0.0)
        live = {name: each for name, each in self._demands.items() if now - each.reported < _SILENT}
        waiting = [name for name, each in live.items() if each.is_limited]
        left = self.rate + (self._extra / _PERIOD if waiting else 0.0)
        for name, each in live.items():
            if not each.is_limited:
                shares[name] = min(each.used * _HEADROOM, self.rate / len(live))
                left -= shares[name]
        for name in waiting or live:
            shares[name] += left / len(waiting or live)
        for name, each in self._demands.items():
            each.share = shares[name]
        return shares


class RateBudgets:
    """All budgets of a run.

    Args:
        bandwidth: bytes a second of the whole run, in each direction; None: unlimited.
    """

    def __init__(self, *, bandwidth: float | None) -> None:
        """See the class."""
        self._requests: dict[str, RequestBudget] = {}
        self._bytes: dict[Account, ByteBudget] = {}
        self._learned: dict[str, LearnedRate] = {}
        self._fixed: dict[str, float] = {}
        self._given: dict[str, dict[Account, float]] = {}
        """By worker: the rates in its last grant."""
        self._next = self._learns = 0.0
        self._urgent = False
        self._told: dict[str, set[str]] = {}
        """By worker: the registries with a learned rate that it knows."""
        self.open(RUN, RegistrySettings(bandwidth=bandwidth))

    def open(self, registry: str, settings: RegistrySettings) -> None:
        """Limit a registry as the user has set."""
        if settings.rate is not None:
            self._fixed[registry] = settings.rate
            self._requests[registry] = RequestBudget(settings.rate)
        if settings.bandwidth is not None:
            self._bytes[registry, "read"] = ByteBudget(settings.bandwidth)
            self._bytes[registry, "written"] = ByteBudget(settings.bandwidth)

    def joined(self, worker: str) -> None:
        """A worker is ready: learned rates apply to it too."""
        self._given[worker], self._told[worker] = {}, set()
        self._urgent = bool(self._learned)

    def gone(self, worker: str) -> None:
        """A worker is gone: its shares go to the others."""
        self._given.pop(worker, None)
        self._told.pop(worker, None)
        for budget in self._bytes.values():
            budget.forget(worker)
        for requests in self._requests.values():
            requests.forget(worker)
        self._urgent = bool(self._bytes)

    def spent(self, worker: str, report: Spent, now: float) -> None:
        """Process a worker's report."""
        if worker not in self._given:
            self.joined(worker)
        for use in report.uses:
            name, resource = use.account
            if resource == "requests":
                if name in self._requests:
                    self._requests[name].report(worker, use, now)
            elif use.account in self._bytes and self._bytes[use.account].report(worker, use, now):
                self._urgent = True

    def asked(self, registry: str, count: int, now: float) -> None:
        """Requests were sent to a registry, refused ones included."""
        if registry in self._learned:
            self._learned[registry].asked(count, now)

    def refused(self, registry: str, *, asked: int, now: float) -> None:
        """A registry refused requests briefly; `asked`: requests in this second before the first refusal."""
        learned = self._learned.get(registry)
        if learned is None:
            learned = self._learned[registry] = LearnedRate(most=self._fixed.get(registry))
            learned.asked(asked, now)
        learned.refused(now)

    def is_paced(self, registry: str) -> bool:
        """Whether the registry has a learned rate, which a refusal only corrects."""
        learned = self._learned.get(registry)
        return learned is not None and learned.pace is not None

    def grants(self, now: float) -> dict[str, Grant]:
        """By worker: what to grant it now."""
        told: dict[str, list[Share]] = {}
        if self._bytes and (self._urgent or now >= self._next):
            self._share_bytes(now, told)
        for name, budget in self._requests.items():
            for worker, count in budget.take(now).items():
                told.setdefault(worker, []).append(Share((name, "requests"), requests=count))
            if name not in self._fixed:
                for worker, known in self._told.items():
                    if name not in known:
                        known.add(name)
                        told.setdefault(worker, []).append(Share((name, "requests")))
        self._urgent = False
        return {worker: Grant(shares=tuple(shares)) for worker, shares in told.items()}

    def _share_bytes(self, now: float, told: dict[str, list[Share]]) -> None:
        if now >= self._next:
            self._next = now + _PERIOD
            for budget in self._bytes.values():
                budget.begin()
        for account, budget in self._bytes.items():
            shares = budget.shares(now)
            for worker, given in self._given.items():
                share = shares.get(worker, 0.0)
                if share or given.get(account):
                    given[account] = share
                    told.setdefault(worker, []).append(Share(account, share))

    def tick(self, now: float) -> None:
        """Correct the learned rates, once a second."""
        if not self._learned or now < self._learns:
            return
        self._learns = now + _LEARN_EVERY
        for name, learned in self._learned.items():
            budget = self._requests.get(name)
            pace = learned.tick(now, waits=budget is not None and budget.was_short)
            if budget is not None:
                budget.was_short = False
                budget.rate = pace or budget.rate
            elif pace is not None:
                self._requests[name] = RequestBudget(pace, late=_LATE_LEARNED)

    def wake(self, now: float) -> float | None:
        """Seconds until the next grant; None: never."""
        wakes = [budget.wake(now) for budget in self._requests.values()]
        wakes.append(max(0.0, self._learns - now) if self._learned else None)
        wakes.append((0.0 if self._urgent else max(0.0, self._next - now)) if self._bytes else None)
        return min((each for each in wakes if each is not None), default=None)
