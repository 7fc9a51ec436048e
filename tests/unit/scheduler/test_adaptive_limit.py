"""Limits are found out against a made-up registry that serves so many at a time, and no more."""

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
    """Have a registry answer that serves `serves` at a time, `trip` seconds away; what was found out."""
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


def test_far_registry() -> None:
    """Where a registry is far away and serves many, all places that are allowed are used soon."""
    limit = AdaptiveLimit(most=64)

    found = work(limit, serves=1000, answers=200)

    assert 64 == limit.limit
    assert [(64, 64)] == [(each.limit, each.tried) for each in found]


def test_busy_registry() -> None:
    """Where a registry serves few at a time, more are tried in vain and given back."""
    limit = AdaptiveLimit(most=64)

    found = work(limit, serves=4)

    assert limit.limit <= 6
    assert {True} == {each.tried > each.limit for each in found}


@pytest.mark.parametrize("serves", [8, 16, 32])
def test_between(serves: int) -> None:
    """A registry that serves so many at a time gets as many, and not many times as many."""
    limit = AdaptiveLimit(most=64)

    work(limit, serves=serves, jitter=0.1)

    assert serves / 2 <= limit.limit <= serves * 2


def test_jitter() -> None:
    """Answers that take now half and now twice as long hold nothing down for long."""
    limit = AdaptiveLimit(most=64)

    work(limit, serves=1000, jitter=0.7, answers=5000)

    assert limit.limit >= 32


def test_vain_tries_become_rare() -> None:
    """What was tried in vain is tried again, and ever more rarely."""
    limit = AdaptiveLimit(most=64)

    early = work(limit, serves=4, answers=1000)
    late = work(limit, serves=4, answers=1000)

    assert 0 < len(late) < len(early)


def test_other_work() -> None:
    """Work that takes longer by its nature is not taken for a registry at its limit."""
    limit = AdaptiveLimit(most=64)

    for number in range(400):
        limit.running, limit.pressed = limit.limit, True
        limit.answered("head" if number < 40 else "put", 0.05 if number < 40 else 0.5, 0.0)

    assert 64 == limit.limit


def test_nobody_waits() -> None:
    """Where no task had to wait for a place, there are no more of them."""
    limit = AdaptiveLimit(most=64)

    for _ in range(1000):
        limit.answered("head", 0.05, 0.0)

    assert FIRST == limit.limit


def test_refusal_among_many_answers() -> None:
    """One refusal among thousands of answers lowers the limit by next to nothing."""
    limit = AdaptiveLimit(most=64)
    work(limit, serves=1000, answers=4000)

    limit.push_back(10.0, until=11.0)

    assert 63 == limit.limit


def test_refusals_in_every_round() -> None:
    """A round that is refused halves the limit, once for all that was under way together."""
    limit = AdaptiveLimit(most=64)
    work(limit, serves=1000, answers=4000)
    limit.push_back(10.0, until=11.0)

    for _ in range(63):
        limit.push_back(10.2, until=11.2)
    assert 32 == limit.limit
    limit.push_back(12.0, until=13.0)
    assert 16 == limit.limit


def test_recovery() -> None:
    """After a push-back the limit rises a step a second, and is within seconds what it was."""
    limit = AdaptiveLimit(most=64)
    work(limit, serves=1000)
    limit.push_back(10.0, until=11.0)
    limit.push_back(11.0, until=12.0)
    before = limit.limit

    work(limit, serves=1000, answers=100, now=11.5)
    assert before == limit.limit
    work(limit, serves=1000, answers=8000, now=13.0)
    assert 64 == limit.limit


def test_push_back_during_recovery() -> None:
    """A registry that refuses a round each time the limit rises is tried more and more rarely."""
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


def test_one_task_remains() -> None:
    """However often a registry pushes back, one task may run."""
    limit = AdaptiveLimit(most=8)

    for second in range(10):
        limit.push_back(float(second), until=second + 1.0)

    assert 1 == limit.limit
    assert limit.free


def test_limit_below_the_first() -> None:
    """A limit below what a run begins with is kept."""
    assert 2 == AdaptiveLimit(most=2).limit
