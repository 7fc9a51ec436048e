"""Budgets of requests and bytes: shares of workers, and rates that are learned from push-back."""

from __future__ import annotations

from collections import deque
from random import Random

import pytest

from pipeline.model.budget import RUN, Account, Grant, Resource, Spent, Use
from pipeline.model.registry_settings import RegistrySettings
from pipeline.scheduler.learned_rate import LearnedRate
from pipeline.scheduler.rate_budget import RateBudgets

REQUESTS: Account = ("r.test", "requests")
READ: Account = ("r.test", "read")


def budgets(settings: RegistrySettings) -> RateBudgets:
    """The budgets of a run at one registry, and two workers."""
    made = RateBudgets(bandwidth=None)
    made.open("r.test", settings)
    made.joined("one")
    made.joined("two")
    return made


def waiting(threads: int) -> Spent:
    """A worker's report of threads that wait for requests."""
    return Spent(uses=(Use(REQUESTS, 0.0, waiting=threads),))


def read(used: float = 0.0, *, unused: float = 0.0, waits: bool = False) -> Spent:
    """A worker's report of bytes."""
    return Spent(uses=(Use(READ, used, unused, int(waits)),))


def granted(grants: dict[str, Grant]) -> dict[str, int]:
    """The requests that each worker may send."""
    return {worker: share.requests for worker, grant in grants.items() for share in grant.shares}


def shares(grants: dict[str, Grant]) -> dict[str, float]:
    """The rate of each worker that was told one."""
    return {worker: share.rate for worker, grant in grants.items() for share in grant.shares}


def test_no_limit_needs_no_grants() -> None:
    """Without settings and push-back there is nothing to grant and no wake-up time."""
    made = budgets(RegistrySettings())
    made.asked("r.test", 100, 1.0)

    assert (made.grants(1.0), made.wake(1.0)) == ({}, None)


def test_requests_are_granted_evenly() -> None:
    """Two workers that wait take turns, and together get the rate in any second."""
    made = budgets(RegistrySettings(rate=20.0))
    sent = {"one": 0, "two": 0}
    now = 1.0
    while now < 11.0:
        for worker in sent:
            made.spent(worker, waiting(4), now)
        for worker, count in granted(made.grants(now)).items():
            sent[worker] += count
        now += made.wake(now) or 1.0

    assert abs(sent["one"] - sent["two"]) <= 1
    assert sum(sent.values()) == pytest.approx(200, abs=2)


def test_only_waiting_threads_get_grants() -> None:
    """Requests are granted only to waiting threads, so that none stays unused in a worker."""
    made = budgets(RegistrySettings(rate=1000.0))
    made.spent("two", waiting(3), 1.0)

    assert [granted(made.grants(now)) for now in (1.0, 1.01)] == [{"two": 1}, {"two": 2}]
    assert (made.grants(2.0), made.wake(2.0)) == ({}, None)


def test_dead_worker_gets_no_grants() -> None:
    """Threads of a worker that is gone no longer wait."""
    made = budgets(RegistrySettings(rate=10.0))
    for worker in ("one", "two"):
        made.spent(worker, waiting(9), 1.0)
    made.gone("one")

    times = [1.0 + step / 100 for step in range(100)]
    assert sum(granted(made.grants(now)).get("two", 0) for now in times) == pytest.approx(10, abs=1)


def test_only_waiting_worker_gets_the_whole_share() -> None:
    """A worker that waits for bytes gets a share at once, and all of it while no other asks."""
    made = budgets(RegistrySettings(bandwidth=2e6))
    made.grants(1.0)

    made.spent("one", read(waits=True), 1.1)

    assert made.wake(1.1) == 0.0
    assert shares(made.grants(1.1)) == {"one": 2e6}


def test_shares_add_up_to_the_rate() -> None:
    """All workers together may transfer the rate, however they share it."""
    made = budgets(RegistrySettings(bandwidth=2e6))
    made.spent("one", read(1e5, waits=True), 1.0)
    made.spent("two", read(waits=True), 1.0)
    now = 1.0
    for used in range(12):
        assert sum(shares(made.grants(now)).values()) == pytest.approx(2e6)
        now += 0.25
        made.spent("one", read(1e5 * (used % 5), waits=used % 3 > 0), now)
        made.spent("two", read(4e5, waits=True), now)


def test_unused_bytes_are_granted_again() -> None:
    """Unused bytes are granted again to workers that wait, and only once."""
    made = budgets(RegistrySettings(bandwidth=2e6))
    for worker in ("one", "two"):
        made.spent(worker, read(waits=True), 1.0)
    made.grants(1.0)
    made.spent("one", read(5e4, unused=2e5), 1.25)
    made.spent("two", read(5e5, waits=True), 1.25)

    assert sum(shares(made.grants(1.25)).values()) == pytest.approx(2e6 + 2e5 / 0.25)
    assert sum(shares(made.grants(1.5)).values()) == pytest.approx(2e6)


def test_dead_workers_share_goes_to_others() -> None:
    """The share of a worker that is gone or silent goes to the others."""
    made = budgets(RegistrySettings(bandwidth=2e6))
    for worker in ("one", "two"):
        made.spent(worker, read(waits=True), 1.0)
    assert shares(made.grants(1.0)) == {"one": 1e6, "two": 1e6}

    made.gone("one")
    assert shares(made.grants(1.1)) == {"two": 2e6}

    made.joined("one")
    made.spent("one", read(waits=True), 1.2)
    assert shares(made.grants(1.3)) == {"one": 1e6, "two": 1e6}
    made.spent("one", read(2e5, waits=True), 4.0)
    assert shares(made.grants(4.0)) == {"one": 2e6, "two": 0.0}


