"""The adaptive limit, against a simulated registry that serves a fixed number of tasks at a time."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from pipeline.scheduler.adaptive_limit import FIRST, AdaptiveLimit

if TYPE_CHECKING:
    from pipeline.scheduler.adaptive_limit import LimitFound


def work(
    limit: AdaptiveLimit,
    *,
    serves: float,
    trip: float = 0.05,
    jitter: float = 0.0,
    answers: int = 2000,
    now: float = 0.0,
) -> list[LimitFound]:
    """Let a registry answer that serves `serves` at a time, `trip` seconds away; returns the measurements."""
    chance = random.Random(1)
    found = []
    for _ in range(answers):
        now += trip / limit.limit
        limit.running, limit.pressed = limit.limit, True
        seconds = trip * max(1.0, limit.limit / serves) * chance.lognormvariate(0, jitter)
        settled = limit.answered("head", seconds, now)
        if settled:
            found.append(settled)
    return found


def test_far_registry_reaches_the_maximum() -> None:
    """If a registry is far away and serves many tasks, the limit soon reaches the maximum."""
    limit = AdaptiveLimit(most=64)

    found = work(limit, serves=1000, answers=200)

    assert 64 == limit.limit
    assert [(64, 64)] == [(each.limit, each.tried) for each in found]


def test_busy_registry_gives_up_higher_limits() -> None:
    """If a registry serves few tasks at a time, higher limits are tried and given up."""
    limit = AdaptiveLimit(most=64)

    found = work(limit, serves=4)

    assert limit.limit <= 6
    assert {True} == {each.tried > each.limit for each in found}


@pytest.mark.parametrize("serves", [8, 16, 32])
def test_limit_matches_what_a_registry_serves(serves: int) -> None:
    """A registry gets about as many tasks at a time as it serves."""
    limit = AdaptiveLimit(most=64)

    work(limit, serves=serves, jitter=0.1)

    assert serves / 2 <= limit.limit <= serves * 2


def test_jitter_does_not_keep_the_limit_down() -> None:
    """Response times that vary between half and twice the mean do not keep the limit down for long."""
    limit = AdaptiveLimit(most=64)

    work(limit, serves=1000, jitter=0.7, answers=5000)

    assert limit.limit >= 32


def test_vain_increases_become_rare() -> None:
    """A higher limit that did not help is tried again, each time later."""
    limit = AdaptiveLimit(most=64)

    early = work(limit, serves=4, answers=1000)
    late = work(limit, serves=4, answers=1000)

    assert 0 < len(late) < len(early)


def test_slower_tasks_do_not_lower_the_limit() -> None:
    """Tasks that take longer by nature do not count as a registry at its limit."""
    limit = AdaptiveLimit(most=64)

    for number in range(400):
        limit.running, limit.pressed = limit.limit, True
        limit.answered("head" if number < 40 else "put", 0.05 if number < 40 else 0.5, 0.0)

    assert 64 == limit.limit


def test_limit_does_not_rise_without_waiting_tasks() -> None:
    """The limit does not rise if no task had to wait."""
    limit = AdaptiveLimit(most=64)

    for _ in range(1000):
        limit.answered("head", 0.05, 0.0)

    assert FIRST == limit.limit


def test_one_refusal_hardly_lowers_the_limit() -> None:
    """One refusal among thousands of answers hardly lowers the limit."""
    limit = AdaptiveLimit(most=64)
    work(limit, serves=1000, answers=4000)

    limit.push_back(10.0, until=11.0)

    assert 63 == limit.limit


def test_refused_round_halves_the_limit_once() -> None:
    """A refused round halves the limit, once for all tasks in flight."""
    limit = AdaptiveLimit(most=64)
    work(limit, serves=1000, answers=4000)
    limit.push_back(10.0, until=11.0)

    for _ in range(63):
        limit.push_back(10.2, until=11.2)
    assert 32 == limit.limit
    limit.push_back(12.0, until=13.0)
    assert 16 == limit.limit


def test_limit_recovers_by_steps() -> None:
    """After a push-back the limit rises by one step a second, and recovers within seconds."""
    limit = AdaptiveLimit(most=64)
    work(limit, serves=1000)
    limit.push_back(10.0, until=11.0)
    limit.push_back(11.0, until=12.0)
    before = limit.limit

    work(limit, serves=1000, answers=100, now=11.5)
    assert before == limit.limit
    work(limit, serves=1000, answers=8000, now=13.0)
    assert 64 == limit.limit


def test_rises_become_rare_after_push_back() -> None:
    """If a registry refuses a round at each rise, the limit rises more and more rarely."""
    limit = AdaptiveLimit(most=64, limit=8)
    now, tried = 0.0, []
    for _ in range(10_000):
        now += 0.05 / limit.limit
        if limit.limit > 4:
            tried.append(now)
            for _ in range(limit.limit):
                limit.push_back(now, until=now + 1.0)
            now += 1.0
        limit.running, limit.pressed = limit.limit, True
        limit.answered("head", 0.05, now)

    assert 0 < len(tried) < now / 5


def test_one_task_may_always_run() -> None:
    """One task may always run, however often the registry pushes back."""
    limit = AdaptiveLimit(most=8)

    for second in range(10):
        limit.push_back(float(second), until=second + 1.0)

    assert 1 == limit.limit
    assert limit.free


def test_maximum_below_the_first_limit_is_kept() -> None:
    """A maximum below the first limit is kept."""
    assert 2 == AdaptiveLimit(most=2).limit