def test_reads_and_writes_have_separate_budgets() -> None:
    """The bandwidth of a registry and of the run applies to reading and writing separately."""
    made = RateBudgets(bandwidth=1e6)
    made.open("r.test", RegistrySettings(bandwidth=5e5))
    made.joined("one")
    ways: tuple[Resource, ...] = ("read", "written")
    accounts: list[Account] = [(name, way) for name in (RUN, "r.test") for way in ways]
    made.spent("one", Spent(uses=tuple(Use(each, 0.0, waiting=1) for each in accounts)), 1.0)

    given = {share.account: share.rate for share in made.grants(1.0)["one"].shares}
    assert given == dict(zip(accounts, (1e6, 1e6, 5e5, 5e5), strict=True))


def test_learned_rate_reaches_all_workers() -> None:
    """Workers are told a learned rate, including those that join later."""
    made, told = budgets(RegistrySettings()), set[str]()
    for second in range(6):
        made.refused("r.test", asked=0, now=second + 0.5)
        made.asked("r.test", 20, second + 0.5)
        made.tick(second + 1.0)
        told |= made.grants(second + 1.0).keys()
    made.joined("three")

    assert made.is_paced("r.test")
    assert told == {"one", "two"}
    assert made.grants(6.1).keys() == {"three"}

    made.gone("two")
    assert made.grants(6.2).keys() == set()
    made.joined("two")
    assert made.grants(6.3).keys() == {"two"}


class Limiter:
    """A registry that accepts so many requests in any second, in each clock second, or as a token bucket."""

    def __init__(self, rate: int, kind: str) -> None:
        """Start by accepting all."""
        self._rate, self._kind = rate, kind
        self._times: deque[float] = deque()
        self._saved, self._at = float(rate), 0.0

    def accepts(self, now: float) -> bool:
        """Whether a request is accepted."""
        if self._kind == "saved":
            self._saved, self._at = min(self._rate, self._saved + (now - self._at) * self._rate), now
            good = self._saved >= 1
            self._saved -= good
            return good
        begin = int(now) if self._kind == "clock" else now - 1.0
        while self._times and self._times[0] <= begin:
            self._times.popleft()
        if len(self._times) >= self._rate:
            return False
        self._times.append(now)
        return True


@pytest.mark.parametrize("kind", ["any", "clock", "saved"])
@pytest.mark.parametrize("rate", [10, 20, 40, 200])
def test_steady_rate_is_learned(rate: int, kind: str) -> None:
    """After ten seconds nearly the whole rate is used, and almost nothing is refused."""
    registry, learned, chance = Limiter(rate, kind), LearnedRate(most=None), Random(rate)
    due, tick, pause, accepted, refused = 0.0, 1.0, 0.0, 0, 0
    while due < 60.0:
        due += 1.0 / learned.pace if learned.pace else 0.002
        now = due + chance.uniform(0.0, 0.005)  # until the request has arrived
        while tick <= due:
            learned.tick(tick, waits=True)
            tick += 1.0
        if learned.pace is None and now < pause:
            continue
        learned.asked(1, now)
        good = registry.accepts(now)
        if not good:
            learned.refused(now)
            pause = now + 1.1
        accepted, refused = accepted + (good and now >= 10.0), refused + (not good and now >= 10.0)

    assert accepted >= 0.95 * rate * 50
    assert refused < 0.03 * (accepted + refused)


def test_changed_rate_is_followed() -> None:
    """When a registry allows less or more, the rate follows within some seconds or a minute."""
    learned, due, tick = LearnedRate(most=None), 0.0, 1.0
    accepted = dict.fromkeys((40, 20, 60), 0)
    limiters = {rate: Limiter(rate, "any") for rate in accepted}
    while due < 240.0:
        rate = 40 if due < 40 else 20 if due < 80 else 60
        due += 1.0 / learned.pace if learned.pace else 0.01
        while tick <= due:
            learned.tick(tick, waits=True)
            tick += 1.0
        learned.asked(1, due)
        if not limiters[rate].accepts(due):
            learned.refused(due)
        elif due % 40 >= 20 or due >= 200:
            accepted[rate] += 1

    assert accepted[20] >= 0.9 * 20 * 20
    assert accepted[60] >= 0.9 * 60 * 40


def test_learned_rate_never_exceeds_the_users() -> None:
    """A learned rate never exceeds the one that the user has set."""
    learned = LearnedRate(most=5.0)
    for second in range(10):
        learned.asked(20, second + 0.5)
        learned.refused(second + 0.5)
        learned.tick(second + 1.0, waits=True)

    assert learned.pace is not None
    assert learned.pace <= 5.0


def test_rare_push_back_teaches_no_rate() -> None:
    """One refusal every half a minute does not show a steady rate."""
    learned = LearnedRate(most=None)
    for second in range(120):
        learned.asked(50, second + 0.5)
        if second % 30 == 0:
            learned.refused(second + 0.5)
        assert learned.tick(second + 1.0, waits=True) is None
